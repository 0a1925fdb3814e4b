"""The facts of one image: its layers, their components and its Ledger. Pure: documents in, facts out.

It reads our own record and the records of other tools: chunkah's history comments and layer
annotations (its src/ocibuilder.rs: `org.chunkah.component`, names joined by spaces), those of rpm-ostree
(ostree-ext's container module: `ostree.components`, joined by commas).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rechunk_podman.build import image_ledger as records
from rechunk_podman.explain.held import Held, Units
from rechunk_podman.model import PART_SIGN, ComponentId, PlannedLayer
from rechunk_podman.oci.config import CREATED_BY
from rechunk_podman.oci.documents import LAYER_COMPRESSION, ImageRecord, LayerRecord
from rechunk_podman.oci.read.decompress import PLAIN
from rechunk_podman.oci.spec import ANNOTATION_COMPONENT, CHUNKAH_COMPONENT, DiffId, Digest
from rechunk_podman.planning.ledger import FOLDED, Ledger, LedgerError

ANNOTATIONS = ((ANNOTATION_COMPONENT, ","), (CHUNKAH_COMPONENT, " "), ("ostree.components", ","))
"""Layer annotations that name components, each with the separator of the names."""

CHUNKAH = "chunkah"

LEDGER, ANNOTATION, COMMENT, CREATED = "ledger", "annotation", "comment", "created_by"
"""The record that names a layer's components; `created_by`: no record does."""

