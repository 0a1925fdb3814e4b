"""The JSON document of a measured history; planning/history.py describes and reads it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rechunk_podman.history.release import Contents
from rechunk_podman.model import Component


@dataclass(frozen=True, slots=True)
class MeasuredRelease:
    """A release of a history.

    name: its tag or reference. digest: of its manifest, or "".
    date: epoch seconds.
    layers: (digest, bytes) of the blobs of the image itself; none if their digests are unknown.
    """

    name: str
    digest: str
    date: int
    contents: Contents
    layers: tuple[tuple[str, int], ...]


def history_document(series: str, releases: Sequence[MeasuredRelease]) -> dict[str, Any]:
    """Return the document of releases, which are in order of date."""
    components: dict[str, dict[str, Any]] = {}
    written: list[dict[str, Any]] = []
    before: dict[str, dict[str, Any]] = {}
    versions: dict[str, str] = {}
    for release in releases:
        now = {_text(c.id): _details(c, release.contents) for c in release.contents.components}
        held = {_text(c.id): _text(c.version) for c in release.contents.components}
        for name, details in now.items():
            components[name] = {"source": name, "size": details["size"], "size_from": "measured"}
        built = max((c.built for c in release.contents.components if c.built is not None), default=None)
        packages: Mapping[str, Any] = (
            {
                "set": {name: held[name] for name in held if versions.get(name) != held[name]},
                "del": [name for name in versions if name not in held],
            }
            if written
            else {"packages": held}
        )
        changed = {name: details for name, details in now.items() if before.get(name) != details}
        written.append(
            {
                "id": _text(release.name),
                "date": release.date,
                "digest": release.digest,
                **({} if built is None else {"built": built}),
                **packages,
                "details": changed,
                "layers": [list(layer) for layer in release.layers],
            }
        )
        before, versions = now, held
    return {"series": _text(series), "components": components, "encoding": "delta", "releases": written}


def _details(component: Component, contents: Contents) -> dict[str, Any]:
    found: dict[str, Any] = {
        "size": component.size,
        "packed": contents.packed[component.id],
        "fingerprint": component.fingerprint.hex(),
    }
    if component.changes:
        found["changes"] = list(component.changes)
    if component.interval is not None:
        found["interval"] = component.interval
    if component.parts:
        found["parts"] = {
            _text(part.name): (
                f"{part.kind:d} {part.size} {contents.parts[component.id._replace(part=part.name)]} "
                f"{part.fingerprint.hex()}"
            )
            for part in component.parts
        }
    return found


def _text(value: object) -> str:
    """Return a value as text that UTF-8 can hold; names of files may be none."""
    return str(value).encode("utf-8", "backslashreplace").decode()
