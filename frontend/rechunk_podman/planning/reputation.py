"""Reputation: the pace of a package's changes by its name alone, as a multiple of an ordinary one's.

Distributions update the same software at much the same relative pace: software with many security notices or
monthly releases has them in all. The table below is general knowledge of distributions (security notices,
release schedules of the upstream projects), written by hand, by name of the source package. It is a prior:
the record of a component soon outweighs it.
"""

from __future__ import annotations

from functools import lru_cache

from rechunk_podman.model import ComponentId
from rechunk_podman.patterns import compile_later

PACKAGE_SOURCES = frozenset({"rpm", "dpkg", "apk", "alpm", "portage", "xbps", "nix"})

BUSY, LIVELY, ORDINARY, CALM, STILL = 5.0, 2.2, 1.0, 0.5, 0.25

_BUSY = """
aardvark-dns amazon-ssm-agent apache2 archlinux-keyring base-files bind bootc buildah ca-certificates
chromium cockpit container-libs container-selinux containerd containers-common coreos-installer crun curl
dnf dnf5 docker docker-ce docker-compose expat ffmpeg firefox firefox-esr ghostscript glibc go golang
google-chrome gst-plugins-bad gstreamer-plugins-bad httpd ignition imagemagick java-openjdk kernel
kernel-core kubelet kubernetes libdnf libreoffice linux linux-aws linux-azure linux-firmware linux-hwe
linux-lts linux-meta linux-signed mariadb mesa microsoft-edge moby moby-engine mysql netavark nmstate nodejs
nss openjdk-lts openssl ostree pacman-mirrorlist passt perl php pipewire podman python qemu rpm-ostree rust
samba selinux-policy skopeo snapd systemd thunderbird tiff tomcat tzdata unbound vim webkit2gtk webkitgtk
wireshark wpewebkit xorg-server xorg-x11-server-xwayland xwayland zincati
"""
"""Monthly, or nearly so."""

_LIVELY = """
aiohttp alpine-base alpine-baselayout alpine-release alsa-sof-firmware amd-ucode amd64-microcode ansible aom
apk-tools apparmor apt archive audit avahi azurelinux-release azurelinux-repos bash bluez btrfs-progs
bubblewrap buildkit busybox c-ares certifi chrony clamav clang cloud-init cni cni-plugins coreutils criu
crypto++ cryptography cryptsetup cups dav1d dbus-broker de265 device-mapper-multipath distro-info-data
django dnsmasq dolphin dpkg dracut drm edk2 etcd evolution evolution-data-server exif exim4 exiv2 fail2ban
fedora-release fedora-repos firmware-nonfree flatpak freeipa freerdp freetype fwupd gcc gcrypt gdk-pixbuf
gdk-pixbuf2 gimp git glib glib2 glslang gnome-shell gnupg gnupg2 gnutls google-compute-engine
google-guest-agent gpg-error grub grub2 gst-libav gst-plugins-base gst-plugins-good gst-plugins-ugly
gstreamer gstreamer1 gstreamer1-plugins-bad-free gstreamer1-plugins-base gstreamer1-plugins-good gtk3 gtk4
gwenview haproxy harfbuzz heif helm htop hwdata hyperv-daemons ibus idna initramfs-tools inkscape
intel-microcode intel-ucode ipa iproute iproute2 iptables-nft jinja2 jpeg-xl jq kate kdeconnect kf kf5 kf6
konsole krb5 kwin less libinput libvirt llvm llvm-toolchain lvm2 lxml memcached microcode_ctl mkinitcpio
modemmanager mosquitto mpv multipath-tools musl mutter nano ncurses netplan.io network-manager
networkmanager nftables nghttp2 nginx nginx-mod ntfs-3g nvidia nvidia-driver okular open-vm-tools openh264
openjpeg2 openldap openssh ovmf pacman pam pillow pip plasma polkit poppler postfix postgresql pulseaudio
python-apt qt qt5 qt6 qtbase qtwebengine raw rclone redis requests restic rpm rsync ruby rust-afterburn
rust-bootupd screen setuptools shadow shadow-utils shim shim-signed sndfile sof-firmware software-properties
spirv-tools sqlite sqlite3 squid ssh ssh2 sssd strace sudo systemd-boot tcpdump tmux toolbox toybox twisted
ubuntu-advantage-tools ubuntu-pro-client ubuntu-release-upgrader udisks2 update-notifier urllib3 util-linux
valkey varnish virt vlc vpx vulkan vulkan-loader walinuxagent webp werkzeug wget wget2 wine wireless-regdb
wireplumber wpa wpa_supplicant x11 xdg-desktop-portal xfsprogs xml2 xpm xslt xz yq yt-dlp zlib
"""
"""Several times a year."""

