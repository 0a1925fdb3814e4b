"""Documents of images without any files: what the tests of records, facts and updates need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rechunk_podman.build import image_ledger as record
from rechunk_podman.model import Component, ComponentId, Plan, PlannedLayer
from rechunk_podman.oci.config import HistoryEntry, ImageConfig, image_config_json
from rechunk_podman.oci.documents import ImageRecord, image_record
from rechunk_podman.oci.spec import MEDIA_LAYER, MEDIA_LAYER_GZIP, Descriptor, DiffId, Digest, Layer
from rechunk_podman.planning.ledger import Ledger

NOW = 1_700_000_000


def sha(text: str) -> str:
    """A digest that stands for some content."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def component(ident: str, content: str = "", version: str = "") -> Component:
    """A component; `content` (else its version) decides its fingerprint."""
    fingerprint = hashlib.sha256((content or version).encode()).digest()[:8]
    return Component(ComponentId.parse(ident), 1000, fingerprint, version=version)


@dataclass(frozen=True)
class Content:
    """A layer: what is in it, its blob's compression and size, its rate, annotations, history."""

    components: tuple[Component, ...] = ()
    size: int = 100
    blob: str = "plain"
    rate: float = 0.0
    extra: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    history: HistoryEntry | None = None

    @property
    def diff_id(self) -> str:
        names = sorted(f"{c.id}={c.fingerprint.hex()}" for c in self.components)
        return sha("\n".join([*names, self.extra]))

    @property
    def layer(self) -> Layer:
        plain = self.blob == "plain"
        digest = self.diff_id if plain else sha(self.diff_id + self.blob)
        media_type = MEDIA_LAYER if plain else MEDIA_LAYER_GZIP
        descriptor = Descriptor(media_type, Digest(digest), self.size, self.annotations)
        return Layer(DiffId(self.diff_id), descriptor, self.size)


def layer(*components: Component, **fields: Any) -> Content:
    """A layer of these components."""
    return Content(tuple(components), **fields)


def ledger_of(contents: Iterable[Content], previous: Ledger | None = None, date: int = NOW) -> Ledger:
    """The Ledger that an image of these layers has."""
    contents = list(contents)
    components = [component for content in contents for component in content.components]
    planned = Plan(
        tuple(
            PlannedLayer(tuple(c.id for c in content.components), rate=content.rate) for content in contents
        )
    )
    return Ledger.advance(previous, components, planned, [content.diff_id for content in contents], date=date)


def image(
    *contents: Content,
    ledger: Ledger | None = None,
    above: Iterable[Content] = (),
    name: str = "an-image",
    manifest: bool = True,
) -> ImageRecord:
    """The documents of an image; `ledger` is recorded in it, `above` are layers that others put on top."""
    by_id = {component.id: component for content in contents for component in content.components}
    planned = Plan(tuple(PlannedLayer(tuple(c.id for c in content.components)) for content in contents))
    history = record.layer_history(planned, by_id, [content.layer for content in contents])
    history = [content.history or entry for content, entry in zip(contents, history, strict=True)]
    config = ImageConfig(architecture="amd64", os="linux")
    if ledger is not None:
        config, history = record.with_ledger(config, history, ledger)
    history += [content.history or HistoryEntry(created_by="COPY . .") for content in above]
    layers = [content.layer for content in (*contents, *above)]
    blob = image_config_json(config, layers, history, NOW)
    document = {
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha("c"), "size": 1},
        "layers": [entry.descriptor.to_json() for entry in layers],
    }
    return image_record(name, json.dumps(document).encode() if manifest else None, blob)
