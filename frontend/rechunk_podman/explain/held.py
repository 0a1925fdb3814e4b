"""List what a layer holds of each component: the whole, or some of its parts. Pure.

Records name units (planning/units.py): `rpm/linux-firmware · /usr/lib/firmware/amdgpu` stands for some parts,
of which it names the largest. People and JSON documents get components, with the names of parts beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rechunk_podman.model import PART_SIGN
from rechunk_podman.patterns import compile_later
from rechunk_podman.planning.ledger import FOLDED, ComponentRecord, Ledger
from rechunk_podman.planning.marks import KEYED_BYTES
from rechunk_podman.units import human_size

SHOWN = 2
"""Names of parts in a text."""

_NUMBER = compile_later(r" #\d+(?:-\d+)*(?= \(programs\)|$)")


@dataclass(frozen=True, slots=True)
class Held:
    """A component, or some of its parts.

    id: of the component, without a part.
    parts: the names of its largest parts; none if all of the component is meant.
    count: the number of its parts, of which `parts` names some.
    size, whole: bytes of the parts, and of the component; 0 if they are not on record.
    """

    id: str
    parts: tuple[str, ...] = ()
    count: int = 0
    size: int = 0
    whole: int = 0

    @property
    def text(self) -> str:
        """The id, and for parts their bytes and names."""
        if not self.parts:
            return self.id
        return f"{self.id}: {self.share}{self.names}"

    @property
    def folded(self) -> str:
        """The same without the names of parts."""
        return f"{self.id}: {self.share.removesuffix(', ') or 'some parts'}" if self.parts else self.id

    @property
    def share(self) -> str:
        """`12.0 MB of 201.0 MB, `; "" if that is not on record."""
        return f"{human_size(self.size)} of {human_size(self.whole)}, " if self.size and self.whole else ""

    @property
    def names(self) -> str:
        """The names of the largest parts, and the number of others; numbered parts of a directory as one."""
        found: dict[str, int] = {}
        for part in self.parts:
            directory = _NUMBER.sub("", part)
            found[directory] = found.get(directory, 0) + 1
        shown = list(found)[:SHOWN]
        more = max(self.count, len(self.parts)) - sum(found[name] for name in shown)
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def whole_of(name: str) -> str:
    """Return the id of the component that a recorded name is about."""
    return name.partition(PART_SIGN)[0]


@dataclass(frozen=True, slots=True)
class Units:
    """The units of an image by their names, from its Ledger, without folds.

    sizes: bytes of each component of which all units have a recorded size.
    """

    records: Mapping[str, ComponentRecord] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, ledger: Ledger | None) -> Units:
        """Return the units that a Ledger records."""
        if ledger is None:
            return cls()
        records = {
            str(ident): record for ident, record in ledger.components.items() if ident.source != FOLDED
        }
        sizes: dict[str, int] = {}
        versions: dict[str, str] = {}
        for name, record in records.items():
            component = whole_of(name)
            sizes[component] = sizes.get(component, 0) + record.size
            versions[component] = record.version
        return cls(records, sizes, versions)

    def held(self, names: Iterable[str]) -> tuple[Held, ...]:
        """Return what units of these names are, one for each component, in the order of the first names."""
        found: dict[str, list[str]] = {}
        for name in names:
            component, sign, part = name.partition(PART_SIGN)
            found.setdefault(component, []).extend([part] if sign else [])
        return tuple(self._held(component, parts) for component, parts in found.items())

    def _held(self, component: str, parts: list[str]) -> Held:
        if not parts:
            return Held(component)
        known = [self.records.get(f"{component}{PART_SIGN}{part}") for part in parts]
        records = [record for record in known if record is not None]
        ranked = sorted(zip(parts, known, strict=True), key=lambda one: -one[1].size if one[1] else 0)
        complete = len(records) == len(parts)
        named = [name for part, record in ranked for name in (part, *(record.names if record else ()))]
        return Held(
            component,
            tuple(named),
            sum(len(record.parts) // KEYED_BYTES for record in records),
            sum(record.size for record in records) if complete else 0,
            self.sizes.get(component, 0),
        )
