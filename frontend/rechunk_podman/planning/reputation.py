"""Reputation: how often a package changes, told by its name alone, as a multiple of an ordinary one.

Distributions update the same software at much the same relative pace: what has a security record or a monthly
release in one of them has it in all. The table below is general knowledge of distributions (security notices,
release schedules of the upstream projects), written by hand, by name of the source package. It is a prior:
what a record tells of a component soon outweighs it.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rechunk_podman.model import ComponentId

PACKAGE_SOURCES = frozenset({"rpm", "dpkg", "apk", "alpm"})

BUSY, LIVELY, ORDINARY, CALM, STILL = 5.0, 2.2, 1.0, 0.5, 0.25

_BUSY = """
linux linux-signed linux-hwe linux-meta linux-azure linux-aws linux-lts kernel kernel-core linux-firmware
firefox firefox-esr thunderbird chromium google-chrome microsoft-edge webkitgtk webkit2gtk wpewebkit nodejs
curl openssl vim bind systemd glibc tzdata ca-certificates samba mesa nss php imagemagick ghostscript tiff ffmpeg
podman buildah skopeo containers-common container-libs netavark aardvark-dns passt crun container-selinux
containerd moby moby-engine docker docker-ce docker-compose kubernetes kubelet selinux-policy
ostree rpm-ostree bootc dnf dnf5 libdnf ignition zincati coreos-installer nmstate cockpit
expat python perl httpd apache2 tomcat mariadb mysql unbound qemu snapd base-files
golang go rust java-openjdk openjdk-lts xorg-server xwayland xorg-x11-server-xwayland libreoffice wireshark
pipewire gstreamer-plugins-bad gst-plugins-bad pacman-mirrorlist archlinux-keyring amazon-ssm-agent
"""
"""Monthly, or nearly so."""

_LIVELY = """
xml2 xslt krb5 gnutls openssh sudo git glib glib2 gdk-pixbuf gdk-pixbuf2 poppler cups avahi openldap postgresql nginx
nginx-mod dnsmasq ruby archive ssh ssh2 nghttp2 c-ares gnupg gnupg2 gcrypt gpg-error sqlite sqlite3 xz pam util-linux
shadow shadow-utils coreutils bash busybox apk-tools dpkg apt rpm pacman apparmor netplan.io networkmanager
network-manager modemmanager fwupd dracut mkinitcpio initramfs-tools grub grub2 shim shim-signed
intel-microcode amd64-microcode amd-ucode intel-ucode microcode_ctl firmware-nonfree wireless-regdb hwdata
cloud-init walinuxagent google-guest-agent google-compute-engine open-vm-tools hyperv-daemons ubuntu-advantage-tools
ubuntu-pro-client ubuntu-release-upgrader update-notifier distro-info-data python-apt software-properties
fedora-release fedora-repos alpine-base alpine-release alpine-baselayout azurelinux-release azurelinux-repos
webp heif aom dav1d vpx openjpeg2 de265 openh264 sndfile x11 xpm freetype harfbuzz jpeg-xl exiv2 raw exif
gst-plugins-base gst-plugins-good gst-plugins-ugly gstreamer gst-libav gstreamer1-plugins-base
gstreamer1-plugins-good gstreamer1-plugins-bad-free gstreamer1
cryptography urllib3 requests jinja2 idna certifi setuptools pip pillow werkzeug django twisted aiohttp
ovmf edk2 virt libvirt crypto++ lxml zlib ncurses less rsync wget wget2 screen tmux tcpdump ntfs-3g exim4 postfix
sssd freeipa ipa bluez gcc llvm llvm-toolchain clang iproute iproute2 nftables strace btrfs-progs xfsprogs lvm2
cryptsetup dbus-broker udisks2 polkit flatpak xdg-desktop-portal gnome-shell mutter gtk4 gtk3 evolution
evolution-data-server wireplumber pulseaudio libinput drm vulkan-loader vulkan spirv-tools glslang ibus wine
plasma kf kf5 kf6 kwin kdeconnect dolphin konsole kate okular gwenview qt qtbase qt6 qt5 qtwebengine
nano htop rust-bootupd rust-afterburn criu toolbox buildkit helm etcd cni cni-plugins yq jq fail2ban
clamav mosquitto redis valkey memcached haproxy varnish squid freerdp vlc mpv yt-dlp gimp inkscape
audit restic rclone ansible toybox musl device-mapper-multipath multipath-tools chrony systemd-boot
sof-firmware alsa-sof-firmware nvidia nvidia-driver iptables-nft wpa_supplicant wpa bubblewrap
"""
"""Several times a year."""

_CALM = """
gzip gawk diffutils findutils grep sed tar file cpio procps procps-ng psmisc kmod kbd console-setup
iptables pciutils usbutils usb lz4 zstd event ev uv ffi icu pcre2 pcre gettext groff man-db lua dconf
at-spi2-core at-spi2 cairo pango pixman lcms2 jpeg-turbo jpeg png giflib flac mpg123 alsa alsa-lib alsa-utils
iso-codes xkeyboard-config shared-mime-info desktop-file-utils adduser init-system-helpers debconf tasn1 p11-kit
nettle idn2 psl json-glib gpgme assuan ksba npth pinentry protobuf protobuf-c boost parted ethtool lsof
e2fsprogs selinux sepol semanage policycoreutils cap bpf dbus elfutils binutils make userspace-rcu
soup rest secret notify proxy modplug cdio upower accountsservice colord geoclue gvfs thunar xfce4 xfwm4
xfdesktop xfconf mousepad ristretto tumbler pam-u2f fido2 tpm2-tss tpm2-tools tss2 keyutils logrotate cron cronie
rsyslog tcp-wrappers nfs-utils rpcbind quota attr2 mdadm iscsi iscsi-initiator-utils open-iscsi isns open-isns
zchunk solv repo modulemd librepo deltarpm createrepo_c gssproxy ding verto
"""
"""Once in a while."""

_STILL = """
acl attr gdbm readline bzip2 which time patch ed bc dc hostname netbase debianutils mawk popt mnl nfnetlink
netfilter_conntrack netfilter_cthelper netfilter_cttimeout netfilter_queue nftnl pipeline unistring mpfr gmp mpc
mpclib mpclib3 isl json-c yajl jansson yaml lmdb lzo lzo2 snappy daemon slang slang2 newt edit dosfstools mtools
gdisk efibootmgr efivar mokutil tree sharutils lockfile pciaccess lm-sensors lm_sensors numactl aio uring
setup basesystem filesystem crontabs mailcap mime-support media-types sgml-base xml-core docbook publicsuffix
xau xdmcp ice sm xt xext xrender xi xinerama xrandr xcursor xdamage xfixes xcomposite xcb xmu xaw xss xtst xv
xvmc xxf86vm xxf86dga xkbfile xshmfence fontenc fontconfig xft opus ogg vorbis speex speexdsp lame samplerate
soxr fftw fftw3 lapack openblas blas gsl graphite2 fribidi thai datrie aspell enchant jbigkit mng exempi
cdparanoia m4 autoconf automake libtool texinfo tcl tk guile cracklib pwquality sensible-utils ucf insserv
bsd md mhash crypt xcrypt sigsegv atomic_ops gc paper dvdread dvdnav ca bluray theora mad id3tag taglib
hunspell hyphen mythes words linux-base lsb lsb-release-minimal base-passwd bash-completion rootfiles dmidecode
db db5.3 berkeley-db gpm dialog whiptail zip unzip p7zip arj cabextract lrzip whois fakeroot rtmpdump rtmp
eject setserial sysvinit sysfsutils sysfs ntp-refclock inih nvme ipset conntrack-tools bridge-utils
console-login-helper-messages shell-color-prompt ssh-key-dir zram-generator
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
    **dict.fromkeys(("perl", "ocaml", "ghc", "tex", "texlive", "keyring", "keys", "data", "xorg", "xf86"), CALM),
    **dict.fromkeys(("xfce4", "mate", "gnome"), CALM),
    **dict.fromkeys(("firmware", "release", "repos", "plasma", "kf6", "kf5", "qt6", "php", "containers"), LIVELY),
}
"""What single words of a name tell where the name as a whole tells nothing."""

_VERSION = re.compile(r"[-_.]?v?\d[\d.]*$")
_SPLIT = re.compile(r"[^a-z0-9+]+")


def reputation(ident: ComponentId) -> float:
    """Expected changes of a package, from its name, as a multiple of an ordinary package's; 1 where unknown."""
    return _pace(ident.name) if ident.source in PACKAGE_SOURCES else ORDINARY


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
    """The name as it is, without its version, without what distributions put before the name of a library."""
    bare = _VERSION.sub("", name) or name
    bases = dict.fromkeys((name, bare, _VERSION.sub("", bare) or bare))
    short = [base.removeprefix(prefix) for base in bases for prefix in ("lib", "python-", "python3-", "py3-")]
    return tuple(dict.fromkeys((*bases, *short)))
