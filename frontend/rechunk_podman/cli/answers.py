"""The questions of `init`: as options, and asked on a terminal."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from rechunk_podman.cli.console import write_line
from rechunk_podman.errors import UsageError

if TYPE_CHECKING:
    from rechunk_podman.init.questions import Question


@dataclass(frozen=True, slots=True)
class Answers:
    """Options that answer questions beforehand: a group of options. Each has the name of its question."""

    image: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the image.")] = None
    kind: Annotated[
        str | None, typer.Option(metavar="bootc|app", help="A bootable system, or an application.")
    ] = None
    base: Annotated[str | None, typer.Option(metavar="IMAGE", help="The base image; pin it by digest.")] = (
        None
    )
    registry: Annotated[
        str | None,
        typer.Option(metavar="HOST/PATH", help="The destination of pushes, such as ghcr.io/example."),
    ] = None
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="The tag that clients follow.")] = None
    layers: Annotated[
        str | None, typer.Option(metavar="N|PROFILE", help="The number of layers, as --max-layers of split.")
    ] = None
    signing: Annotated[
        str | None, typer.Option(metavar="keyless|key|none", help="Signatures by cosign (github).")
    ] = None
    schedule: Annotated[
        str | None,
        typer.Option(metavar="daily|weekly|monthly|CRON", help="The times of builds (github)."),
    ] = None
    buildah: Annotated[
        str | None,
        typer.Option(metavar="any|1.44", help="The oldest buildah that must build it (containerfile)."),
    ] = None

    def given(self) -> dict[str, str | None]:
        """Return the name of each question and its answer, None for no answer."""
        return asdict(self)


def ask(question: Question, offered: str) -> str:
    """Ask on the terminal, with an answer that Return accepts, until the answer is a valid one."""
    while True:
        choice = f" ({', '.join(question.words)})" if question.words else ""
        answer = str(typer.prompt(question.text + choice, default=offered, err=True)).strip()
        try:
            return question.check(answer)
        except UsageError as error:
            write_line(f"{error.message}: {question.hint}", error=True)