_REST = re.compile(r"\+(\d{1,9})\Z")
_BESIDE = re.compile("·(?=/)")
_MARK = re.compile(r"\[[0-9a-f]{8}\]\Z")


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """One layer, as its image describes it.

    number: from 1, the bottom.
    digest, size, media_type: of the blob, from the manifest (size in bytes); None without a manifest.
    described_by: LEDGER, ANNOTATION, COMMENT or CREATED.
    components: the names of units that are known. more: the number of further components.
    held: what these units are of which components.
    compression: as in LayerRecord.
    rate: the recorded share (0..1) of updates in which the layer changes; None if it is not recorded.
    """

    number: int
    diff_id: DiffId
    digest: Digest | None
    size: int | None
    media_type: str | None
    created_by: str
    described_by: str
    components: tuple[str, ...] = ()
    held: tuple[Held, ...] = ()
    more: int = 0
    rate: float | None = None
    compression: str | None = None

    @property
    def compressed(self) -> bool | None:
        """True if `size` counts compressed data; None if neither the blob nor the media type tells."""
        form = self.compression or LAYER_COMPRESSION.get(self.media_type or "")
        return None if form is None else form != PLAIN

    @property
    def expected(self) -> float | None:
        """The mean number of bytes that an update downloads for this layer."""
        return None if self.rate is None or self.size is None else self.rate * self.size

    @property
    def complete(self) -> bool:
        """True if all components are known by name."""
        return self.described_by != CREATED and self.more == 0


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """A recorded release. date: epoch seconds. changed, new: numbers of components; a fold counts as one."""

    date: int
    changed: int
    new: int


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image.

    ledger: the Ledger that describes its layers; None if it has none, and `problem` is the reason.
    derived: further layers lie above those that the Ledger describes.
    ledger_bytes: the length of the Ledger's text.
    units: the units on record.
    """

    record: ImageRecord
    layers: tuple[LayerFacts, ...] = field(repr=False)
    ledger: Ledger | None = field(repr=False)
    derived: bool
    ledger_bytes: int
    problem: LedgerError | None
    units: Units = field(default_factory=Units, repr=False)

    @property
    def name(self) -> str:
        """The reference that the user gave."""
        return self.record.name

    @property
    def size(self) -> int | None:
        """Bytes of all layers, from the manifest; None if a size is unknown."""
        sizes = [layer.size for layer in self.layers]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def expected(self) -> float | None:
        """Mean bytes of an update, over the layers with a rate and a size; None if there are none."""
        known = [layer.expected for layer in self.layers if layer.expected is not None]
        return sum(known) if known else None

    @property
    def components(self) -> int:
        """The number of components that the Ledger records; 0 without one."""
        if self.ledger is None:
            return 0
        folded = sum(entry.count for entry in self.ledger.components.values())
        return folded + len({ident.whole for ident in self.ledger.components if ident.source != FOLDED})

    @property
    def complete_ledger(self) -> Ledger | None:
        """The Ledger if it names all components, i.e. if none is folded."""
        ledger = self.ledger
        is_folded = ledger is not None and any(ident.source == FOLDED for ident in ledger.components)
        return None if is_folded else ledger

    @property
    def releases(self) -> tuple[ReleaseFacts, ...]:
        """The recorded releases, oldest first."""
        if self.ledger is None:
            return ()
        components: dict[ComponentId, tuple[int, int]] = {}
        for ident, entry in self.ledger.components.items():
            changes, age = components.get(ident.whole, (0, 0))
            components[ident.whole] = (changes | entry.changes, max(age, entry.age))
        found = []
        for back, date in enumerate(reversed(self.ledger.dates)):
            hit = [age for changes, age in components.values() if changes >> back & 1]
            new = sum(age == back + 1 for age in hit)
            found.append(ReleaseFacts(date, len(hit) - new, new))
        return tuple(reversed(found))


def describe(record: ImageRecord) -> ImageFacts:
    """Return the facts of an image. Its documents are not trusted: a damaged Ledger becomes `problem`."""
    ledger, derived, problem = None, False, None
    try:
        found = records.find_ledger(record.config)
        ledger, derived = found.ledger, found.derived
    except LedgerError as error:
        problem = error
    texts = [e.comment for e in record.config.history if e.created_by == records.LEDGER_CREATED_BY]
    layers = []
    units = Units.of(ledger)
    # A first plan records no rates: its layers are not layers that never change.
    rated = ledger is not None and any(entry.rate for entry in ledger.layers)
    for place, layer in enumerate(record.layers):
        if ledger is not None and place < len(ledger.layers):
            recorded = ledger.layers[place]
            told = _recorded(layer, ledger, recorded)
            layers.append(_layer(place, layer, units, *told, recorded.rate if rated else None))
        else:
            layers.append(_layer(place, layer, units, *_named(layer)))
    size = len(texts[-1]) if texts else 0
    return ImageFacts(record, tuple(layers), ledger, derived, size, problem, units)


def _recorded(layer: LayerRecord, ledger: Ledger, recorded: PlannedLayer) -> tuple[str, tuple[str, ...], int]:
    """Return (source, component names, number of further ones) of a layer that the Ledger describes.

    The Ledger has no names of folded components; annotation or comment have some of them.
    """
    names = tuple(str(ident) for ident in recorded.components if ident.source != FOLDED)
    folded = sum(ledger.components[ident].count for ident in recorded.components if ident.source == FOLDED)
    if names or not folded:
        return LEDGER, names, folded
    described_by, names, _ = _named(layer)
    return described_by, names, max(folded - len(names), 0)


def _layer(
    place: int,
    layer: LayerRecord,
    units: Units,
    described_by: str,
    names: tuple[str, ...],
    more: int,
    rate: float | None = None,
) -> LayerFacts:
    blob = layer.descriptor
    return LayerFacts(
        place + 1,
        layer.diff_id,
        None if blob is None else blob.digest,
        None if blob is None else blob.size,
        None if blob is None else blob.media_type,
        "" if layer.history is None else layer.history.created_by,
        described_by,
        names,
        units.held(names),
        more,
        rate,
        layer.compression,
    )


def _named(layer: LayerRecord) -> tuple[str, tuple[str, ...], int]:
    """Return (source, component names, number of further ones) of a layer that no Ledger describes."""
    comment: tuple[tuple[str, ...], int] = ((), 0)
    if layer.history is not None and layer.history.created_by in (
        CREATED_BY,
        records.KEPT_CREATED_BY,
        CHUNKAH,
    ):
        comment = parse_comment(layer.history.comment, ours=layer.history.created_by != CHUNKAH)
    annotations = {} if layer.descriptor is None else layer.descriptor.annotations
    for key, separator in ANNOTATIONS:
        names = tuple(name for name in annotations.get(key, "").split(separator) if name)
        if names:
            # Our annotation has a maximal length; the comment has the number of names left out.
            return ANNOTATION, names, max(len(comment[0]) + comment[1] - len(names), 0)
    if comment[0]:
        return COMMENT, *comment
    return CREATED, (), 0


def parse_comment(text: str, *, ours: bool) -> tuple[tuple[str, ...], int]:
    """Return (component names, number of further ones) of a layer's history comment.

    Args:
        ours: the comment is `name name +more [diff_id]` (oci/config.py, layer_comment()); else only names.
    """
    words, more = text.split(), 0
    if ours and words and _MARK.match(words[-1]):
        words.pop()
        rest = _REST.match(words[-1]) if words else None
        if rest is not None:
            more = int(rest[1])
            words.pop()
        words = [_BESIDE.sub(PART_SIGN, word) for word in words]
    return tuple(words), more
