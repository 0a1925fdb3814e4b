"""The Ledger: the record of earlier images, for the planner of the next one.

It describes one image, the newest, and the releases in which its components changed. A Ledger serves planning
alone and is not trusted otherwise: a wrong one costs downloads, not correctness.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from rechunk_podman.errors import RechunkError
from rechunk_podman.model import PREFIX_BYTES, TAR_FORMAT, Component, ComponentId, Plan, PlannedLayer
from rechunk_podman.planning.codec import BrokenTextError, Reader, Writer, seal, unseal
from rechunk_podman.planning.marks import joined_marks, width_of

FORMAT = 2
"""The number of the encoding below."""

COLUMNS = {1: 5, FORMAT: 6}
"""Number of an encoding that decode() reads -> the number of its columns. The first had no parts."""

FOLDED = "folded"
"""The source in the ids of folds, each of which stands for several components (folding.py)."""

BUDGET = 34 * 1024
"""Bytes of an encoded Ledger by default; with the comments of the layers it stays below 40 KiB."""

MAX_RELEASES = 64
"""The most releases whose changes are recorded."""

MAX_AGE = 0xFFFF
"""The highest age that is recorded, in releases."""

FINGERPRINT_BYTES = 6
"""Bytes of a fingerprint that are recorded; one change in 2^48 goes unnoticed."""

SHORT_FINGERPRINT_BYTES = 4
RATE_STEPS = 255
MAX_COMPONENTS = 50_000
MAX_LAYERS = 1_000
MAX_MEMBERS = 1 << 24
"""The most parts of one component, or members of one fold."""

FURTHER_NAMES = 3
"""The most parts of a unit that are named beside the one in its id."""

SIZE_STEP = 1 << 10
MAX_SIZE = 1 << 40
"""The largest size that is recorded, in SIZE_STEP bytes."""

MAX_NAME_BYTES = 4_096
MAX_DATE = 1 << 40
END = 127


class LedgerError(RechunkError):
    """A Ledger cannot be used. `reason`: "missing", "truncated", "other format" or "nonsense"."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(
            f"ledger {reason}: {message}" if message else f"ledger {reason}",
            hint="the layers are planned without memory; this update downloads more than usual",
        )
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ComponentRecord:
    """The record of one component.

    fingerprint: the first bytes of the component's fingerprint.
    version: as its database writes it; "" if it is unknown, or was dropped for space.
    changes: bit i is set if it changed, or was new, in the i-th release counted back from the newest.
    age: the number of consecutive releases that have it, up to and with the newest, at least 1.
    parts: the marks of its parts (marks.py), if it has any.
    count: of a fold, the number of its members; else 0.
    size: of a unit of some parts, its bytes, rounded up to SIZE_STEP; else 0.
    names: of such a unit, the names of its largest parts but the one in its id; dropped with versions.
    """

    fingerprint: bytes
    version: str = ""
    changes: int = 0
    age: int = 1
    parts: bytes = b""
    count: int = 0
    size: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Compressor:
    """The program that compressed the blobs: name, version, level."""

    name: str
    version: str
    level: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """The record of one image. Every component of it is in exactly one layer.

    dates: epoch seconds of the releases on record, oldest first; the last is the image's own date.
    tar_format: TAR_FORMAT of the program that wrote its layers.
    """

    components: Mapping[ComponentId, ComponentRecord]
    dates: tuple[int, ...]
    layers: tuple[PlannedLayer, ...]
    tar_format: int = TAR_FORMAT
    compressor: Compressor | None = None
    _owner: dict[ComponentId, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for index, layer in enumerate(self.layers):
            for ident in layer.components:
                self._owner[ident] = index

    def layer_of(self, ident: ComponentId) -> int | None:
        """Return the index of the layer that holds `ident`, or None."""
        return self._owner.get(ident)

    def changed(self, component: Component) -> bool:
        """Return True if `component` is new or differs from its record."""
        return _differs(self.components.get(component.id), component, self.tar_format == TAR_FORMAT)

    @staticmethod
    def advance(
        previous: Ledger | None,
        components: Iterable[Component],
        plan: Plan,
        diff_ids: Sequence[str],
        *,
        date: int,
        tar_format: int = TAR_FORMAT,
        compressor: Compressor | None = None,
    ) -> Ledger:
        """Return the record of the image that was just made of `components` by `plan`.

        Args:
            previous: the Ledger that the plan was made with; None if there was none.
            diff_ids: "sha256:…" of each layer of the plan, in order.
            date: epoch seconds of the release (the planner's now).

        An image with the same contents as the previous one does not count as a release: dates and changes
        stay, so that a rebuild of the same content gives the same record.

        Raises:
            ValueError: plan, components and diff_ids do not belong together.
        """
        present = {component.id: component for component in components}
        planned = [ident for layer in plan.layers for ident in layer.components]
        if len(diff_ids) != len(plan.layers) or sorted(planned) != sorted(present):
            raise ValueError("plan, components and diff_ids do not belong together")
        layers = tuple(
            PlannedLayer(tuple(sorted(layer.components)), quantized(layer.rate), diff_id_prefix(diff_id))
            for layer, diff_id in zip(plan.layers, diff_ids, strict=True)
        )
        old = previous.components if previous is not None else {}
        changed = {
            ident
            for ident, component in present.items()
            if _differs(old.get(ident), component, previous is not None and previous.tar_format == tar_format)
        }
        same = previous is not None and not changed and old.keys() == present.keys()
        records = {}
        for ident in sorted(present):
            component, before = present[ident], old.get(ident)
            if before is None:
                changes, age = 1, 1
            elif same:
                changes, age = before.changes, before.age
            else:
                changes = (before.changes << 1 | (ident in changed)) & (1 << MAX_RELEASES) - 1
                age = min(before.age + 1, MAX_AGE)
            records[ident] = ComponentRecord(
                component.fingerprint[:FINGERPRINT_BYTES],
                component.version,
                changes,
                age,
                joined_marks(component),
                len(component.members),
                -(-component.size // SIZE_STEP) * SIZE_STEP if ident.part else 0,
                _further_names(component) if ident.part else (),
            )
        dates = previous.dates if previous is not None else ()
        if not same:
            dates = (*dates, date)[-MAX_RELEASES:]
        return Ledger(records, dates, layers, tar_format, compressor)


def _further_names(unit: Component) -> tuple[str, ...]:
    """Return the names of the largest parts of a unit but that in its id."""
    ranked = sorted(unit.parts, key=lambda part: (-part.size, part.name))
    return tuple(part.name for part in ranked if part.name != unit.id.part)[:FURTHER_NAMES]


def _differs(before: ComponentRecord | None, component: Component, comparable: bool) -> bool:
    """Return True if a component is new or changed; if fingerprints are not `comparable`, versions decide."""
    if before is None:
        return True
    if comparable or not (before.version and component.version):
        return not _matches(before, component)
    return before.version != component.version


def _matches(record: ComponentRecord, component: Component) -> bool:
    """Return True if a fingerprint begins with the recorded bytes, which are fewer if space is short."""
    return component.fingerprint[: len(record.fingerprint)] == record.fingerprint


def diff_id_prefix(diff_id: str) -> bytes:
    """Return the PREFIX_BYTES of a diff_id by which a Ledger knows a layer."""
    return bytes.fromhex(diff_id.removeprefix("sha256:"))[:PREFIX_BYTES]


def quantized(rate: float) -> float:
    """Return `rate` as the Ledger can write it: the nearest n/255 within 0..1."""
    return round(min(max(rate, 0.0), 1.0) * RATE_STEPS) / RATE_STEPS


def encode(ledger: Ledger, budget: int = BUDGET) -> str:
    """Return the Ledger as one line of ASCII, equal for equal Ledgers on any machine.

    If it would be longer than `budget` bytes, versions are left out first, then a third of each fingerprint,
    then step by step the marks of parts and the oldest releases. The rest may still exceed it, if names of
    components and parts are very long.
    """
    count = len(ledger.dates)
    marks = sum(len(record.parts) for record in ledger.components.values())
    text = _encode(ledger, count, FINGERPRINT_BYTES, versions=True, marks=marks)
    if len(text) > budget:
        text = _encode(ledger, count, FINGERPRINT_BYTES, versions=False, marks=marks)
    releases = count
    while len(text) > budget:
        text = _encode(ledger, releases, SHORT_FINGERPRINT_BYTES, versions=False, marks=marks)
        if releases <= 1 and not marks:
            break
        releases, marks = max(releases * 3 // 4, 1), marks * 3 // 4
    return text


def decode(text: str) -> Ledger:
    """Return the Ledger that encode() wrote. Hostile input is safe: memory and time are bounded.

    Raises:
        LedgerError: the text is missing, truncated, of another format or nonsense; see its `reason`.
    """
    try:
        number, raw, columns = unseal(COLUMNS, text)
        if len(columns) != COLUMNS[number]:
            raise ValueError("not the columns of a Ledger")
        return _decode(Reader(raw), [Reader(column) for column in columns])
    except BrokenTextError as error:
        raise LedgerError(*error.args) from error
    except ValueError as error:
        raise LedgerError("nonsense", str(error)) from error


def _encode(ledger: Ledger, releases: int, width: int, *, versions: bool, marks: int) -> str:
    idents = sorted(ledger.components)
    records = [ledger.components[ident] for ident in idents]
    marked = _kept_marks(ledger.components, marks)
    width = min([width, *(len(record.fingerprint) for record in records)])
    raw = b"".join(record.fingerprint[:width] for record in records)
    raw += b"".join(layer.prefix for layer in ledger.layers)
    head, owners, changes, names, texts, divided = (Writer() for _ in range(6))
    compressor = ledger.compressor
    head.numbers((len(idents), width, len(ledger.layers), ledger.tar_format))
    head.numbers((compressor is not None, versions))
    if compressor is not None:
        head.text(compressor.name)
        head.text(compressor.version)
        head.number(compressor.level)
    dates = ledger.dates[len(ledger.dates) - releases :]
    head.number(len(dates))
    head.numbers(_zigzag(date - before) for date, before in zip(dates, (0, *dates), strict=False))
    head.numbers(round(layer.rate * RATE_STEPS) for layer in ledger.layers)
    owners.numbers(ledger.layer_of(ident) or 0 for ident in idents)
    owners.numbers(record.age for record in records)
    for record in records:
        changes.numbers(back for back in range(len(dates)) if record.changes >> back & 1)
        changes.number(END)
    last = ComponentId("", "")
    for ident, record in zip(idents, records, strict=True):
        names.text("" if ident.source == last.source else ident.source)
        names.text("" if ident.whole == last else ident.name)
        last = ident.whole
        parts = record.parts if ident in marked else b""
        number = record.count if ident.source == FOLDED else len(parts) // width_of(ident)
        divided.number(number << 1 | bool(ident.part))
        if ident.part:
            divided.text(ident.part)
            divided.number(record.size // SIZE_STEP)
            names_of = record.names if versions else ()
            divided.number(len(names_of))
            for name in names_of:
                divided.text(name)
        raw += parts
    if versions:
        for record in records:
            texts.text(record.version)
    return seal(FORMAT, raw, [bytes(out.data) for out in (head, owners, changes, names, texts, divided)])


def _kept_marks(records: Mapping[ComponentId, ComponentRecord], room: int) -> set[ComponentId]:
    """Return the units whose marks are recorded, of at most `room` bytes.

    Units of some parts come first: without its marks, all parts of such a unit would count as new. A whole
    component without marks can only not be divided by the next update; those that change most follow.
    """
    ranked = sorted(
        (ident for ident, record in records.items() if record.parts),
        key=lambda ident: (
            not ident.part,
            -(records[ident].changes.bit_count() / records[ident].age),
            ident,
        ),
    )
    sums = accumulate(len(records[ident].parts) for ident in ranked)
    return {ident for ident, total in zip(ranked, sums, strict=True) if total <= room}


def _decode(raw: Reader, columns: Sequence[Reader]) -> Ledger:
    head, owning, changing, naming, texting, *dividing = columns
    count = head.number(MAX_COMPONENTS)
    width = head.number(FINGERPRINT_BYTES)
    layer_count = head.number(MAX_LAYERS)
    tar_format = head.number(1 << 31)
    compressed, versions = head.number(1), head.number(1)
    compressor = None
    if compressed:
        name, version = head.text(64), head.text(64)
        compressor = Compressor(name, version, head.number(1 << 16))
    dates: list[int] = []
    for _ in range(head.number(MAX_RELEASES)):
        dates.append(_unzigzag(head.number(MAX_DATE)) + (dates[-1] if dates else 0))
    rates = [head.number(RATE_STEPS) / RATE_STEPS for _ in range(layer_count)]
    fingerprints = [raw.bytes(width) for _ in range(count)]
    prefixes = [raw.bytes(PREFIX_BYTES) for _ in range(layer_count)]
    owners = [owning.number(max(layer_count - 1, 0)) for _ in range(count)]
    ages = [owning.number(MAX_AGE) for _ in range(count)]
    changes = [_changes(changing, len(dates)) for _ in range(count)]
    idents: list[ComponentId] = []
    marks: list[bytes] = []
    counts: list[int] = []
    sizes: list[int] = []
    others: list[tuple[str, ...]] = []
    source = name = ""
    for _ in range(count):
        source = naming.text(MAX_NAME_BYTES) or source
        name = naming.text(MAX_NAME_BYTES) or name
        number = dividing[0].number(MAX_MEMBERS << 1) if dividing else 0
        part = dividing[0].text(MAX_NAME_BYTES) if number & 1 else ""
        sizes.append(dividing[0].number(MAX_SIZE) * SIZE_STEP if part else 0)
        further = dividing[0].number(FURTHER_NAMES) if part else 0
        others.append(tuple(dividing[0].text(MAX_NAME_BYTES) for _ in range(further)))
        idents.append(ComponentId(source, name, part))
        counts.append(number >> 1 if source == FOLDED else 0)
        marks.append(raw.bytes((number >> 1) * width_of(idents[-1]) if source != FOLDED else 0))
        if not (source and name) or (len(idents) > 1 and idents[-2] >= idents[-1]):
            raise ValueError("component ids are empty or out of order")
    texts = [texting.text(MAX_NAME_BYTES) if versions else "" for _ in range(count)]
    for reader in (raw, *columns):
        reader.end()
    members: list[list[ComponentId]] = [[] for _ in range(layer_count)]
    for ident, owner in zip(idents, owners, strict=True):
        members[owner].append(ident)
    if not all(members) or width == 0 or not count:
        raise ValueError("a layer without components, or nothing at all")
    layers = tuple(
        PlannedLayer(tuple(inside), rate, prefix)
        for prefix, inside, rate in zip(prefixes, members, rates, strict=True)
    )
    records = {
        ident: ComponentRecord(fingerprint, text, change, max(age, 1), parts, number, size, names)
        for ident, fingerprint, text, change, age, parts, number, size, names in zip(
            idents, fingerprints, texts, changes, ages, marks, counts, sizes, others, strict=True
        )
    }
    return Ledger(records, tuple(dates), layers, tar_format, compressor)


def _changes(reader: Reader, releases: int) -> int:
    """Read the bits of one component: rising numbers below `releases`, closed by END."""
    bits, last = 0, -1
    while (back := reader.number(END)) != END:
        if not last < back < releases:
            raise ValueError("a change in no release, or out of order")
        bits |= 1 << back
        last = back
    return bits


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else -value << 1 | 1


def _unzigzag(value: int) -> int:
    return -(value >> 1) if value & 1 else value >> 1
