"""Components of the user's groups (group_file.py): packages and paths by glob, together or apart.

Groups claim before the package databases do. The first group that matches a path or a package has it. The
component of a source package (files that were moved, trees) goes to a group, too, if this one has all of its
packages; see move().
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from rechunk_podman.components.board import NOBODY, Board
from rechunk_podman.components.globs import Comparisons, Glob, path_glob
from rechunk_podman.components.group_file import Group
from rechunk_podman.components.sources.packages import positions_of
from rechunk_podman.errors import UsageError
from rechunk_podman.model import Positions
from rechunk_podman.packages.ecosystems import ECOSYSTEMS
from rechunk_podman.packages.protocol import Ecosystem, Package
from rechunk_podman.pathtable import distinct, path_key
from rechunk_podman.rootfs.root import Root

name = "groups"
rule = "a group names the path, or the package that lists it"

_ENTRY = 512
"""Bytes of a tar header, and of the blocks in which a tar holds files."""

_NAMES = frozenset(ecosystem.name for ecosystem in ECOSYSTEMS)
_SOURCES = _NAMES | {"flatpak", "images", "kernel"}
"""Sources whose components a pattern of packages may name, as `SOURCE/GLOB`."""


@dataclass(slots=True)
class _Unit:
    """Files that a group does not divide: a package, or a path."""

    name: str
    positions: Positions
    package: Package | None = None
    source: int = NOBODY
    number: int = NOBODY


@dataclass(slots=True)
class _Known:
    """The packages of one ecosystem: name, or name of the source -> packages, sorted by path_key()."""

    ecosystem: Ecosystem
    packages: dict[str, list[Package]] = field(default_factory=dict)
    sources: dict[str, list[Package]] = field(default_factory=dict)


class _Limit:
    """The comparisons that are left to the groups."""

    __slots__ = ("_comparisons",)

    def __init__(self) -> None:
        self._comparisons = Comparisons()

    def spend(self, count: int, group: Group) -> None:
        """Count comparisons.

        Raises:
            UsageError: they are too many.
        """
        if not self._comparisons.are_left(count):
            raise UsageError(
                f"the groups take more than {self._comparisons.most} comparisons of a name with a glob",
                context=[f"at the group {group.name} of {group.origin}"],
                hint="begin the globs of paths with a directory",
            )


def claim(root: Root, board: Board) -> None:
    """Claim the paths of each group, and the files of its packages.

    Raises:
        UsageError: the globs take too long.
    """
    groups = board.rules.groups
    if not groups:
        return
    known = list(_packages(board, groups))
    counts = {id(package): NOBODY for each in known for package in _all(each)}
    taken: dict[int, dict[int, int]] = {}
    limit = _Limit()
    for group in groups:
        units = _path_units(board, group, limit)
        patterns = (list(_parsed(group.packages)), list(_parsed(group.sources)))
        for each in known:
            for package in _matching(each, group, patterns, limit):
                if counts[id(package)] != NOBODY:
                    continue
                files = package.files
                positions = positions_of(board, files.paths)
                here = positions != NOBODY
                if files.installed is not None:
                    here &= files.installed
                info = [board.position[path] for path in package.info if path in board.position]
                source = board.component(each.ecosystem.name, package.source)
                unit = _Unit(
                    package.name, np.append(positions[here], np.array(info, np.intp)), package, source
                )
                counts[id(package)] = source
                units.append(unit)
        _place(board, group, units)
        for unit in units:
            if unit.package is not None:
                taken.setdefault(unit.source, {})[id(unit.package)] = unit.number
    for each in known:
        for label, packages in each.sources.items():
            number = board.component(each.ecosystem.name, label)
            homes = taken.get(number, {})
            if len(homes) == len(packages) and len(set(homes.values())) == 1:
                board.moved_to[number] = next(iter(homes.values()))


def move(board: Board) -> None:
    """Give the components of the other sources (flatpak, images, kernel, …) to the groups that name them.

    It is called after all claims, since these sources know their components only then.

    Raises:
        UsageError: the globs take too long.
    """
    loaded = {ecosystem.name for ecosystem in ECOSYSTEMS if not ecosystem.locations.embedded}
    late = [
        (number, draft.id)
        for number, draft in enumerate(board.drafts)
        if draft.id.source in _SOURCES and draft.id.source not in loaded
    ]
    limit = _Limit()
    for group in board.rules.groups if late else ():
        patterns = [*_parsed(group.packages), *_parsed(group.sources)]
        limit.spend(len(patterns) * len(late), group)
        for number, ident in late:
            if number not in board.moved_to and any(
                (source == ident.source or (source is None and ident.source in _NAMES))
                and glob.matches(ident.name)
                for source, glob in patterns
            ):
                label = ident.name if group.apart else "more" if group.largest else ""
                board.moved_to[number] = _component(board, group, label)


def _packages(board: Board, groups: Sequence[Group]) -> Iterator[_Known]:
    """Yield the packages of the databases that do not depend on earlier claims."""
    if not any(group.packages or group.sources for group in groups):
        return
    for ecosystem in ECOSYSTEMS:
        if ecosystem.locations.embedded:
            continue
        database = board.databases.peek(ecosystem, ecosystem.locations.scattered_in(board.paths))
        known = _Known(ecosystem)
        for package in database.packages if database is not None else ():
            known.packages.setdefault(package.name, []).append(package)
            known.sources.setdefault(package.source, []).append(package)
        for table in (known.packages, known.sources):
            ordered = sorted(table.items(), key=lambda item: path_key(item[0]))
            table.clear()
            table.update(ordered)
        yield known


def _all(known: _Known) -> Iterable[Package]:
    return (package for packages in known.packages.values() for package in packages)


_Pattern = tuple[str | None, Glob]


def _parsed(patterns: Iterable[str]) -> Iterator[_Pattern]:
    """Yield (source of components, None for all ecosystems; glob of names) for each pattern."""
    for pattern in patterns:
        source, slash, rest = pattern.partition("/")
        yield (source, Glob(rest)) if slash and source in _SOURCES else (None, Glob(pattern))


def _matching(
    known: _Known, group: Group, patterns: Sequence[Sequence[_Pattern]], limit: _Limit
) -> Iterator[Package]:
    """Yield the packages that match.

    Args:
        patterns: of names of packages, and of names of sources.
    """
    for column, table in zip(patterns, (known.packages, known.sources), strict=True):
        names = list(table) if column else []
        for source, glob in column if names else ():
            if source in (None, known.ecosystem.name):
                limit.spend(glob.cost(names), group)
                for index in glob.find(names):
                    yield from table[names[index]]


def _path_units(board: Board, group: Group, limit: _Limit) -> list[_Unit]:
    """Return a unit for each path that matches; for each file below it, if the group is to be cut."""
    paths = board.paths
    found = np.zeros(len(paths), np.bool_)
    tops: list[int] = []
    for pattern in group.paths:
        glob = path_glob(pattern)
        limit.spend(glob.cost(paths), group)
        positions = list(glob.find(paths))
        if glob.is_plain and not positions:
            positions = [p for p in [board.position.get(board.canonical(pattern) or "")] if p is not None]
        for position in positions:
            if found[position]:
                continue
            # directories come before their content
            below = board.tree.below(paths[position])
            found[position] = True
            found[below.start : below.stop] = True
            tops.append(position)
    if not group.apart:
        if group.largest is None:
            return [_Unit("", np.flatnonzero(found))] if found.any() else []
        return [_Unit(paths[position], np.array([position])) for position in np.flatnonzero(found).tolist()]
    units = []
    seen = np.zeros(len(paths), np.bool_)
    for position in tops:
        below = board.tree.below(paths[position])
        own = np.array([position, *below], np.intp)
        units.append(_Unit(paths[position], own[~seen[own]]))
        seen[own] = True
    return units


def _place(board: Board, group: Group, units: list[_Unit]) -> None:
    """Claim what is free of each unit, for its component."""
    sizes = []
    for unit in units:
        leaders = distinct(board.leader[unit.positions])
        free = leaders[(board.owner[leaders] == NOBODY) & ~board.inner[leaders]]
        unit.positions = free
        blocks = -(-board.size[free] // _ENTRY) * board.regular[free] + 1
        sizes.append(int(blocks.sum()) * _ENTRY)
    labels = [""] * len(units)
    if group.largest is not None:
        labels = _pieces([unit.name for unit in units], sizes, group.largest)
    elif group.apart:
        labels = [unit.name for unit in units]
    for unit, label in zip(units, labels, strict=True):
        unit.number = _component(board, group, label)
        draft = board.drafts[unit.number]
        if unit.package is not None:
            draft.changes.update(unit.package.changes)
            draft.add_build(unit.package.built)
        free = unit.positions[board.owner[unit.positions] == NOBODY]
        board.because(rule, group.origin, f"group {group.name}", unit.name)
        board.claim_all(free, unit.number)


def _component(board: Board, group: Group, label: str) -> int:
    """Return the number of a group's component: the group itself, or one of its parts."""
    number = board.component(name, f"{group.name}/{label}" if label else group.name)
    draft = board.drafts[number]
    draft.placement, draft.least, draft.interval = group.placement, group.least, group.interval
    return number


def _pieces(names: Sequence[str], sizes: Sequence[int], largest: int) -> list[str]:
    """Return the label of the piece of each unit. Pure.

    A piece has at most `largest` bytes, unless one unit is larger. Units of more than half of that are pieces
    of their own. The others are divided by the bits of a hash of their names, until each piece is small
    enough: thus a unit stays in its piece, unless the piece grows too large.
    """
    labels = [""] * len(names)
    small = []
    for index, size in enumerate(sizes):
        if 2 * size > largest:
            labels[index] = names[index] or "rest"
        else:
            small.append(index)
    hashes = {
        index: f"{int.from_bytes(blake2b(path_key(names[index]), digest_size=8).digest(), 'big'):064b}"
        for index in small
    }
    pending = [("", small)]
    while pending:
        bits, members = pending.pop()
        if sum(sizes[index] for index in members) <= largest or len(bits) == 64:
            for index in members:
                labels[index] = f"piece{bits}" if bits else ""
            continue
        for bit in "01":
            inside = [index for index in members if hashes[index][len(bits)] == bit]
            if inside:
                pending.append((bits + bit, inside))
    return labels