_CALM = """
accountsservice adduser alsa alsa-lib alsa-utils assuan at-spi2 at-spi2-core attr2 binutils boost bpf cairo
cap cdio colord console-setup cpio createrepo_c cron cronie dbus dconf debconf deltarpm desktop-file-utils
diffutils ding e2fsprogs elfutils ethtool ev event ffi fido2 file findutils flac gawk geoclue gettext giflib
gpgme grep groff gssproxy gvfs gzip icu idn2 init-system-helpers iptables iscsi iscsi-initiator-utils isns
iso-codes jpeg jpeg-turbo json-glib kbd keyutils kmod ksba lcms2 librepo logrotate lsof lua lz4 make man-db
mdadm modplug modulemd mousepad mpg123 nettle nfs-utils notify npth open-iscsi open-isns p11-kit pam-u2f
pango parted pciutils pcre pcre2 pinentry pixman png policycoreutils procps procps-ng protobuf protobuf-c
proxy psl psmisc quota repo rest ristretto rpcbind rsyslog secret sed selinux semanage sepol
shared-mime-info solv soup tar tasn1 tcp-wrappers thunar tpm2-tools tpm2-tss tss2 tumbler upower usb
usbutils userspace-rcu uv verto xfce4 xfconf xfdesktop xfwm4 xkeyboard-config zchunk zstd
"""
"""Once in a while."""

_STILL = """
acl aio arj aspell atomic_ops attr autoconf automake base-passwd basesystem bash-completion bc berkeley-db
blas bluray bridge-utils bsd bzip2 ca cabextract cdparanoia conntrack-tools console-login-helper-messages
cracklib crontabs crypt daemon datrie db db5.3 dc debianutils dialog dmidecode docbook dosfstools dvdnav
dvdread ed edit efibootmgr efivar eject enchant exempi fakeroot fftw fftw3 filesystem fontconfig fontenc
fribidi gc gdbm gdisk gmp gpm graphite2 gsl guile hostname hunspell hyphen ice id3tag inih insserv ipset isl
jansson jbigkit json-c lame lapack libtool linux-base lm-sensors lm_sensors lmdb lockfile lrzip lsb
lsb-release-minimal lzo lzo2 m4 mad mailcap mawk md media-types mhash mime-support mng mnl mokutil mpc
mpclib mpclib3 mpfr mtools mythes netbase netfilter_conntrack netfilter_cthelper netfilter_cttimeout
netfilter_queue newt nfnetlink nftnl ntp-refclock numactl nvme ogg openblas opus p7zip paper patch pciaccess
pipeline popt publicsuffix pwquality readline rootfiles rtmp rtmpdump samplerate sensible-utils setserial
setup sgml-base sharutils shell-color-prompt sigsegv slang slang2 sm snappy soxr speex speexdsp ssh-key-dir
sysfs sysfsutils sysvinit taglib tcl texinfo thai theora time tk tree ucf unistring unzip uring vorbis which
whiptail whois words xau xaw xcb xcomposite xcrypt xcursor xdamage xdmcp xext xfixes xft xi xinerama xkbfile
xml-core xmu xrandr xrender xshmfence xss xt xtst xv xvmc xxf86dga xxf86vm yajl yaml zip zram-generator
"""
"""Next to never."""

NAMES = {
    name: pace
    for pace, names in ((BUSY, _BUSY), (LIVELY, _LIVELY), (CALM, _CALM), (STILL, _STILL))
    for name in names.split()
}

WORDS = {
    **dict.fromkeys(("font", "fonts", "icon", "icons", "theme", "themes", "cursor", "backgrounds"), STILL),
    **dict.fromkeys(("wallpapers", "sounds", "licenses", "doc", "docs", "manpages", "man", "dict"), STILL),
    **dict.fromkeys(("hunspell", "hyphen", "aspell", "dictionaries", "proto", "xcb", "locales"), STILL),
    **dict.fromkeys(
        ("perl", "ocaml", "ghc", "tex", "texlive", "keyring", "keys", "data", "xorg", "xf86"), CALM
    ),
    **dict.fromkeys(("xfce4", "mate", "gnome"), CALM),
    **dict.fromkeys(
        ("firmware", "release", "repos", "plasma", "kf6", "kf5", "qt6", "php", "containers"), LIVELY
    ),
}
"""Paces of single words of a name, for names that are not in NAMES."""

_LONGEST_NAME = 255
"""Characters of a name that may be known; no file has a longer one."""
_VERSION = compile_later(r"[-_.]?v?\d[\d.]*$")
_SPLIT = compile_later(r"[^a-z0-9+]+")


def reputation(ident: ComponentId) -> float:
    """Return a package's expected changes, by its name, as a multiple of an ordinary one's; 1 if unknown."""
    name = ident.name.rpartition("/")[2]
    return _pace(name) if ident.source in PACKAGE_SOURCES and len(name) <= _LONGEST_NAME else ORDINARY


@lru_cache(maxsize=1 << 14)
def _pace(name: str) -> float:
    name = name.lower()
    for known in _spellings(name):
        if known in NAMES:
            return NAMES[known]
    words = [word for word in _SPLIT.split(name) if word]
    for word in (*words, *(_VERSION.sub("", word) for word in words)):
        if word in WORDS:
            return WORDS[word]
    return ORDINARY


def _spellings(name: str) -> tuple[str, ...]:
    """Return the name as it is, without its version, and without the prefixes of libraries."""
    bare = _VERSION.sub("", name) or name
    bases = dict.fromkeys((name, bare, _VERSION.sub("", bare) or bare))
    short = [base.removeprefix(prefix) for base in bases for prefix in ("lib", "python-", "python3-", "py3-")]
    return tuple(dict.fromkeys((*bases, *short)))
