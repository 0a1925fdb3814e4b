"""The download of updates with components as a whole and in parts, on real versions of Debian packages.

    python benchmarks/parts.py [--folder DIR] [--layers 64,120,400] [--versions N] [--alone] [--json]
    python benchmarks/parts.py --series [--folder DIR] [--layers 64,120,400]

An image holds large packages, and the others of the Debian history among the tests' data. Its large packages
update one after the other, each to its next version, until none has a newer one. The packages come from
Debian's archives by apt (debian_versions.py), some 2 GB; DIR keeps the lists of their files.

Bytes are sums of the new layers of each update (tar, uncompressed). The floor is the tar entries of new and
changed files. A change of a file is one of its content, mode or path: layers of parts hold times that follow
the content.

With --series: the last releases of the Debian history. Firmware and perl are updated in each, too, by made-up
changes of a few directories.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b, sha256
from pathlib import Path
from random import Random
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np

from debian_versions import Archive, File, State
from rechunk_podman.components.parts import cut
from rechunk_podman.model import Component, ComponentId, Entry, Kind, Part, PartKind, Tree
from rechunk_podman.planning import simulate
from rechunk_podman.planning.history import History, parse_history
from rechunk_podman.planning.layout import lay_out
from rechunk_podman.planning.ledger import Ledger, decode, encode

HISTORY = Path(__file__).resolve().parents[1] / "tests" / "data" / "histories" / "webtop-debian-xfce.json.xz"

PERL = ("5.32", "5.36", "5.40", "5.42")

CHAINS: Mapping[str, tuple[str, ...]] = {
    "glibc": ("libc6", "libc-bin", "libc-l10n", "locales"),
    "perl": (
        "perl-base",
        "perl",
        *(f"{name}{version}" for version in PERL for name in ("libperl", "perl-modules-")),
    ),
    "python3.11": ("python3.11", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib"),
    "python3.13": ("python3.13", "python3.13-minimal", "libpython3.13-minimal", "libpython3.13-stdlib"),
    "systemd": ("systemd", "libsystemd0", "libsystemd-shared", "udev", "libudev1", "libpam-systemd"),
    "git": ("git", "git-man"),
    "tzdata": ("tzdata",),
    "breeze-icons": ("breeze-icon-theme",),
    "qemu": ("qemu-system-x86", "qemu-system-common", "qemu-utils", "qemu-system-gui", "qemu-system-data"),
    "mesa": ("libgl1-mesa-dri", "mesa-libgallium", "libglx-mesa0", "libegl-mesa0", "mesa-vulkan-drivers"),
    "libreoffice": (
        *("libreoffice-core", "libreoffice-common", "libreoffice-writer", "libreoffice-calc"),
        *("libreoffice-impress", "libreoffice-draw", "libreoffice-math", "libreoffice-base-core"),
    ),
    "firefox-esr": ("firefox-esr",),
    "chromium": ("chromium", "chromium-common"),
    "firmware": (
        *("firmware-misc-nonfree", "firmware-amd-graphics", "firmware-iwlwifi", "firmware-atheros"),
        *("firmware-realtek", "firmware-brcm80211"),
    ),
}
"""Component -> its packages; the first decides which versions there are."""

KERNEL = ("linux-modules-", "-amd64")

EVERYTHING_CHANGES = frozenset({"chromium", "firefox-esr", "mesa", "linux"})

START, WEEK = 1_700_000_000, 604_800

RELEASES, SEEDS = 30, (1, 2)
"""The seeds of the made-up series: it is made once with each."""


class Version(NamedTuple):
    """A version of a component, and the sizes of its tar entries by path, mode and content."""

    component: Component
    entries: Mapping[tuple[str, int, str], int]


def merged(file: File) -> File:
    """Return the entry as an image with a merged /usr has it."""
    top = file.path.partition("/")[0]
    return file._replace(path=f"usr/{file.path}") if top in ("bin", "sbin", "lib", "lib64") else file


def version(name: str, state: State, number: int) -> Version:
    """Return the component of one version of a chain."""
    entries, sizes = {}, {}
    state = State(state.version, tuple(merged(file) for file in state.files))
    leaders = {file.path: index for index, file in enumerate(state.files, 1) if not file.link}
    for index, file in enumerate(state.files, 1):
        inode = leaders.get(file.content, index) if file.link else index
        kind = Kind.FILE if file.size or file.link or len(file.content) == 32 else Kind.SYMLINK
        target = file.content if kind is Kind.SYMLINK else None
        entries[file.path] = Entry(
            kind, file.mode & 0o7777, 0, 0, file.size, file.mtime, 1, inode, 1, target, None, ()
        )
        sizes[file.path] = 512 * (1 + -(-file.size // 512))
        parent = file.path.rpartition("/")[0]
        while parent and parent not in entries:
            entries[parent] = Entry(Kind.DIRECTORY, 0o755, 0, 0, 0, 0, 1, -len(entries), 1, None, None, ())
            parent = parent.rpartition("/")[0]
    tree = Tree(Entry(Kind.DIRECTORY, 0o755, 0, 0, 0, 0, 1, 0, 1, None, None, ()), entries)
    contents = {file.path: (file.path, file.mode, file.content) for file in state.files}
    own = np.array([tree.position[path] for path in sorted(contents, key=str.encode)], np.intp)
    own_sizes = np.array([sizes[path] for path in tree.paths_at(own)])
    parts = []
    for piece in cut(tree, own, own_sizes):
        hasher = blake2b(digest_size=8)
        paths = tree.paths_at(piece.positions)
        for path in paths:
            hasher.update(repr(contents[path]).encode())
        size = sum(sizes[path] for path in paths)
        parts.append(Part(piece.name, size, hasher.digest(), piece.kind, piece.positions))
    fingerprint = blake2b(f"{name} {state.version}".encode(), digest_size=8).digest()
    component = Component(
        ComponentId("dpkg", name),
        int(own_sizes.sum()),
        fingerprint,
        version=state.version,
        built=START + number * WEEK,
        parts=tuple(parts) if len(parts) > 1 else (),
        positions=own,
    )
    return Version(component, {contents[path]: sizes[path] for path in contents})


class Update(NamedTuple):
    """An update of one chain: bytes downloaded, and the least that any layout by files would need."""

    chain: str
    bytes: int
    floor: int
    component: int


def replay(
    chains: Mapping[str, Sequence[Version]], others: Sequence[Component], max_layers: int, *, parts: bool
) -> Iterator[Update]:
    """Yield the updates of an image, each of one chain by one version."""
    at = dict.fromkeys(chains, 0)
    text, layers, now = "", {}, START
    steps = [""]
    for number in range(1, max(map(len, chains.values()))):
        steps += [name for name, versions in chains.items() if number < len(versions)]
    for name in steps:
        before = chains[name][at[name]] if name else None
        if name:
            at[name] += 1
        now += WEEK
        image = [*(chains[chain][place].component for chain, place in at.items()), *others]
        layout = lay_out(image, decode(text) if text else None, max_layers=max_layers, now=now, parts=parts)
        units = {unit.id: unit for unit in layout.units}
        found = {}
        for layer in layout.plan.layers:
            digest = sha256()
            for ident in layer.components:
                digest.update(f"{ident.whole} {bool(ident.part)}".encode() + units[ident].fingerprint)
            found[f"sha256:{digest.hexdigest()}"] = sum(units[ident].size for ident in layer.components)
        text = encode(Ledger.advance(layout.memory, layout.units, layout.plan, list(found), date=now))
        if before is not None:
            after = chains[name][at[name]]
            yield Update(
                name,
                sum(size for digest, size in found.items() if digest not in layers),
                sum(size for entry, size in after.entries.items() if entry not in before.entries),
                after.component.size,
            )
        layers = found


def made_up(component: Component, seed: int, directories: int) -> list[Component]:
    """Return releases of a component. Each changes a third of the parts in some directories, and all notes.

    Args:
        directories: so many change, the same ones more often than others (Zipf's law).
    """
    random = Random(seed)
    held: dict[str, list[int]] = defaultdict(list)
    for number, part in enumerate(component.parts):
        held["/".join(part.name.split(" ")[0].split("/")[:5])].append(number)
    names = random.sample(sorted(held), len(held))
    weights = [1 / rank for rank in range(1, len(names) + 1)]
    parts, releases = list(component.parts), [component]
    for number in range(1, RELEASES):
        busy = {index for name in random.choices(names, weights, k=directories) for index in held[name]}
        for index, part in enumerate(parts):
            if part.kind is PartKind.NOTES or (index in busy and random.random() < 1 / 3):
                parts[index] = replace(part, fingerprint=random.randbytes(8))
        fingerprint = number.to_bytes(8, "big")
        releases.append(replace(component, parts=tuple(parts), fingerprint=fingerprint, version=f"{number}"))
    return releases


def series(chains: Mapping[str, Sequence[Version]], seed: int) -> History:
    """Return the last releases of the Debian history with two components that are made up."""
    history = parse_history(HISTORY.read_bytes())
    ours = [made_up(chains["firmware"][0].component, seed, 3), made_up(chains["perl"][0].component, seed, 1)]
    names = {releases[0].id.name for releases in ours}
    found = []
    for number, release in enumerate(history.releases[-RELEASES:]):
        others = [component for component in release.components if component.id.name not in names]
        components = (*others, *(releases[number] for releases in ours))
        found.append(replace(release, components=components, packed={}, layers=()))
    return replace(history, releases=tuple(found))


def print_series(chains: Mapping[str, Sequence[Version]], max_layers: int) -> None:
    """Print the download of the last two thirds of a made-up series."""
    sums = {False: 0.0, True: 0.0}
    least = 0.0
    for seed in SEEDS:
        history = series(chains, seed)
        for parts in sums:
            found = simulate.replay(history, max_layers=max_layers, parts=parts)
            sums[parts] += found.bytes[1] / len(SEEDS)
        least += found.bound[1] / len(SEEDS)
    whole, in_parts = sums[False], sums[True]
    print(
        f"{max_layers} layers: {whole / 1e6:.1f} MB an update, in parts {in_parts / whole:.3f}, "
        f"each part a layer of its own {least / whole:.3f}",
        flush=True,
    )


def read_chains(folder: Path, most: int) -> dict[str, list[Version]]:
    """Return the versions of all components that have two, oldest first."""
    archive = Archive(folder)
    archive.look_up(package for packages in CHAINS.values() for package in packages)
    states = {name: archive.chain(packages, most) for name, packages in CHAINS.items()}
    states["linux"] = archive.kernels(*KERNEL, most)
    chains = {
        name: [version(name, state, number) for number, state in enumerate(real_versions(found))]
        for name, found in states.items()
    }
    return {name: versions for name, versions in chains.items() if len(versions) > 1}


def real_versions(states: Sequence[State]) -> list[State]:
    """Return the states but those of empty packages, which stand for a package of another name."""
    sizes = [sum(file.size for file in state.files) for state in states]
    return [state for state, size in zip(states, sizes, strict=True) if size * 100 > max(sizes)]


def other_components(chains: Mapping[str, object]) -> list[Component]:
    """Return the components of the Debian history's last release that are in no chain."""
    history = parse_history(HISTORY.read_bytes())
    return [component for component in history.releases[-1].components if component.id.name not in chains]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache" / "rechunk-podman" / "debian")
    parser.add_argument("--layers", default="64,120,400")
    parser.add_argument("--versions", type=int, default=6, help="the newest so many of each package")
    parser.add_argument("--alone", action="store_true", help="without the other packages of an image")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--series", action="store_true", help="a series that is made up")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    chains = read_chains(arguments.folder, arguments.versions)
    if arguments.series:
        for max_layers in map(int, arguments.layers.split(",")):
            print_series(chains, max_layers)
        return 0
    others = [] if arguments.alone else other_components(chains)
    document = []
    for max_layers in map(int, arguments.layers.split(",")):
        started = time.process_time()
        whole = list(replay(chains, others, max_layers, parts=False))
        middle = time.process_time()
        in_parts = list(replay(chains, others, max_layers, parts=True))
        seconds = (middle - started, time.process_time() - middle)
        rows = {
            name: [
                sum(u.bytes for u in whole if u.chain in some),
                sum(u.bytes for u in in_parts if u.chain in some),
                sum(u.floor for u in whole if u.chain in some),
                sum(u.component for u in whole if u.chain in some),
                sum(u.chain in some for u in whole),
            ]
            for name, some in (
                *((name, {name}) for name in chains),
                ("all", set(chains)),
                ("all but browsers, mesa, kernel", set(chains) - EVERYTHING_CHANGES),
            )
        }
        document.append({"layers": max_layers, "seconds": seconds, "rows": rows})
        if not arguments.json:
            components = len(others) + len(chains)
            print(f"{max_layers} layers, {components} components; {seconds[0]:.1f} s, {seconds[1]:.1f} s")
            print(f"  {'':31} updates components whole  in parts   floor   in parts / whole, / floor")
            for name, (a, b, floor, size, count) in rows.items():
                mb = [f"{value / 1e6:8.1f}" for value in (size, a, b, floor)]
                print(
                    f"  {name:31} {count:6} {' '.join(mb)}   {b / a:.3f} {b / max(floor, 1):.3f}", flush=True
                )
    if arguments.json:
        print(json.dumps(document))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
