"""The JSON documents of `inspect`, `diff`, `verify` and `validate`. docs/inspect.md explains their fields.

Names keep bytes that are not UTF-8 as surrogates.
"""

from __future__ import annotations

from typing import Any

from rechunk_podman.errors import UsageError
from rechunk_podman.explain.causes import causes, verdict
from rechunk_podman.explain.download import (
    CHANGED,
    KEPT,
    NEW,
    RECOMPRESSED,
    UNCHANGED,
    UNKNOWN,
    ComponentUpdate,
    LayerUpdate,
    Update,
)
from rechunk_podman.explain.files import Differences
from rechunk_podman.explain.held import Held
from rechunk_podman.explain.inspect import ImageFacts, LayerFacts
from rechunk_podman.oci.text import format_time
from rechunk_podman.oci.validate.image import Report
from rechunk_podman.planning.ledger import FORMAT, Ledger


def image_document(facts: ImageFacts) -> dict[str, Any]:
    """Return the document of `inspect`."""
    config, ledger, problem = facts.record.config, facts.ledger, facts.problem
    versions = facts.units.versions
    return {
        "name": facts.name,
        "digest": facts.record.digest,
        "os": config.os,
        "architecture": config.architecture,
        "created": None if config.created is None else format_time(config.created),
        "size": facts.size,
        "expected_bytes_per_update": facts.expected,
        "layers": [
            {
                **_blob(layer),
                "media_type": layer.media_type,
                "compressed": layer.compressed,
                "components": [
                    {"id": held.id, "version": versions.get(held.id, ""), **_parts(held)}
                    for held in layer.held
                ],
                "rate": layer.rate,
                "expected_bytes": layer.expected,
            }
            for layer in facts.layers
        ],
        "ledger": None if ledger is None else _ledger(facts, ledger),
        "ledger_problem": None if problem is None else {"reason": problem.reason, "message": problem.message},
    }


def _ledger(facts: ImageFacts, ledger: Ledger) -> dict[str, Any]:
    made_by = ledger.compressor
    return {
        "format": FORMAT,
        "bytes": facts.ledger_bytes,
        "components": facts.components,
        "layers": len(ledger.layers),
        "derived": facts.derived,
        "tar_format": ledger.tar_format,
        "compressor": None
        if made_by is None
        else {"name": made_by.name, "version": made_by.version, "level": made_by.level},
        "releases": [
            {"date": date_text(r.date), "epoch": r.date, "changed": r.changed, "new": r.new}
            for r in facts.releases
        ],
    }


def _blob(layer: LayerFacts) -> dict[str, Any]:
    return {
        "number": layer.number,
        "diff_id": layer.diff_id,
        "digest": layer.digest,
        "size": layer.size,
        "created_by": layer.created_by,
        "described_by": layer.described_by,
        "more": layer.more,
    }


def date_text(seconds: int) -> str | None:
    """Return a recorded date as RFC 3339, or None if it is out of range (a Ledger made by hand)."""
    try:
        return format_time(seconds)
    except UsageError:
        return None


def update_document(update: Update) -> dict[str, Any]:
    """Return the document of `diff`."""
    return {
        "old": _side(update.old),
        "new": _side(update.new),
        "download": download_document(update),
        "causes": [
            {"cause": cause.name, "bytes": cause.bytes, "layers": cause.layers, "at_least": cause.at_least}
            for cause in causes(update)
        ],
        "verdict": verdict(update),
        "recompressed": {"bytes": update.bytes(RECOMPRESSED), "layers": update.count(RECOMPRESSED)},
        "kept": {"bytes": update.bytes(KEPT), "layers": update.count(KEPT)},
        "first_changed": update.first_changed,
        "reextracted": update.reextracted,
        "layers": [_layer(entry) for entry in update.layers],
        "components": {
            "changed": [_component(component) for component in update.components(CHANGED)],
            "new": [_component(component) for component in update.components(NEW)],
            "removed": [_component(component) for component in update.removed],
            "unchanged": len(update.components(UNCHANGED)),
            "unknown": len(update.components(UNKNOWN)),
        },
        "notes": list(update.notes),
    }


def download_document(update: Update) -> dict[str, int]:
    """Return the total bytes and layers that a client fetches."""
    return {
        "bytes": update.downloaded,
        "layers": update.count(CHANGED, RECOMPRESSED),
        "unknown_sizes": update.unknown_sizes,
    }


def _side(facts: ImageFacts) -> dict[str, Any]:
    return {
        "name": facts.name,
        "digest": facts.record.digest,
        "size": facts.size,
        "layers": len(facts.layers),
        "ledger": facts.ledger is not None,
    }


def _layer(entry: LayerUpdate) -> dict[str, Any]:
    return {
        **_blob(entry.layer),
        "old_number": entry.old,
        "status": entry.status,
        "components": [
            {"status": component.status, **_component(component)} for component in entry.components
        ],
        "removed": list(entry.removed),
        "along_for_the_ride": {
            "components": len(entry.of(UNCHANGED)) if entry.downloaded else 0,
            "bytes": entry.ride_bytes,
            "complete": entry.ride_known,
            "came_from": list(entry.came_from),
        },
    }


def _component(component: ComponentUpdate) -> dict[str, Any]:
    return {
        "id": component.name,
        "old_version": component.old_version,
        "new_version": component.new_version,
        **_parts(component.held),
    }


def _parts(held: Held) -> dict[str, list[str]]:
    """Return the key `parts` if not all of a component is meant."""
    return {"parts": list(held.parts)} if held.parts else {}


def files_document(found: Differences) -> dict[str, Any]:
    """Return the document of `verify`."""
    return {
        "a": found.a,
        "b": found.b,
        "same": found.same,
        "paths": found.paths,
        "counts": dict(found.counts),
        "differences": [difference._asdict() for difference in found.entries],
        "root": [difference._asdict() for difference in found.root],
        "mtimes": {
            "count": found.mtimes,
            "examples": [difference._asdict() for difference in found.mtime_examples],
        },
    }


def validation_document(report: Report) -> dict[str, Any]:
    """Return the document of `validate`."""
    return {
        "name": report.name,
        "transport": report.transport,
        "sound": not report.errors,
        "images": [{"digest": image.digest, "layers": len(image.layers)} for image in report.images],
        "blobs": report.blobs,
        "size": report.size,
        "elsewhere": sorted(report.elsewhere),
        "errors": [problem._asdict() for problem in report.errors],
        "warnings": [problem._asdict() for problem in report.warnings],
    }
