"""What an image consists of. Pure: documents in, facts out.

Besides our own record it reads what others leave in an image: chunkah's history comments and layer
annotations (its src/ocibuilder.rs: `org.chunkah.component`, names joined by spaces), those of rpm-ostree
(ostree-ext's container module: `ostree.components`, joined by commas).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rechunk_podman.build import image_ledger as records
from rechunk_podman.errors import UsageError
from rechunk_podman.oci.config import CREATED_BY
from rechunk_podman.oci.documents import LAYER_COMPRESSION, ImageRecord, LayerRecord
from rechunk_podman.oci.read.decompress import PLAIN
from rechunk_podman.oci.spec import ANNOTATION_COMPONENT, DiffId, Digest
from rechunk_podman.oci.text import format_time
from rechunk_podman.planning import ledger as ledgers
from rechunk_podman.planning.ledger import Ledger, LedgerError

ANNOTATIONS = ((ANNOTATION_COMPONENT, ","), ("org.chunkah.component", " "), ("ostree.components", ","))
"""Layer annotations that name components, and what separates the names."""

CHUNKAH = "chunkah"

LEDGER, ANNOTATION, COMMENT, CREATED = "ledger", "annotation", "comment", "created_by"
"""Where a layer's components are known from; `created_by`: they are not."""

