"""Parts on the wire: an update of some files of large packages downloads the parts that hold them.

A file that somebody edits leaves its package (components/replaced.py); so these are new versions of packages.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from support import pushing, tools
from support.pushing import Client

KB = 1000

VENDORS = ("amdgpu", "ath10k", "i915", "iwlwifi", "mediatek", "qcom")
"""Directories of the firmware package, each below the size at which a directory is divided."""

VENDOR_BYTES = 900 * KB
MODULES = "/usr/share/perl/5.36.0"
EDITED = ("CPAN.pm", "perl5db.pl")
"""Files of perl that each update changes."""

REPACK = """\
package=perl-modules-5.36
mkdir -p /tmp/new/DEBIAN
dpkg-query --listfiles $package | sed -n 's|^/\\([^.]\\)|\\1|p' > /tmp/list
tar -C / --no-recursion -cf - -T /tmp/list | tar -C /tmp/new -xf -
for file in {edited}; do echo "# {number}" >> /tmp/new{modules}/$file; done
cat > /tmp/new/DEBIAN/control <<END
Package: $package
Version: $(dpkg-query --show --showformat '${{Version}}' $package)+{number}
Architecture: all
Source: perl
Maintainer: Nobody <nobody@example.com>
Description: modules
END
dpkg-deb --build /tmp/new /tmp/new.deb
dpkg --install /tmp/new.deb
rm -rf /tmp/new /tmp/new.deb /tmp/list
"""
"""Make and install the next version of the package of perl's modules, in which only EDITED differ."""


def firmware(folder: Path, version: int) -> Path:
    """Write what dpkg-deb packs: random data, of which each version has another `amdgpu`."""
    control = folder / "firmware/DEBIAN/control"
    control.parent.mkdir(parents=True)
    control.write_text(
        f"Package: firmware-like\nVersion: 1.{version}\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@example.com>\nDescription: data for devices\n"
    )
    for vendor in VENDORS:
        for number in range(3):
            path = folder / "firmware/usr/lib/firmware" / vendor / f"device{number}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            seed = f"{vendor}-{number}-{version if vendor == 'amdgpu' else 0}"
            path.write_bytes(random.Random(seed).randbytes(VENDOR_BYTES // 3))
    return folder


def release(storage: tools.Storage, before: str, number: int, folder: Path) -> str:
    """Build the next release: new versions of the firmware and of perl's modules."""
    containerfile = folder / "Containerfile"
    firmware(folder, number)
    steps = [
        "dpkg-deb --build /tmp/firmware /tmp/firmware.deb",
        "dpkg --install /tmp/firmware.deb",
        "rm -rf /tmp/firmware /tmp/firmware.deb /tmp/steps",
    ]
    if number:
        steps.append(REPACK.format(edited=" ".join(EDITED), modules=MODULES, number=number))
    (folder / "steps").write_text("set -e\n" + "\n".join(steps) + "\n")
    containerfile.write_text(
        f"FROM {before}\nCOPY firmware /tmp/firmware\nCOPY steps /tmp/steps\nRUN sh /tmp/steps\n"
    )
    name = f"localhost/parts:{number}"
    storage.run(
        *("buildah", "build", "--isolation=chroot", "--quiet", "--pull-never", "-t", name),
        *("-f", str(containerfile), str(folder)),
    )
    return name


def test_an_update_of_two_files_and_a_directory(
    storage: tools.Storage, client: Client, registry: tools.Registry, debian_image: str, tmp_path: Path
) -> None:
    repository = f"{registry.address}/wire/parts"
    name, fetched = debian_image, {}
    for number in range(3):
        name = release(storage, name, number, tmp_path / str(number))
        previous = ("--previous", f"docker://{repository}:{number - 1}") if number else ()
        pushing.push(storage, name, "--parts", "--push", f"docker://{repository}:{number}", *previous)
        fetched = client.pull(f"{repository}:{number}")
        fetched.pop(json.loads(pushing.document(f"{repository}:{number}"))["config"]["digest"])
    old, new = (f"docker://{repository}:{number}" for number in (1, 2))
    said = json.loads(storage.rechunk("diff", "--json", "--tls-verify=false", old, new).out)
    assert said["download"]["bytes"] == sum(fetched.values())
    changed = said["components"]["changed"]
    ids = {component["id"] for component in changed}
    own = {"dpkg/perl", "dpkg/firmware-like"}
    # dpkg's database and log tell of the installation
    others = ids - own
    assert own <= ids
    assert all(ident.startswith(("database/", "unclaimed/")) for ident in others), others
    assert sum(fetched.values()) < said["new"]["size"] / 4
