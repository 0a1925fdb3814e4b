"""The public interface for Python: build, split, inspect and diff. docs/python-api.md describes it.

Each function imports its modules when it is called, so that importing this module is cheap.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rechunk_podman.build.options import BuildOptions
    from rechunk_podman.explain.download import Update
    from rechunk_podman.explain.inspect import ImageFacts
    from rechunk_podman.oci.write.documents import WrittenImage
    from rechunk_podman.registry.access import Registry
    from rechunk_podman.split.request import SplitResult


def build(
    rootfs: str | os.PathLike[str],
    output: str,
    options: BuildOptions | None = None,
    *,
    config: str | None = None,
    previous: str | None = None,
    registry: Registry | None = None,
) -> WrittenImage:
    """Write the files of a root filesystem as an image in content-based layers, as `rechunk-podman build`.

    Args:
        rootfs: a directory.
        output: `[oci:|oci-archive:|docker-archive:]PATH[:NAME]`; the image appears there whole or not at all.
        options: the properties of the image; None for the defaults.
        config: the text of an image config (OCI), or the output of podman or docker inspect.
        previous: the reference of the previous image, whose plan is followed.
        registry: access to registries, for `previous`.

    Returns:
        The config, the manifest and its descriptor.

    Raises:
        UsageError: an argument is malformed.
        RechunkError: an input cannot be used, or the output cannot be written.
    """
    from rechunk_podman.build.job import Job
    from rechunk_podman.build.options import BuildOptions
    from rechunk_podman.build.run import run
    from rechunk_podman.registry.access import DEFAULT

    target, options = _output(output, options or BuildOptions())
    built = run(
        Job(
            os.fspath(rootfs),
            options,
            output=target,
            config=config,
            previous=previous,
            registry=registry or DEFAULT,
        )
    )
    assert built.image is not None  # noqa: S101 (only a plan has none)
    return built.image


def split(
    image: str,
    options: BuildOptions | None = None,
    *,
    output: str | None = None,
    push: Sequence[str] = (),
    previous: str | None = None,
    registry: Registry | None = None,
    workdir: str | os.PathLike[str] | None = None,
) -> SplitResult:
    """Split an image into content-based layers, as `rechunk-podman split`.

    Args:
        image: the name, digest reference or id of an image in local storage, with `push` also the name of an
            image list; or oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE, docker://NAME.
        options: the properties of the result; None for the defaults. `tag` is its name in storage.
        output: write the result there instead of into storage; as `build()` takes it.
        push: push the result to these `docker://REPO:TAG` instead; the first is uploaded.
        previous: the reference of the previous image; by default the image that the result replaces.
        registry: access to registries.
        workdir: a directory for temporary files; by default TMPDIR, else /var/tmp.

    Raises:
        NamespaceRequiredError: an ordinary user runs the process: run it under `podman unshare`.
        UsageError: an argument is malformed, or names nothing.
        ToolError: podman, buildah or skopeo is missing or failed. RechunkError: the work failed.
    """
    from rechunk_podman.build.options import BuildOptions
    from rechunk_podman.oci.reference import Target
    from rechunk_podman.oci.write.compress import Compression
    from rechunk_podman.registry.access import DEFAULT
    from rechunk_podman.split.request import SplitRequest
    from rechunk_podman.split.run import split as run

    options = options or BuildOptions(compression=Compression.parse("zstd" if push else "none"))
    target = None
    if output is not None:
        target, options = _output(output, options)
    return run(
        SplitRequest(
            image,
            options,
            output=target,
            push=tuple(Target.parse(text) for text in push),
            previous=previous,
            registry=registry or DEFAULT,
            workdir=None if workdir is None else str(Path(workdir).absolute()),
        )
    )


def _output(output: str, options: BuildOptions) -> tuple[str, BuildOptions]:
    """Return the output with an absolute path, and the options with the name behind the path."""
    from dataclasses import replace

    from rechunk_podman.oci.write.output import named_output, require_format

    location, tag = named_output(output, options.tag)
    require_format(location, options.format, tag)
    return str(location.absolute()), replace(options, tag=tag)


def inspect(reference: str, *, registry: Registry | None = None) -> ImageFacts:
    """Return the layers of an image, their components, and its ledger, as `rechunk-podman inspect`.

    Args:
        reference: a local image, docker://NAME, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE or a
            file with a saved config.
        registry: access to registries.

    Raises:
        UsageError: the reference is malformed. ImageError: the image is damaged.
        RechunkError: there is no such image, or it cannot be reached.
    """
    from rechunk_podman.explain.run import inspect as run
    from rechunk_podman.registry.access import DEFAULT

    return run(reference, registry or DEFAULT)


def diff(old: str, new: str, *, registry: Registry | None = None) -> Update:
    """Return the download of an update from `old` to `new`, with reasons, as `rechunk-podman diff`.

    Args:
        old, new: references as `inspect()` takes them.

    Raises:
        RechunkError: as `inspect()`.
    """
    from rechunk_podman.explain.run import diff as run
    from rechunk_podman.registry.access import DEFAULT

    return run(old, new, registry or DEFAULT)
