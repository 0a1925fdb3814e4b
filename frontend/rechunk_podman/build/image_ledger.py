"""The Ledger and the comments of layers in the documents of an image: writing and reading.

The Ledger is the comment of one empty history entry (config.md, "history"): containerd refuses to create
containers with labels over 4,096 bytes, and history survives FROM, push, pull and commit.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rechunk_podman.model import Component, ComponentId, Plan, PlannedLayer
from rechunk_podman.oci.config import CREATED_BY, HistoryEntry, ImageConfig, layer_comment
from rechunk_podman.oci.spec import (
    ANNOTATION_COMPONENT,
    ANNOTATION_STABILITY,
    CHUNKAH_COMPONENT,
    CHUNKAH_STABILITY,
    DiffId,
    Layer,
)
from rechunk_podman.planning import ledger as ledgers
from rechunk_podman.planning.folding import unfold
from rechunk_podman.planning.ledger import Ledger, LedgerError

log = logging.getLogger("rechunk_podman")

LEDGER_CREATED_BY = "rechunk-podman ledger"
"""created_by of the empty history entry whose comment is the Ledger."""

KEPT_CREATED_BY = "rechunk-podman kept"
"""created_by of the history entry of a layer that another tool made, and that stays as it is."""

LEDGER_LABEL = "org.rechunk.ledger"
"""Label: the Ledger's format number and the sha256 of its text."""

BUDGET = 40 * 1024
"""The largest total of the Ledger and the comments of layers in an image config, in bytes."""

ANNOTATION_LIMIT = 1024
"""The largest annotation that names a layer's components, in bytes."""

CHUNKAH_LIMIT = 16 * 1024
"""The largest annotation in chunkah's form, in bytes. chunkah has no limit; scripts find packages in it."""

CHUNKAH_TOTAL = 1 << 20
"""The largest total of these annotations. Registries and clients refuse manifests of more than 4 MiB
(distribution, registry/handlers/manifests.go; containers/image, internal/iolimits)."""

COMMENTS = 12 * 1024
"""The largest total of the comments of layers while each may have LEAST_COMMENT, in bytes."""

LEAST_COMMENT, MOST_COMMENT = 32, 96
"""Bounds of the largest comment of a layer, in bytes."""


@dataclass(frozen=True, slots=True)
class Found:
    """A Ledger that belongs to an image.

    derived: True if there are layers above those that the Ledger describes.
    """

    ledger: Ledger
    derived: bool


