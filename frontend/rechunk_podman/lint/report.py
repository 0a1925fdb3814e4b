"""Lint by reference: open one image or two, run the checks, return the findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rechunk_podman.explain.inspect import describe
from rechunk_podman.images import open_layers, open_root
from rechunk_podman.lint import run
from rechunk_podman.lint.checks import Check, Result, Severity
from rechunk_podman.lint.layers import LayerChange, compare
from rechunk_podman.lint.subject import of_directory, of_image
from rechunk_podman.registry.access import DEFAULT, Registry
from rechunk_podman.rootfs.root import Root


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of one run.

    subject: the head of the JSON document: names and properties of the image or the two images.
    results: the findings, the worst first.
    changes: the layers of the new image; empty if only one image was read.
    """

    subject: Mapping[str, Any]
    results: Sequence[Result]
    changes: tuple[LayerChange, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Name of each severity, in ascending order -> number of its findings."""
        found = Counter(result.severity for result in self.results)
        return {str(severity): found[severity] for severity in Severity}

    def has(self, severity: Severity) -> bool:
        """Return True if a finding is of this severity or worse."""
        return any(result.severity >= severity for result in self.results)

    def document(self) -> dict[str, Any]:
        """Return the JSON document that docs/lint.md explains."""
        findings = [result.to_json() for result in self.results]
        return {**self.subject, "counts": self.counts, "findings": findings}


def lint(
    reference: str,
    checks: Sequence[Check] = run.CHECKS,
    registry: Registry = DEFAULT,
    *,
    bootable: bool | None = None,
    zstd_chunked: bool = False,
) -> Report:
    """Run the checks of one image on an image or a directory.

    Args:
        bootable: the image is one of bootc or ostree; None: detect it, see subject.is_bootable().
        zstd_chunked: the image will be pushed as zstd:chunked.
        registry: as `images.open_root()` takes it.

    Raises:
        RechunkError: as `images.open_root()`. RootfsError, ImageError: a file or layer cannot be read.
    """
    with open_root(reference, registry) as opened:
        if isinstance(opened.files, Root):
            subject = of_directory(
                opened.files,
                name=reference,
                record=opened.record,
                bootable=bootable,
                zstd_chunked=zstd_chunked,
            )
        else:
            subject = of_image(opened.files, name=reference, bootable=bootable, zstd_chunked=zstd_chunked)
        results = run.run(subject, checks)
    return Report({"image": reference, "bootable": subject.bootable}, results)


def lint_update(
    old: str, new: str, checks: Sequence[Check] = run.UPDATE_CHECKS, registry: Registry = DEFAULT
) -> Report:
    """Compare the layers of two images, and run the checks of an update.

    From a registry, only the layers that differ are fetched.

    Raises:
        RechunkError: as `images.open_layers()`. ImageError: a layer is damaged.
    """
    with open_layers(old, registry) as one, open_layers(new, registry) as two:
        ledger = describe(two.record).ledger
        changes = compare(one, two, remembered=ledger is not None and len(ledger.dates) > 1)
    head = {"old": old, "new": new, "layers": [layer.to_json() for layer in changes]}
    return Report(head, run.run_update(changes, checks), changes)


def check_document(check: Check) -> dict[str, str]:
    """Return the JSON object that describes a check."""
    return {
        "name": check.name,
        "severity": str(check.severity),
        "summary": check.summary,
        "why": check.why,
        "fix": check.fix,
    }
