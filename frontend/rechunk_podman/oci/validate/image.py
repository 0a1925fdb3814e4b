"""Validation of an image: digests, sizes, diff_ids, schemas, the form of its tars.

Sources: image-spec v1.1 image-layout.md, image-index.md, manifest.md, config.md, layer.md, annotations.md
(ref names), descriptor.md. Further requirements of bootc and storage drivers are `strict`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rechunk_podman.errors import ImageError, RechunkError
from rechunk_podman.oci import spec
from rechunk_podman.oci.documents import (
    CONFIGS,
    INDEXES,
    MANIFESTS,
    DockerImage,
    ImageRecord,
    Manifest,
    image_record,
    is_artifact,
    layer_compression,
    parse_docker_manifest,
    parse_index,
    parse_manifest,
    parse_object,
    sha256_of,
)
from rechunk_podman.oci.read.choose import name_of
from rechunk_podman.oci.read.decompress import GzipReader
from rechunk_podman.oci.read.image import (
    MAX_DEPTH,
    HashingReader,
    check_container,
    decompressor,
    open_store,
)
from rechunk_podman.oci.read.stores import Store, blob_name, read_document
from rechunk_podman.oci.reference import DOCKER_ARCHIVE, PathReference, parse_path
from rechunk_podman.oci.sparse import SPARSE_FILE, parse_sparse
from rechunk_podman.oci.spec import Descriptor, Digest
from rechunk_podman.oci.validate.lower import LowerLayers
from rechunk_podman.oci.validate.tar import check_tar

_REF_NAME = re.compile(
    r"[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*(?:/[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*)*"
)
_HEX_NAME = re.compile(r"(?:.*/)?([0-9a-f]{64})(?:\.json|\.tar)?")


class Problem(NamedTuple):
    """A false statement of the image, or a broken rule.

    code: the name of the check.
    where: the file or layer.
    strict: True if clients accept it nevertheless, so that it is an error only in images of this project.
    """

    code: str
    where: str
    message: str
    strict: bool = False


@dataclass(slots=True)
class Report:
    """The result of a validation. size: bytes of all blobs that were read."""

    name: str
    transport: str
    strict: bool
    images: list[ImageRecord] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    elsewhere: set[Digest] = field(default_factory=set)
    blobs: int = 0
    size: int = 0

    @property
    def errors(self) -> list[Problem]:
        """The problems that count as errors; strict ones only if `strict` was requested."""
        return [problem for problem in self.problems if self.strict or not problem.strict]

    @property
    def warnings(self) -> list[Problem]:
        """The other problems."""
        return [problem for problem in self.problems if problem.strict and not self.strict]

    def check(self) -> Report:
        """Return the report itself if there are no errors.

        Raises:
            ImageError: there are errors; the first ten are its context.
        """
        if self.errors:
            raise ImageError(
                f"{self.name} is not sound: {len(self.errors)} problems",
                context=[f"{problem.where}: {problem.message}" for problem in self.errors[:10]],
            )
        return self


def validate(target: str | Path | PathReference, *, strict: bool = True) -> Report:
    """Read and check all images of a layout or archive completely.

    Args:
        target: `[oci:|oci-archive:|docker-archive:]PATH`; a tag is ignored.
        strict: require also the promises of this project beyond the specification: every parent directory in
            every layer, no whiteouts, no path twice, zstd in a single frame, gzip in a single member.

    Raises:
        UsageError: there is no image at all.
        ImageError: an archive is too broken to list its members.
    """
    reference = target if isinstance(target, PathReference) else parse_path(str(target))
    transport, store = open_store(reference)
    try:
        validator = _Validator(store, Report(store.name, transport, strict))
        if transport == DOCKER_ARCHIVE:
            validator.docker_archive()
        else:
            validator.layout()
        return validator.report
    finally:
        store.close()


class _Validator:
    def __init__(self, store: Store, report: Report) -> None:
        self.store = store
        self.report = report
        self.sizes = store.sizes()
        self.visited: set[str] = set()
        self.layers: dict[tuple[str, str, int], Digest | None] = {}
        self.below = LowerLayers()
        for name in store.duplicates:
            self.problem("duplicate-member", name, "the archive holds it twice")

    def problem(self, code: str, where: str, message: str, strict: bool = False) -> None:
        self.report.problems.append(Problem(code, where, message, strict))

    def caught(self, code: str, where: str, error: RechunkError) -> None:
        self.problem(code, where, " ".join(filter(None, (error.message, *error.context))))

    # OCI layouts

    def layout(self) -> None:
        """Check oci-layout, index.json and blobs (image-layout.md)."""
        self._version()
        if SPARSE_FILE in self.sizes:
            try:
                data = read_document(self.store, SPARSE_FILE)
                self.report.elsewhere |= parse_sparse(data, SPARSE_FILE).elsewhere
            except ImageError as error:
                self.caught("sparse", SPARSE_FILE, error)
        try:
            data = read_document(self.store, "index.json")
        except ImageError as error:
            self.caught("index", "index.json", error)
        else:
            self._index(data, "index.json", spec.MEDIA_INDEX, 0)
        self._unreferenced()

    def _version(self) -> None:
        try:
            document = parse_object(read_document(self.store, "oci-layout"), "oci-layout")
        except ImageError as error:
            self.caught("layout-version", "oci-layout", error)
            return
        if document.get("imageLayoutVersion") != "1.0.0":
            self.problem("layout-version", "oci-layout", "imageLayoutVersion is not 1.0.0")

    def _index(self, data: bytes, where: str, media_type: str, depth: int) -> None:
        try:
            entries = parse_index(data, where)
            named = parse_object(data, where).get("mediaType") or media_type
        except ImageError as error:
            self.caught("index", where, error)
            return
        if named != media_type:
            self.problem("media-type", where, f"it calls itself {named}, not {media_type}")
        if not entries:
            self.problem("index", where, "it lists no image")
        names: set[tuple[str, str]] = set()
        for descriptor, platform in entries:
            name = descriptor.annotations.get(spec.ANNOTATION_REF_NAME)
            if name is not None and not _REF_NAME.fullmatch(name):
                self.problem("ref-name", where, f"not a ref name: {name!r}")
            key = (name_of(descriptor), str(sorted(platform.items())))
            if name is not None and key in names:
                self.problem("duplicate-ref", where, f"two images are named {name_of(descriptor)}")
            names.add(key)
            self._entry(descriptor, platform, depth)

    def _entry(self, descriptor: Descriptor, platform: object, depth: int) -> None:
        data = self._document("manifest", descriptor)
        if data is None:
            return
        where = blob_name(descriptor.digest)
        if descriptor.media_type in INDEXES:
            if depth == MAX_DEPTH:
                self.problem("index", where, "indexes are nested too deeply")
            else:
                self._index(data, where, descriptor.media_type, depth + 1)
        elif descriptor.media_type in MANIFESTS:
            self._image(data, descriptor, platform)
        else:
            text = f"an index refers to the media type {descriptor.media_type!r}"
            self.problem("media-type", where, text, strict=True)

    def _document(self, code: str, descriptor: Descriptor) -> bytes | None:
        """Return a document that matches its descriptor; else add a problem and return None."""
        where = blob_name(descriptor.digest)
        first = where not in self.visited
        self.visited.add(where)
        if where not in self.sizes:
            if descriptor.digest not in self.report.elsewhere:
                self.problem("missing-blob", where, f"the {code} is missing")
            return None
        try:
            data = read_document(self.store, where)
        except ImageError as error:
            self.caught(code, where, error)
            return None
        if first:
            self.report.blobs += 1
            self.report.size += len(data)
        return data if self._matches(descriptor, len(data), sha256_of(data)) else None

    def _matches(self, descriptor: Descriptor, size: int, found: Digest) -> bool:
        where = blob_name(descriptor.digest)
        if size != descriptor.size:
            self.problem("blob-size", where, f"it has {size} bytes, its descriptor says {descriptor.size}")
        if found != descriptor.digest:
            self.problem("blob-digest", where, f"its content is {found}")
        return size == descriptor.size and found == descriptor.digest

    def _image(self, data: bytes, descriptor: Descriptor, platform: object) -> None:
        where = blob_name(descriptor.digest)
        try:
            manifest = parse_manifest(data, where)
        except ImageError as error:
            self.caught("manifest", where, error)
            return
        if is_artifact(manifest):
            for part in (manifest.config, *manifest.layers):
                self._opaque(part)
            return
        self._media_types(manifest, descriptor.media_type, where)
        config = self._document("config", manifest.config)
        record = None
        if config is not None:
            record = self._config(config, blob_name(manifest.config.digest), data)
        if record is not None and isinstance(platform, dict):
            for key, value in (("architecture", record.config.architecture), ("os", record.config.os)):
                if platform.get(key, value) != value:
                    self.problem("platform", where, f"the index says {platform[key]}, the config {value}")
        diff_ids = [layer.diff_id for layer in record.layers] if record is not None else []
        for number, layer in enumerate(manifest.layers):
            diff_id = diff_ids[number] if number < len(diff_ids) else None
            self._layer(blob_name(layer.digest), layer, Digest(diff_id) if diff_id else None, number)

    def _opaque(self, descriptor: Descriptor) -> None:
        """Check a blob of an artifact, whose content is unknown."""
        file = blob_name(descriptor.digest)
        self.visited.add(file)
        if file not in self.sizes:
            if descriptor.digest not in self.report.elsewhere:
                self.problem("missing-blob", file, "a part of an artifact is missing")
            return
        self.report.blobs += 1
        self.report.size += self.sizes[file]
        with self.store.open(file) as raw:
            content = HashingReader(raw)
            content.drain()
        self._matches(descriptor, content.size, content.digest)

    def _media_types(self, manifest: Manifest, media_type: str, where: str) -> None:
        if manifest.media_type != media_type:
            self.problem("media-type", where, f"it calls itself {manifest.media_type}, not {media_type}")
        if manifest.config.media_type not in CONFIGS:
            self.problem("media-type", where, f"its config is of the type {manifest.config.media_type!r}")
        family = "docker" if media_type == spec.DOCKER_MANIFEST else "oci"
        for descriptor in (manifest.config, *manifest.layers):
            if not descriptor.media_type.startswith(f"application/vnd.{family}."):
                text = f"a manifest of {family} has a part of the type {descriptor.media_type!r}"
                self.problem("media-type", where, text, strict=True)

    def _config(self, data: bytes, where: str, manifest: bytes | None) -> ImageRecord | None:
        """Check a config (config.md): required fields, the numbers of diff_ids and history entries."""
        try:
            document = parse_object(data, where)
            record = image_record(where, manifest, data)
        except RechunkError as error:
            code = "diff-id-count" if "diff_ids" in error.message else "config"
            self.caught(code, where, error)
            return None
        self.report.images.append(record)
        for key in ("architecture", "os"):
            if not document.get(key):
                self.problem("config", where, f"it lacks {key}")
        rootfs = document.get("rootfs")
        if not isinstance(rootfs, dict) or rootfs.get("type") != "layers":
            self.problem("config", where, "its rootfs is not of the type layers")
        filled = sum(not entry.empty_layer for entry in record.config.history)
        if document.get("history") and filled != len(record.layers):
            text = f"{filled} history entries with content, but {len(record.layers)} layers"
            self.problem("history-count", where, text)
        return record

    # Layers

    def _layer(self, file: str, descriptor: Descriptor | None, diff_id: Digest | None, number: int) -> None:
        where = f"layer {number + 1} ({file})"
        self.visited.add(file)
        self.below.enter(file, number)
        if file not in self.sizes:
            if descriptor is None or descriptor.digest not in self.report.elsewhere:
                self.problem("missing-blob", where, "it is missing")
            return
        key = (file, descriptor.media_type, descriptor.size) if descriptor is not None else (file, "", 0)
        if key not in self.layers:
            self.layers[key] = self._read_layer(file, descriptor, where)
        if diff_id is not None and (found := self.layers[key]) not in (None, diff_id):
            self.problem("diff-id", where, f"its tar is {found}, the config says {diff_id}")

    def _read_layer(self, file: str, descriptor: Descriptor | None, where: str) -> Digest | None:
        """Check a layer's blob and tar in one pass; return the digest of the tar, None if it is damaged."""
        size = self.sizes[file]
        self.report.blobs += 1
        self.report.size += size
        with self.store.open(file) as raw:
            stored = HashingReader(raw)
            tar: HashingReader | None = None
            try:
                compression, frames = check_container(raw, size, where)
                if descriptor is not None:
                    claimed = layer_compression(descriptor.media_type, where)
                    if claimed != compression:
                        text = f"its media type says {claimed}, but it looks like {compression}"
                        self.problem("compression", where, text)
                if frames is not None and (frames.data != 1 or frames.skippable):
                    text = (
                        f"{frames.data} zstd frames and {frames.skippable} skippable ones, not a single one"
                    )
                    self.problem("zstd-frames", where, text, strict=True)
                stream = decompressor(stored, compression, where)
                tar = HashingReader(stream)
                for code, text, strict in check_tar(io.BufferedReader(tar, 1 << 20), where, self.below):
                    self.problem(code, where, text, strict)
                tar.drain()
                if isinstance(stream, GzipReader) and stream.members != 1:
                    self.problem("gzip-members", where, f"{stream.members} gzip members", strict=True)
            except ImageError as error:
                self.caught("tar" if tar is not None else "compression", where, error)
                raw.seek(0)
                stored, tar = HashingReader(raw), None
            stored.drain()
        if descriptor is not None:
            self._matches(descriptor, size, stored.digest)
        elif (named := _HEX_NAME.fullmatch(file)) and tar is not None:
            expected = "sha256:" + named.group(1)
            if expected not in (stored.digest, tar.digest):
                self.problem("blob-digest", where, f"its content is {stored.digest}")
        return tar.digest if tar is not None else None

    # The rest

    def _unreferenced(self) -> None:
        for name in sorted(self.sizes.keys() - self.visited):
            if not name.startswith("blobs/"):
                continue
            self.problem("unreferenced", name, "nothing refers to it", strict=True)
            with self.store.open(name) as file:
                content = HashingReader(io.BufferedReader(file))
                content.drain()
            if blob_name(content.digest) != name:
                self.problem("blob-digest", name, f"its content is {content.digest}")

    def docker_archive(self) -> None:
        """Check manifest.json, and the config and layers of each image."""
        try:
            images = parse_docker_manifest(read_document(self.store, "manifest.json"), self.store.name)
        except ImageError as error:
            self.caught("manifest", "manifest.json", error)
            return
        if not images:
            self.problem("manifest", "manifest.json", "it lists no image")
        for tag in _twice(tag for image in images for tag in image.tags):
            self.problem("duplicate-ref", "manifest.json", f"two images are named {tag}")
        for image in images:
            self._docker_image(image)

    def _docker_image(self, image: DockerImage) -> None:
        record = None
        try:
            config = read_document(self.store, image.config)
        except ImageError as error:
            self.caught("missing-blob" if image.config not in self.sizes else "config", image.config, error)
        else:
            named = _HEX_NAME.fullmatch(image.config)
            if named and sha256_of(config) != "sha256:" + named.group(1):
                self.problem("blob-digest", image.config, f"its content is {sha256_of(config)}")
            record = self._config(config, image.config, None)
        diff_ids = [layer.diff_id for layer in record.layers] if record is not None else []
        if record is not None and len(diff_ids) != len(image.layers):
            text = f"{len(image.layers)} layers, but {len(diff_ids)} diff_ids in the config"
            self.problem("diff-id-count", image.config, text)
        for number, file in enumerate(image.layers):
            diff_id = diff_ids[number] if number < len(diff_ids) else None
            self._layer(file, None, Digest(diff_id) if diff_id else None, number)


def _twice(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
