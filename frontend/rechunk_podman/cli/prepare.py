"""What `split` asks an engine for, made of its options and of the image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rechunk_podman.cli.identify import Identity, today
from rechunk_podman.errors import UsageError

if TYPE_CHECKING:
    from rechunk_podman.build.previous import Previous
    from rechunk_podman.programs.podman import Image
    from rechunk_podman.registry.access import Registry
    from rechunk_podman.split.request import Request


def request_of(
    image: Image,
    target: str,
    before: Previous | None,
    held: Image | None,
    config: Path | None,
    flags: tuple[str, ...],
    workdir: str | None,
    identity: Identity,
) -> Request:
    """The Request for one image.

    Args:
        target: full name of the result. before: the image whose plan is followed. held: the one in storage
            whose layers need not be written. config: a file instead of the image's own config.

    Raises:
        UsageError: that file cannot be read. RechunkError: as Identity.operations().
    """
    from rechunk_podman.split.request import Request

    document = image.document() if config is None else _read(config)
    known = None if before is None else before.record.config.labels
    own = tuple(f"--label={operation}" for operation in identity.operations(document, known, today()))
    return Request(
        image=image,
        config=document,
        tag=target,
        # Labels that were given one by one come last and win.
        flags=(*own, *flags),
        workdir=workdir,
        previous=None if before is None else before.record.config_bytes,
        held=()
        if held is None or _compressed(flags)
        else tuple(json.loads(held.config)["rootfs"]["diff_ids"]),
    )


def for_platform(registry: Registry, image: Image) -> Registry:
    """To choose, where the image before is one of an index, that of the same platform."""
    config = json.loads(image.config)
    parts = (config.get("os") or "linux", config.get("architecture"), config.get("variant"))
    return replace(registry, platform="/".join(part for part in parts if part) if parts[1] else None)


def _compressed(flags: Sequence[str]) -> bool:
    return any(flag.startswith("--compression=") and flag != "--compression=none" for flag in flags)


def with_engine(arguments: list[str], engine: str) -> list[str]:
    """The command line with another engine; the option goes right behind the command's name."""
    kept = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == "--engine":
            skip = True
        elif not argument.startswith("--engine="):
            kept.append(argument)
    place = kept.index("split") + 1
    return [*kept[:place], f"--engine={engine}", *kept[place:]]


def _read(config: Path) -> bytes:
    try:
        return config.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read the config {config}",
            context=[str(error)],
            hint="--config FILE takes what `podman inspect IMG` prints, or an OCI image config",
        ) from error
