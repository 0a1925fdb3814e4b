"""A Debian root with a kernel, initramfs archives of two tools, unified kernel images, an SELinux policy."""

from __future__ import annotations

import shutil
from pathlib import Path

from images.cache import cached, call, need
from images.debian import MIRROR, bootstrap

VERSION = "1"
SUITE = "trixie"

PACKAGES = (
    "cpio",
    "dracut-core",
    "initramfs-tools",
    "linux-image-cloud-amd64",
    "lz4",
    "policycoreutils",
    "selinux-policy-default",
    "selinux-utils",
    "systemd",
    "systemd-boot-efi",
    "systemd-ukify",
    "xz-utils",
    "zstd",
)

EPOCH = "1700000000"
"""SOURCE_DATE_EPOCH of the reproducible archives."""

# The module 99version copies os-release as dracut-systemd does, which needs more of systemd than is here.
_FIELDS = 'OSTREE_VERSION="43.{build}.0"\nBUILD_ID={build}\n'
_SCRIPT = """\
set -eu
kernel=$(ls /usr/lib/modules)
mkdir -p /out /usr/lib/firmware/amd-ucode
echo microcode > /usr/lib/firmware/amd-ucode/microcode_amd.bin
mkinitramfs -c gzip -o /out/tools.gzip "$kernel"
for kind in zstd xz lz4; do SOURCE_DATE_EPOCH={epoch} mkinitramfs -c $kind -o /out/tools.$kind "$kernel"; done
mkdir -p /usr/lib/dracut/modules.d/99version
cat > /usr/lib/dracut/modules.d/99version/module-setup.sh << 'end'
check() {{ return 255; }}
install() {{ cp /usr/lib/os-release "$initdir/usr/lib/initrd-release"; }}
end
chmod +x /usr/lib/dracut/modules.d/99version/module-setup.sh
cp /usr/lib/os-release /out/os-release
for build in 20250101 20250108; do
    printf '{fields}' "$build" "$build" | cat /out/os-release - > /usr/lib/os-release
    SOURCE_DATE_EPOCH={epoch} dracut --quiet --force --reproducible --no-hostonly --early-microcode \\
        --add version --zstd --kver "$kernel" /out/dracut.$build
done
cp /out/os-release /usr/lib/os-release
dracut --quiet --force --no-hostonly --gzip --kver "$kernel" /out/dracut.plain
for seal in composefs=0123456789abcdef quiet; do
    ukify build --linux="/boot/vmlinuz-$kernel" --initrd=/out/tools.zstd --uname="$kernel" \\
        --cmdline="root=LABEL=root $seal rw" --output="/out/${{seal%%=*}}.efi"
done
"""


def directory() -> Path:
    """The directory with `root`, the root filesystem, and `out`, the archives and images made in it.

    out: tools.gzip (not reproducible), tools.zstd, tools.xz, tools.lz4 (reproducible, so with equal members),
    dracut.plain (not reproducible), dracut.20250101 and dracut.20250108 (reproducible but
    for the version), composefs.efi (sealed), quiet.efi.

    Raises:
        MissingTool: mmdebstrap is not installed.
    """

    def build(folder: Path) -> None:
        need("mmdebstrap", "unshare")
        root = folder / "root"
        bootstrap(root, SUITE, PACKAGES, [f"deb {MIRROR} {SUITE} main"])
        fields = _FIELDS.format(build="%s").replace("\n", "\\n").replace('"', "")
        script = _SCRIPT.format(epoch=EPOCH, fields=fields)
        mounts = f"mount -t proc proc {root}/proc && mount --rbind /dev {root}/dev"
        call("unshare", "--mount", "sh", "-c", f"{mounts} && exec chroot {root} sh", stdin=script)
        shutil.move(root / "out", folder / "out")

    return cached("boot", VERSION, build)
