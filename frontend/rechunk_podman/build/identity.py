"""The identity of an image (version, commit, description), and its label operations."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rechunk_podman.build import labels
from rechunk_podman.errors import UsageError
from rechunk_podman.log import note
from rechunk_podman.oci.config import ImageConfig

if TYPE_CHECKING:
    from rechunk_podman.registry.access import Registry

log = logging.getLogger("rechunk_podman")


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity that the user gives the image. Fields are None if the user does not set them.

    version: a template, see labels.version().
    revision: the commit that the image is built from.
    description: a text.
    pretty: the value of <pretty> in `lines`.
    lines: labels, one KEY=VALUE a line.
    keep: labels of the base image that are kept.
    before: the version of the previous image, if only its version is used.
    """

    version: str | None = None
    revision: str | None = None
    description: str | None = None
    pretty: str | None = None
    lines: str | None = None
    keep: tuple[str, ...] = ()
    before: str | None = None

    @property
    def given(self) -> bool:
        """Return True if the image gets its own identity, so that labels of its base are dropped."""
        said = (self.version, self.revision, self.description, self.pretty, self.lines)
        return any(value is not None for value in said)

    def counting_on(self, reference: str, registry: Registry) -> Identity:
        """Return a copy whose version counts on from that of an image.

        Raises:
            RechunkError: the image does not exist, or its registry does not answer.
        """
        from rechunk_podman.registry.documents import image_documents

        if self.version is None:
            return self
        found = image_documents(reference, registry).config.labels
        return replace(self, before=found.get(labels.VERSION))

    def operations(self, source: str, previous: Mapping[str, str] | None, now: int) -> tuple[str, ...]:
        """Return label operations; log which labels they drop and rewrite.

        Args:
            source: the config of the image that is split.
            previous: the labels of the previous image, or None.
            now: epoch seconds.

        Raises:
            UsageError: the version, or a line of the labels, is malformed.
        """
        if not self.given:
            return ()
        before = self.before if previous is None else previous.get(labels.VERSION)
        version = None if self.version is None else labels.version(self.version, now, before)
        names = {
            "date": labels.version("<date>", now, None),
            "version": version,
            "revision": self.revision,
            "description": self.description,
        }
        names["pretty"] = None if self.pretty is None else _filled(self.pretty, names)
        own = {key: _filled(value, names) for key, value in labels.label_lines(self.lines or "").items()}
        for key, value in (
            (labels.VERSION, version),
            (labels.REVISION, self.revision),
            (labels.DESCRIPTION, self.description),
        ):
            if value is not None:
                own.setdefault(key, value)
        inherited = ImageConfig.parse(source, name="the config of the image").labels
        result = labels.labelling(inherited, own, keep=self.keep)
        if version is not None:
            note(log, "version: %s", version)
        if result.dropped:
            names_of = ", ".join(result.dropped)
            note(log, "labels dropped, since they describe the base image: %s (--keep-label KEY)", names_of)
        if result.rewritten:
            note(log, "labels rewritten: %s", ", ".join(result.rewritten))
        for key in (*result.dropped, *result.rewritten):
            log.info("label: %s was %s", key, inherited[key])
        return result.operations


def _filled(text: str, names: Mapping[str, str | None]) -> str:
    for name, value in names.items():
        tag = f"<{name}>"
        if tag in text:
            if value is None:
                raise UsageError(
                    f"{tag} is used in a label, but --{name} is not given", hint=f"give --{name} as well"
                )
            text = text.replace(tag, value)
    return text


def today() -> int:
    """Return the epoch seconds of the build: SOURCE_DATE_EPOCH, else the current time."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(text) if text.isascii() and text.isdigit() else int(time.time())
