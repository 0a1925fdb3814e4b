"""BuildOptions: all choices of the user about an image, filled by `build` and `split` alike."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rechunk_podman.build import strict_json
from rechunk_podman.errors import UsageError
from rechunk_podman.oci.write.compress import Compression
from rechunk_podman.oci.write.output import Format
from rechunk_podman.packages.leftovers import LEFTOVERS
from rechunk_podman.planning.layout import LARGEST_LAYER
from rechunk_podman.units import parse_size

log = logging.getLogger(__name__)

PROFILES: Mapping[str, int] = MappingProxyType(
    {"docker": 120, "podman": 120, "bootc": 120, "podman-new": 400}
)
"""The largest number of layers for which derived images still stay below the client's limit.

dockerd refuses more than 125 layers, containers/storage before 1.44 (podman 5.8 and older) more than 128 in a
container, newer 500; bootc before 1.9 128.
"""

SELINUX = ("none", "keep", "policy")
"""The values of BuildOptions.selinux."""

DEFAULT_MAX_LAYERS = 64
WARN_ABOVE = 120
REFUSE_ABOVE = 500

LEAST_LAYER_SIZE = 3_000_000
"""The least bytes that the limit of a layer's size may be."""

NO_COMPRESSION = Compression()


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """All choices of the user about an image.

    max_layers: 1 to 500.
    max_layer_size: bytes of the largest layer, at least 3 MB; only a file that is larger has a larger layer.
    parts: lay parts of a component apart if only some of them changed in earlier updates.
    docker: the image is for dockerd, so zstd blobs are not reused.
    labels, annotations: operations, in order, see ImageConfig.with_labels().
    arch: architecture to record, in any spelling; None: that of the source image.
    created: epoch seconds; None: that of the source image.
    compression: of the layers that are written.
    format: of the manifest; None: that of the source image, else OCI's.
    prune: paths to leave out; PATH/ leaves out only the content of the directory.
    clean: checks of lint (packages/leftovers.py) whose findings are left out, too.
    strict: a package database that cannot be read is an error, not a warning.
    skip_special_files: leave out sockets, FIFOs and devices.
    map: paths of component maps (components/map_file.py): absolute, or relative to the directory of a job.
    groups: the same of groups files, or names of ready groups (components/group_file.py).
    keep_mtime: paths whose mtimes, and those of all files below them, are kept.
    selinux: the labels (security.selinux): "none", "keep" for those of the input, "policy" for those that the
        policy in it gives.
    root_mode: permission bits of `/`.
    max_size: the largest sum of file sizes, in bytes; a larger sum is an error. None: no limit.
    bootc: the image is bootable, see labels.bootable_labels(); the content of /sysroot is left out.
    fresh: plan without the Ledgers of earlier images.
    record: give the image a Ledger of its own.
    adopt: keep layers of the previous image that another tool made, as long as nothing in them changes.
    tag: the reference of the image in its layout or archive.
    threads: their number, 0 for one per core; the image does not depend on it.

    Raises:
        UsageError: a value is out of range, or of another type.
    """

    max_layers: int = DEFAULT_MAX_LAYERS
    max_layer_size: int = LARGEST_LAYER
    parts: bool = True
    docker: bool = False
    labels: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    arch: str | None = None
    created: int | None = None
    compression: Compression = NO_COMPRESSION
    format: Format | None = None
    prune: tuple[str, ...] = ()
    clean: tuple[str, ...] = ()
    strict: bool = False
    skip_special_files: bool = False
    map: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    keep_mtime: tuple[str, ...] = ()
    selinux: str = "none"
    root_mode: int = 0o755
    max_size: int | None = None
    bootc: bool = False
    fresh: bool = False
    record: bool = True
    adopt: bool = True
    tag: str | None = None
    threads: int = 0

    def __post_init__(self) -> None:
        strict_json.require_types(self)
        Compression.parse(self.compression.kind, self.compression.level)
        if self.format is Format.DOCKER and self.compression.kind == "zstd":
            raise UsageError("docker's format knows no zstd", hint="--compression gzip, or --format oci")
        if self.selinux not in SELINUX:
            raise UsageError(f"no such labels: {self.selinux}", hint=f"--selinux {'|'.join(SELINUX)}")
        for name in self.clean:
            if name not in LEFTOVERS:
                hint = f"--clean, or --clean=LIST of {', '.join(LEFTOVERS)}"
                raise UsageError(f"--clean does not know {name!r}", hint=hint)
        for name, low, high in (("max_layers", 1, REFUSE_ABOVE), ("root_mode", 0, 0o7777)):
            if not low <= getattr(self, name) <= high:
                raise UsageError(
                    f"{name} is out of range: {getattr(self, name)}", hint=f"from {low} to {high}"
                )
        if self.max_layer_size < LEAST_LAYER_SIZE:
            raise UsageError(f"max_layer_size is too small: {self.max_layer_size}", hint="at least 3 MB")
        if self.max_size is not None and self.max_size < 1:
            raise UsageError(f"max_size is out of range: {self.max_size}", hint="bytes, at least 1")


def parse_max_layer_size(text: str | None) -> int:
    """Return the limit of `--max-layer-size TEXT` in bytes, the default for None.

    Raises:
        UsageError: the text is not a size.
    """
    if text is None:
        return LARGEST_LAYER
    size = parse_size(text)
    if not size:
        raise UsageError(f"not a size: {text!r}", hint="for example --max-layer-size 500MB, or 2GiB")
    return size


def parse_limit(option: str, text: str | None) -> int | None:
    """Return the limit of `--OPTION TEXT` in bytes, None for no limit.

    Raises:
        UsageError: the text is not a size of at least one byte.
    """
    if text is None:
        return None
    size = parse_size(text)
    if not size:
        raise UsageError(f"not a size: {text!r}", hint=f"for example {option} 20GB, or 512MiB, or bytes")
    return size


def parse_clean(text: str | None) -> tuple[str, ...]:
    """Return the names of `--clean LIST`: none for None, all for "all"; BuildOptions checks them."""
    if text is None:
        return ()
    return tuple(LEFTOVERS) if text == "all" else tuple(dict.fromkeys(text.split(",")))


def parse_max_layers(text: str | None) -> int:
    """Return the number of layers of `--max-layers TEXT`, the default for None.

    Raises:
        UsageError: the text is neither a profile nor a number from 1 to 500.
    """
    if text is None:
        return DEFAULT_MAX_LAYERS
    if text in PROFILES:
        return PROFILES[text]
    known = ", ".join(f"{name} ({number})" for name, number in PROFILES.items())
    hint = f"give a number from 1 to {REFUSE_ABOVE}, or a profile: {known}"
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise UsageError(f"not a number of layers: {text!r}", hint=hint)
    number = int(text)
    if number > REFUSE_ABOVE:
        raise UsageError(f"{number} layers: no client takes an image of more than {REFUSE_ABOVE}", hint=hint)
    if number > WARN_ABOVE:
        log.warning(
            "%d layers: Docker takes 125 and podman before 5.9 takes 128, those of derived images included",
            number,
        )
    return number


def parse_root_mode(text: str | None) -> int:
    """Return the permission bits of `--root-mode TEXT`, 0755 for None.

    Raises:
        UsageError: the text is not an octal mode.
    """
    try:
        mode = 0o755 if text is None else int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise UsageError(f"not an octal mode: {text!r}", hint="for example --root-mode 0755")
    return mode
