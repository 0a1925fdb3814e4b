"""Where the result of `split` goes besides local storage, and which image came before it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rechunk_podman.cli.console import print_json, write_line
from rechunk_podman.errors import RechunkError, UsageError
from rechunk_podman.files import require_writable, write_file

if TYPE_CHECKING:
    from rechunk_podman.build.previous import Previous
    from rechunk_podman.oci.reference import Target
    from rechunk_podman.programs.podman import Image, Podman
    from rechunk_podman.publish.publish import Published
    from rechunk_podman.registry.access import Registry
    from rechunk_podman.split.request import Progress, Request

log = logging.getLogger(__name__)

PushOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="docker://REPO:TAG", help="Push there instead; once or more, the first is uploaded."
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="docker-archive:FILE|oci-archive:FILE|oci:DIR",
        help="Write there instead of local storage.",
    ),
]
DigestfileOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the digest of what was pushed there.")
]
SignHintOption = Annotated[
    bool, typer.Option("--sign-by-digest-hint", help="Say how to sign what was pushed, by its digest.")
]


@dataclass(frozen=True, slots=True)
class Shipping:
    """What the options say. push, output: at most one of them is given."""

    registry: Registry
    push: tuple[Target, ...] = ()
    output: str | None = None
    digestfile: Path | None = None
    sign_hint: bool = False
    previous: str | None = None
    fresh: bool = False
    reuse: bool = True
    verify: bool | None = None
    state: str | None = None


def destination(push: list[str] | None, output: str | None, tag: str | None) -> tuple[Target, ...]:
    """The targets of --push.

    Raises:
        UsageError: one of them is none, or other destinations are named as well.
    """
    from rechunk_podman.oci.reference import Target

    targets = tuple(Target.parse(text) for text in push or ())
    if targets and (tag is not None or output is not None):
        raise UsageError(
            "--push leaves nothing in local storage: --tag and --output do not go with it",
            hint="run split twice, or name the tags as --push docker://REPO:TAG",
        )
    return targets


def require_places(**files: Path | str | None) -> None:
    """Looks, before the long work, where files are to be written at its end.

    Args:
        files: by the option that names each, without its dashes.

    Raises:
        UsageError: as require_writable(); or there is no TMPDIR.
    """
    temporary = os.environ.get("TMPDIR")
    if temporary and not Path(temporary).is_dir():
        raise UsageError(f"TMPDIR is no directory: {temporary}", hint="make it, or leave the variable out")
    for option, file in files.items():
        if file is not None:
            require_writable(file, f"--{option}")


def absolute_output(text: str, tag: str | None) -> str:
    """--output as the chunker, in a directory of its own, takes it.

    Raises:
        UsageError: it is none, or standard output, or names the image where --tag does.
    """
    from rechunk_podman.oci.write.output import Output

    output = Output.parse(text)
    if output.path is None:
        raise UsageError("split writes no image to standard output", hint="--output oci-archive:FILE")
    if tag is not None and output.tag is not None:
        raise UsageError(
            f"two names for the image: --tag {tag}, and {output.tag} in --output", hint="give one of them"
        )
    name = "" if output.tag is None else f":{output.tag}"
    return f"{output.kind.value}:{Path(output.path).absolute()}{name}"


def previous_of(shipping: Shipping, service: Podman, target: str) -> tuple[Previous | None, Image | None]:
    """The image before: the one that was named, else what the result will replace. And that one in storage.

    Raises:
        UsageError: the reference is malformed. RechunkError: the registry or a tool failed.
    """
    from rechunk_podman.build import image_ledger as record
    from rechunk_podman.build.previous import found, resolve
    from rechunk_podman.errors import MissingImageError
    from rechunk_podman.oci.reference import LocationKind
    from rechunk_podman.registry.answers import DeniedError
    from rechunk_podman.registry.documents import image_documents
    from rechunk_podman.registry.state import load

    here = None
    if not shipping.push and shipping.output is None and service.exists(target):
        here = service.resolve(target)
    if shipping.fresh:
        return None, here
    state = load(shipping.state)
    if shipping.previous is not None:
        return resolve(shipping.previous, shipping.registry, state), here
    if shipping.push:
        first = str(shipping.push[0])
        try:
            documents = image_documents(first, shipping.registry)
        except MissingImageError as error:
            log.info("no previous image: %s", error.message)
            return None, None
        except DeniedError as error:
            log.warning("no previous image: %s", "; ".join((error.message, *error.context[:1])))
            return None, None
        previous = found(first, documents, state)
    elif here is not None:
        from rechunk_podman.build.previous import Previous
        from rechunk_podman.oci.documents import image_record

        documents = image_record(target, here.manifest, here.config)
        previous = Previous(documents, target, LocationKind.STORAGE)
    else:
        return None, None
    return (previous if shipping.push or record.inherited(documents.config, target) else None), here


def publish(
    shipping: Shipping,
    request: Request,
    previous: Previous | None,
    progress: Progress,
    *,
    by_digest: bool = False,
) -> Published:
    """Splits and pushes; see engine/publish.py."""
    from rechunk_podman.publish import publish

    return publish.publish(
        publish.Publication(
            request=request,
            targets=shipping.push,
            registry=shipping.registry,
            previous=previous,
            reuse=shipping.reuse,
            verify=shipping.verify,
            state_file=shipping.state,
            by_digest=by_digest,
        ),
        progress,
    )


def after_push(targets: Sequence[Target], digest: str, digestfile: Path | None, *, sign_hint: bool) -> None:
    """Writes the digest to its file, and says on stderr how to sign it.

    Raises:
        RechunkError: the file cannot be written.
    """
    if digestfile is not None:
        write_file(digestfile, digest.encode())
    if sign_hint:
        for repository in dict.fromkeys(target.repository for target in targets):
            write_line(f"cosign sign {repository}@{digest}", error=True)


def push_document(shipping: Shipping, published: Published, source: str) -> dict[str, Any]:
    """What split --push did, for --json. Sizes: bytes as stored; layers bottom first."""
    layers = []
    for layer in published.record.layers:
        descriptor = layer.descriptor
        if descriptor is None:
            raise RechunkError("a layer was pushed without a descriptor")
        layers.append(
            {
                "diff_id": layer.diff_id,
                "digest": descriptor.digest,
                "size": descriptor.size,
                "reused": descriptor.digest in published.reused,
                "components": "" if layer.history is None else layer.history.comment,
            }
        )
    return {
        "digest": published.digest,
        "pushed": [str(target) for target in shipping.push],
        "source": source,
        "size": sum(layer["size"] for layer in layers),
        "new": sum(layer["size"] for layer in layers if not layer["reused"]),
        "layers": layers,
    }


def show_push(shipping: Shipping, published: Published, source: str, *, as_json: bool) -> None:
    """Prints what was pushed, and writes the digest file.

    Raises:
        RechunkError: that cannot be written.
    """
    if as_json:
        print_json(push_document(shipping, published, source))
    else:
        write_line(published.digest)
    after_push(shipping.push, published.digest, shipping.digestfile, sign_hint=shipping.sign_hint)