_REST = re.compile(r"\+(\d{1,9})\Z")
_MARK = re.compile(r"\[[0-9a-f]{8}\]\Z")


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """One layer, as its image describes it.

    number: from 1, the bottom. digest, size, media_type: of the blob as the manifest has it (size in bytes),
    None where there is no manifest. described_by: see above. components: names; `more` of them are not told.
    rate: expected share of updates in which it changes, as recorded; None where nobody said.
    """

    number: int
    diff_id: DiffId
    digest: Digest | None
    size: int | None
    media_type: str | None
    created_by: str
    described_by: str
    components: tuple[str, ...] = ()
    more: int = 0
    rate: float | None = None

    @property
    def compressed(self) -> bool | None:
        """Whether `size` is that of compressed data; None where nobody knows."""
        form = None if self.media_type is None else LAYER_COMPRESSION.get(self.media_type)
        return None if form is None else form != PLAIN

    @property
    def expected(self) -> float | None:
        """Bytes that an update downloads for it on average."""
        return None if self.rate is None or self.size is None else self.rate * self.size

    @property
    def told(self) -> bool:
        """Whether all its components are known by name."""
        return self.described_by != CREATED and self.more == 0


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """A release on record. date: epoch seconds. changed: components that changed; new: those that came."""

    date: int
    changed: int
    new: int


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image. ledger: where it has one that describes its layers, else `problem` says why not.

    derived: layers of others lie above those that the Ledger describes. ledger_bytes: of its text.
    """

    record: ImageRecord
    layers: tuple[LayerFacts, ...]
    ledger: Ledger | None
    derived: bool
    ledger_bytes: int
    problem: LedgerError | None

    @property
    def name(self) -> str:
        """What the user called it."""
        return self.record.name

    @property
    def size(self) -> int | None:
        """Bytes of all layers as the manifest has them; None where some are unknown."""
        sizes = [layer.size for layer in self.layers]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def expected(self) -> float | None:
        """Bytes that an update downloads on average, of the layers with a rate; None where none has one."""
        known = [layer.expected for layer in self.layers if layer.expected is not None]
        return sum(known) if known else None

    @property
    def releases(self) -> tuple[ReleaseFacts, ...]:
        """The releases on record, oldest first."""
        if self.ledger is None:
            return ()
        found = []
        for back, date in enumerate(reversed(self.ledger.dates)):
            hit = [entry.age for entry in self.ledger.components.values() if entry.changes >> back & 1]
            new = sum(age == back + 1 for age in hit)
            found.append(ReleaseFacts(date, len(hit) - new, new))
        return tuple(reversed(found))

    def to_json(self) -> dict[str, Any]:
        """The fields of `inspect --json`, explained in docs/inspect.md."""
        config = self.record.config
        versions = (
            {} if self.ledger is None else {str(i): e.version for i, e in self.ledger.components.items()}
        )
        return {
            "name": self.name,
            "digest": self.record.digest,
            "os": config.os,
            "architecture": config.architecture,
            "created": None if config.created is None else format_time(config.created),
            "size": self.size,
            "expected_bytes_per_update": self.expected,
            "layers": [
                {
                    "number": layer.number,
                    "diff_id": layer.diff_id,
                    "digest": layer.digest,
                    "size": layer.size,
                    "media_type": layer.media_type,
                    "compressed": layer.compressed,
                    "created_by": layer.created_by,
                    "described_by": layer.described_by,
                    "components": [{"id": n, "version": versions.get(n, "")} for n in layer.components],
                    "more": layer.more,
                    "rate": layer.rate,
                    "expected_bytes": layer.expected,
                }
                for layer in self.layers
            ],
            "ledger": None if self.ledger is None else self._ledger_json(self.ledger),
            "ledger_problem": None
            if self.problem is None
            else {"reason": self.problem.reason, "message": self.problem.message},
        }

    def _ledger_json(self, ledger: Ledger) -> dict[str, Any]:
        compressor = ledger.compressor
        return {
            "format": ledgers.FORMAT,
            "bytes": self.ledger_bytes,
            "components": len(ledger.components),
            "layers": len(ledger.layers),
            "derived": self.derived,
            "tar_format": ledger.tar_format,
            "compressor": None
            if compressor is None
            else {"name": compressor.name, "version": compressor.version, "level": compressor.level},
            "releases": [
                {"date": date_text(r.date), "epoch": r.date, "changed": r.changed, "new": r.new}
                for r in self.releases
            ],
        }


def describe(record: ImageRecord) -> ImageFacts:
    """The facts of an image; whatever its documents hold, they are only shown."""
    ledger, derived, problem = None, False, None
    try:
        found = records.find_ledger(record.config)
        ledger, derived = found.ledger, found.derived
    except LedgerError as error:
        problem = error
    texts = [e.comment for e in record.config.history if e.created_by == records.LEDGER_CREATED_BY]
    layers = []
    for place, layer in enumerate(record.layers):
        if ledger is not None and place < len(ledger.layers):
            recorded = ledger.layers[place]
            names = tuple(str(ident) for ident in recorded.components)
            # A first plan has no rates; that is not the same as layers that never change.
            rate = recorded.rate if any(entry.rate for entry in ledger.layers) else None
            layers.append(_layer(place, layer, LEDGER, names, 0, rate))
        else:
            layers.append(_layer(place, layer, *_named(layer)))
    size = len(texts[-1]) if texts else 0
    return ImageFacts(record, tuple(layers), ledger, derived, size, problem)


def _layer(
    place: int,
    layer: LayerRecord,
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
        more,
        rate,
    )


def _named(layer: LayerRecord) -> tuple[str, tuple[str, ...], int]:
    """(where from, component names, how many more) of a layer that no Ledger describes."""
    comment: tuple[tuple[str, ...], int] = ((), 0)
    if layer.history is not None and layer.history.created_by in (CREATED_BY, CHUNKAH):
        comment = parse_comment(layer.history.comment, ours=layer.history.created_by == CREATED_BY)
    annotations = {} if layer.descriptor is None else layer.descriptor.annotations
    for key, separator in ANNOTATIONS:
        names = tuple(name for name in annotations.get(key, "").split(separator) if name)
        if names:
            # Our own annotation is limited in length, and the comment counts what it leaves out.
            return ANNOTATION, names, max(len(comment[0]) + comment[1] - len(names), 0)
    if comment[0]:
        return COMMENT, *comment
    return CREATED, (), 0


def parse_comment(text: str, *, ours: bool) -> tuple[tuple[str, ...], int]:
    """(component names, how many more) of a layer's history comment.

    Args:
        ours: it is `name name +more [diff_id]` (oci/config.py, layer_comment()); else names alone.
    """
    words, more = text.split(), 0
    if ours and words and _MARK.match(words[-1]):
        words.pop()
        rest = _REST.match(words[-1]) if words else None
        if rest is not None:
            more = int(rest[1])
            words.pop()
    return tuple(words), more


def date_text(seconds: int) -> str | None:
    """A recorded date as RFC 3339; None where a Ledger made by hand holds one that no calendar has."""
    try:
        return format_time(seconds)
    except UsageError:
        return None
