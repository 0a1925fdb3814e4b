"""Options of split that give an image an identity of its own, and the label operations they come to."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from rechunk_podman.build import labels as identity
from rechunk_podman.errors import UsageError
from rechunk_podman.log import note
from rechunk_podman.oci.config import ImageConfig

if TYPE_CHECKING:
    from rechunk_podman.registry.access import Registry

log = logging.getLogger("rechunk_podman")

VersionOption = Annotated[
    str | None,
    typer.Option(
        "--version",
        metavar="TEMPLATE",
        help="Version of the image: <date> is the day as YYMMDD, <date:FORMAT> as strftime has it; "
        ".1, .2 … where the previous image bears the same.",
    ),
]
RevisionOption = Annotated[
    str | None, typer.Option(metavar="COMMIT", help="Commit that the image is built from.")
]
DescriptionOption = Annotated[str | None, typer.Option(metavar="TEXT", help="What the image is.")]
PrettyOption = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="What <pretty> stands for in --labels; <version> is understood."),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        metavar="LINES",
        help="Labels, a line each KEY=VALUE; <version>, <date>, <pretty>, <revision>, <description> are "
        "filled in.",
    ),
]
KeepLabelOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY", help="Keep this label of the base, though it describes the base."),
]
BootcOption = Annotated[
    bool,
    typer.Option(
        "--bootc",
        help="A bootable image: leaves out what /sysroot holds, sets containers.bootc=1, drops the labels of "
        "an ostree commit; 120 layers by default.",
    ),
]


@dataclass(frozen=True, slots=True)
class Identity:
    """What the user says the image is; None where nothing is said.

    keep: labels of the base that stay. before: the version of the image before, if nothing else of it counts.
    """

    version: str | None = None
    revision: str | None = None
    description: str | None = None
    pretty: str | None = None
    labels: str | None = None
    keep: tuple[str, ...] = ()
    before: str | None = None

    @property
    def given(self) -> bool:
        """Whether the image gets an identity of its own, and labels of its base that describe the base go."""
        said = (self.version, self.revision, self.description, self.pretty, self.labels)
        return any(value is not None for value in said)

    def counting_on(self, reference: str, registry: Registry) -> Identity:
        """The same, whose version counts on from that of an image of which nothing else is taken over.

        Raises:
            RechunkError: there is no such image, or its registry does not answer.
        """
        from rechunk_podman.registry.documents import image_documents

        if self.version is None:
            return self
        labels = image_documents(reference, registry).config.labels
        return replace(self, before=labels.get(identity.VERSION))

    def operations(self, source: bytes, previous: Mapping[str, str] | None, now: int) -> tuple[str, ...]:
        """Label operations, listed in the log as they are made.

        Args:
            source: the config of the image that is split.
            previous: the labels of the image before, None where there is none.
            now: epoch seconds.

        Raises:
            UsageError: the version or a line of the labels is none.
        """
        if not self.given:
            return ()
        before = self.before if previous is None else previous.get(identity.VERSION)
        version = None if self.version is None else identity.version(self.version, now, before)
        names = {
            "date": identity.version("<date>", now, None),
            "version": version,
            "revision": self.revision,
            "description": self.description,
        }
        names["pretty"] = None if self.pretty is None else _filled(self.pretty, names)
        own = {key: _filled(value, names) for key, value in identity.label_lines(self.labels or "").items()}
        for key, value in (
            (identity.VERSION, version),
            (identity.REVISION, self.revision),
            (identity.DESCRIPTION, self.description),
        ):
            if value is not None:
                own.setdefault(key, value)
        inherited = ImageConfig.parse(source, name="the config of the image").labels
        result = identity.labelling(inherited, own, keep=self.keep)
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
    """Epoch seconds of the build: SOURCE_DATE_EPOCH, else the clock."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(text) if text.isascii() and text.isdigit() else int(time.time())