def layer_annotations(
    layer: PlannedLayer, by_id: Mapping[ComponentId, Component], layers: int = 1
) -> dict[str, str]:
    """Return a layer's annotations: its components, the largest first, and its stability (0..1).

    Args:
        layers: the number of layers of the image, which share CHUNKAH_TOTAL.

    Both are written twice, the second time in chunkah's form (its src/ocibuilder.rs): names separated by
    spaces, three decimals; there, parts have the name of their component.
    """
    held = unfold(by_id[ident] for ident in layer.components)
    largest = [one.id for one in sorted(held, key=lambda one: (-one.size, one.id))]
    names = [str(ident).encode("utf-8", "replace").decode() for ident in largest]
    wholes = dict.fromkeys(str(ident.whole).encode("utf-8", "replace").decode() for ident in largest)
    single_words = ["_".join(name.split()) for name in wholes]
    stability = f"{stability_of(layer):.3f}"
    return {
        ANNOTATION_COMPONENT: ",".join(_fitting(names, ANNOTATION_LIMIT)),
        ANNOTATION_STABILITY: stability,
        CHUNKAH_COMPONENT: " ".join(_fitting(single_words, min(CHUNKAH_LIMIT, CHUNKAH_TOTAL // layers))),
        CHUNKAH_STABILITY: stability,
    }


def stability_of(layer: PlannedLayer) -> float:
    """Return the expected share of updates in which the layer stays the same."""
    return 1 - layer.rate


def _fitting(names: Sequence[str], limit: int) -> Sequence[str]:
    """Return the longest prefix of the names that fits into `limit` bytes, with a separator for each name."""
    length = 0
    for count, name in enumerate(names):
        length += len(name.encode()) + 1
        if length > limit:
            return names[:count]
    return names


def layer_history(
    plan: Plan, by_id: Mapping[ComponentId, Component], layers: Sequence[Layer], kept: Collection[DiffId] = ()
) -> list[HistoryEntry]:
    """Return for each layer, in order, a history entry that names its largest components.

    Args:
        kept: diff_ids of the layers that another tool made.
    """
    limit = min(max(COMMENTS // max(len(layers), 1), LEAST_COMMENT), MOST_COMMENT)
    return [
        HistoryEntry(
            created_by=KEPT_CREATED_BY if layer.diff_id in kept else CREATED_BY,
            comment=layer_comment(
                [(one.id, one.size) for one in unfold(by_id[ident] for ident in planned.components)],
                layer.diff_id,
                limit=limit,
            ),
        )
        for planned, layer in zip(plan.layers, layers, strict=True)
    ]


def expected_layers(plan: Plan, known: Collection[DiffId]) -> list[DiffId | None]:
    """Return, for each planned layer, the known diff_id that it will have if nothing in it changed.

    A plan has only prefixes of diff_ids; `known` has the whole ones.
    """
    by_prefix = {_prefix(text): text for text in known}
    return [by_prefix.get(layer.prefix) if layer.prefix else None for layer in plan.layers]


def _prefix(diff_id: str) -> bytes:
    """Return the prefix that a Ledger records; b"" if the text is not a diff_id."""
    try:
        return ledgers.diff_id_prefix(diff_id)
    except ValueError:
        return b""


def without_ledger(config: ImageConfig) -> ImageConfig:
    """Return the config without a Ledger label, which describes other layers."""
    return config.with_labels([f"{LEDGER_LABEL}-"])


def with_ledger(
    config: ImageConfig, history: Sequence[HistoryEntry], ledger: Ledger
) -> tuple[ImageConfig, list[HistoryEntry]]:
    """Return config and history with the Ledger added; Ledger and comments have at most BUDGET bytes."""
    comments = sum(len(json.dumps(entry.comment)) for entry in history)
    text = ledgers.encode(ledger, budget=max(BUDGET - comments, 0))
    digest = hashlib.sha256(text.encode()).hexdigest()
    labelled = config.with_labels([f"{LEDGER_LABEL}={ledgers.FORMAT} sha256:{digest}"])
    return labelled, [*history, HistoryEntry(created_by=LEDGER_CREATED_BY, comment=text, empty_layer=True)]


def find_ledger(config: ImageConfig) -> Found:
    """Return the Ledger of an image, if it describes the image's layers or the lowest of them.

    Raises:
        LedgerError: the Ledger is missing, cannot be read, or describes other layers ("foreign").
    """
    entries = [
        (place, entry) for place, entry in enumerate(config.history) if entry.created_by == LEDGER_CREATED_BY
    ]
    if not entries:
        raise LedgerError("missing", "the image was not made by rechunk-podman, or its history was dropped")
    # A rechunked derived image has several Ledgers: the last one describes this image.
    ledger = ledgers.decode(entries[-1][1].comment)
    prefixes = [_prefix(text) for text in config.diff_ids]
    described = [layer.prefix for layer in ledger.layers]
    if not described or prefixes[: len(described)] != described:
        raise LedgerError("foreign", "it describes other layers than the image has")
    return Found(ledger, derived=len(prefixes) > len(described))


def remembered(config: ImageConfig, name: str) -> Found | None:
    """Return the result of find_ledger(); on an error log a warning and return None."""
    try:
        return find_ledger(config)
    except LedgerError as error:
        log.warning("%s: %s", name, error.message)
        if error.hint:
            log.warning("%s", error.hint)
        return None


def inherited(config: ImageConfig, name: str) -> Found | None:
    """Like remembered(), but do not warn if the image has no Ledger."""
    return remembered(config, name) if has_ledger(config) else None


def has_ledger(config: ImageConfig) -> bool:
    """Return True if an image has a Ledger, even an unusable one."""
    return any(entry.created_by == LEDGER_CREATED_BY for entry in config.history)


def memories(previous: Found | None, source: Found | None) -> tuple[Ledger | None, Ledger | None]:
    """Return the Ledgers (previous, base) for the plan, from those of the previous and the source image.

    The Ledger in a derived source image is that of its base. If there is no previous image and the source
    image was split before and not changed, the source's Ledger is used as the previous one.
    """
    own = None if previous is None else previous.ledger
    if source is None:
        return own, None
    if own is None and not source.derived:
        return source.ledger, None
    return own, source.ledger
