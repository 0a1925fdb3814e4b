"""Choose the format of the result's manifest: the image's own, unless another is requested or required."""

from __future__ import annotations

import logging
from dataclasses import replace

from rechunk_podman.build.options import BuildOptions
from rechunk_podman.errors import UsageError
from rechunk_podman.log import NOTE
from rechunk_podman.oci.config import ImageConfig, docker_only
from rechunk_podman.oci.documents import parse_manifest
from rechunk_podman.oci.spec import DOCKER_MANIFEST
from rechunk_podman.oci.write.compress import Compression
from rechunk_podman.oci.write.output import Format, Output, OutputKind, require_format
from rechunk_podman.programs.podman import Image
from rechunk_podman.split.request import SplitRequest

log = logging.getLogger(__name__)


def with_format(request: SplitRequest, image: Image, *, of_list: bool) -> BuildOptions:
    """Return the options of a request with the format set; log a warning for fields that it cannot hold.

    Args:
        of_list: the result becomes part of an index; the index and its images are in OCI's format.

    Raises:
        UsageError: the location of the result cannot hold the requested format.
    """
    options = request.options
    if image.manifest:
        manifest = parse_manifest(image.manifest, f"the manifest of {request.image}")
        is_docker = manifest.media_type == DOCKER_MANIFEST
    else:
        is_docker = request.rootfs is None  # the image of a docker archive
    own = Format.DOCKER if is_docker else Format.OCI
    if of_list:
        if options.format is Format.DOCKER:
            raise UsageError("an index holds images of OCI's format alone", hint="leave out --format docker")
        chosen = Format.OCI
    elif request.output is not None:
        output = Output.parse(request.output)
        require_format(output, options.format, options.tag)
        usual = Format.DOCKER if output.kind is OutputKind.DOCKER_ARCHIVE else Format.OCI
        chosen = options.format or usual
    else:
        chosen = options.format or own
    lost = docker_only(ImageConfig.parse(image.config)) if own is Format.DOCKER else ()
    if chosen is Format.OCI and lost and not request.plan_only:
        log.warning(
            "the result is of OCI's format, in which podman ignores %s of the image: local storage, --push "
            "and docker-archive: keep docker's format, as --format docker does",
            ", ".join(lost),
        )
    compression = options.compression
    if chosen is Format.DOCKER and compression.kind == "zstd":
        log.log(
            NOTE,
            "docker's format, as the image is of, knows no zstd: gzip compresses the layers (--format oci)",
        )
        compression = Compression.parse("gzip", None)
    return replace(options, format=chosen, compression=compression)
