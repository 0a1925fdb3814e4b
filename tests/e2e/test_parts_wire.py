"""Parts on the wire: an update of some files of large packages downloads the parts that hold them.

A file that somebody edits leaves its package (components/replaced.py); so these are new versions of packages.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from images import debian
from images.cache import MissingTool, cached
from support import pushing, tools
from support.needs import unavailable
from support.pushing import Client, Uploads

MODULES = "usr/share/perl/5.36.0"
FIRMWARE = "lib/firmware/rtw89"
"""The directory, of the package firmware-realtek, that changes in each release."""

FIRMWARE_PACKAGES = ("firmware-intel-sound", "firmware-realtek", "firmware-ti-connectivity")
"""Packages of one source package, firmware-nonfree."""

RELEASES = 3

REPACK = """\
set -e
repack() {{
    # /lib is a symlink in the image, and a directory in packages
    dpkg-query --listfiles $1 | sed -n 's|^/\\([^.]\\)|\\1|p' | grep -vx lib > /tmp/list
    mkdir -p /tmp/new/DEBIAN
    tar -C / --no-recursion -cf - -T /tmp/list | tar -C /tmp/new -xf -
    shift
    for file in "$@"; do echo "# {number}" >> "/tmp/new/$file"; done
    dpkg-query --show --showformat \\
'Package: ${{Package}}\\nVersion: ${{Version}}+{number}\\nArchitecture: ${{Architecture}}\\n\
Source: ${{source:Package}}\\nMaintainer: ${{Maintainer}}\\nDescription: the next version\\n' \\
        $package > /tmp/new/DEBIAN/control
    dpkg-deb --build /tmp/new /tmp/new.deb
    dpkg --install /tmp/new.deb
    rm -rf /tmp/new /tmp/new.deb /tmp/list
}}
package=perl-modules-5.36
repack $package {modules}/CPAN.pm {modules}/perl5db.pl
package=firmware-realtek
repack $package $(cd / && echo {firmware}/*)
rm -f /tmp/steps
"""
"""Make and install the next version of both packages: two files and a directory differ."""


def with_firmware() -> Path:
    """The root filesystem of Debian with real firmware as a tar file."""

    def build(folder: Path) -> None:
        packages = (*debian.PACKAGES, *FIRMWARE_PACKAGES)
        sources = [f"deb {debian.MIRROR} {debian.SUITE} main non-free-firmware"]
        debian.bootstrap(folder / "root.tar", debian.SUITE, packages, sources)

    try:
        return cached("debian-firmware", debian.VERSION, build) / "root.tar"
    except MissingTool as error:
        unavailable(f"{error} is not installed")


def release(storage: tools.Storage, before: str, number: int, folder: Path) -> str:
    """Build the next release: new versions of the firmware and of perl's modules."""
    folder.mkdir()
    (folder / "steps").write_text(REPACK.format(number=number, modules=MODULES, firmware=FIRMWARE))
    containerfile = folder / "Containerfile"
    containerfile.write_text(f"FROM {before}\nCOPY steps /tmp/steps\nRUN sh /tmp/steps\n")
    name = f"localhost/parts:{number}"
    storage.run(
        *("buildah", "build", "--isolation=chroot", "--quiet", "--pull-never", "-t", name),
        *("-f", str(containerfile), str(folder)),
    )
    return name


def test_an_update_of_two_files_and_a_directory(
    storage: tools.Storage, client: Client, registry: tools.Registry, tmp_path: Path
) -> None:
    """The first update teaches the Ledger, and costs the whole packages; the second one costs less."""
    repository = f"{registry.address}/wire/parts"
    name, costs = storage.import_tar(with_firmware(), "localhost/parts:0"), []
    for number in range(RELEASES):
        name = release(storage, name, number, tmp_path / str(number)) if number else name
        previous = ("--previous", f"docker://{repository}:{number - 1}") if number else ()
        pushing.push(storage, name, "--push", f"docker://{repository}:{number}", *previous)
        fetched = client.pull(f"{repository}:{number}")
        fetched.pop(json.loads(pushing.document(f"{repository}:{number}"))["config"]["digest"])
        costs.append(sum(fetched.values()))
    names = [f"docker://{repository}:{number}" for number in range(RELEASES)]
    said = json.loads(storage.rechunk("diff", "--json", "--tls-verify=false", *names[-2:]).out)
    assert said["download"]["bytes"] == costs[-1]
    changed = {component["id"]: component.get("parts", []) for component in said["components"]["changed"]}
    # the list of files and digests of a package lies in "/", with what else is outside of large directories
    firmware = set(changed["dpkg/firmware-nonfree"]) - {"/"}
    assert firmware
    assert all(name.startswith(f"/usr/{FIRMWARE}") for name in firmware)
    modules = set(changed["dpkg/perl"]) - {"/var/lib/dpkg/info"}
    assert modules
    assert all(name.startswith(f"/{MODULES}") for name in modules)
    # dpkg's database and log tell of the installation
    others = changed.keys() - {"dpkg/firmware-nonfree", "dpkg/perl"}
    assert all(ident.startswith(("database/", "unclaimed/")) for ident in others), others
    first, second = replay(storage, names, tmp_path / "history.json")
    assert costs[1:] == pytest.approx([first["bytes"], second["bytes"]], rel=0.02)
    # the first update costs both packages; the second one its parts, and what shares a layer with them
    assert costs[1] > 10 * second["bound"]
    assert second["bound"] < 1_600_000
    assert costs[2] < second["bound"] + 600_000
    uploads = Uploads(registry)
    pushing.push(storage, name, "--push", f"docker://{repository}:again", "--previous", names[-1])
    assert not uploads.new
    assert pushing.digest_of(f"{repository}:again") == pushing.digest_of(names[-1].removeprefix("docker://"))
    whole = replay(storage, names, tmp_path / "history.json", "--no-parts")
    assert all(update["bytes"] > 16_000_000 for update in whole)


def replay(storage: tools.Storage, names: list[str], history: Path, *options: str) -> list[dict[str, int]]:
    """Measure the images in the registry, and return the simulated updates in 64 layers."""
    storage.rechunk("history", *names, "-o", history, "--tls-verify=false")
    text = storage.rechunk("simulate", history, "--max-layers", "64", "--json", *options).out
    updates: list[dict[str, int]] = json.loads(text)["histories"][0]["per_update"]
    return updates
