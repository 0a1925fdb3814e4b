"""Image configs: of the source image, and of the image that is written.

Sources: image-spec config.md (fields, "Layer DiffID", history) and annotations.md; moby's image
specification v1.2 for Healthcheck, OnBuild and Shell, which docker-format configs add; the output of
`podman inspect` and `docker inspect`, which capitalise and flatten the same fields.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rechunk_podman.errors import UsageError
from rechunk_podman.model import PART_SIGN, ComponentId
from rechunk_podman.oci.spec import Layer
from rechunk_podman.oci.text import (
    GO_ZERO,
    canonical_json,
    format_time,
    load_json,
    normalise_architecture,
    parse_time,
    scrub,
)

CREATED_BY = "rechunk-podman"
"""created_by of every layer that this project writes."""

_FORMATS_HINT = "give an OCI image config, its .config object, or what `podman inspect IMAGE` prints"

_STRINGS = ("User", "WorkingDir", "StopSignal")
_LISTS = ("Env", "OnBuild")
_COMMANDS = ("Entrypoint", "Cmd", "Shell")
_SETS = ("ExposedPorts", "Volumes")
_DOCKER_ONLY = ("Healthcheck", "OnBuild", "Shell", "StopTimeout")
"""Fields that OCI's config.md does not have: podman ignores them in images of OCI's format."""
_EXECUTION = {*_STRINGS, *_LISTS, *_COMMANDS, *_SETS, "Labels", "Healthcheck", "ArgsEscaped"}

# These fields describe the replaced layers or the container that made them, and would be false.
_DROPPED = {"id", "parent", "container", "container_config", "docker_version", "throwaway", "Size"}
_KNOWN = {"created", "author", "architecture", "variant", "os", "os.version", "os.features"}
_KNOWN |= {"config", "rootfs", "history", "annotations"}


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One entry of a config's history (config.md). created: epoch seconds, None if unknown."""

    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False
    created: int | None = None
    author: str = ""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The content of an image config, read from any of its forms.

    architecture, os: as GOARCH and GOOS name them, "" if the source does not name them.
    config: the execution parameters (Env, Cmd, Labels, Healthcheck …), verbatim, without nulls.
    annotations: of the manifest, from the output of `podman inspect`, or from a top-level field `annotations`
        of a config file (the specification has none).
    created: epoch seconds, floored; None if the source has no time, or Go's zero time.
    extra: other top-level fields, verbatim, except fields that describe the replaced layers.
    history, diff_ids: of the source image; the written one has its own.
    """

    architecture: str = ""
    os: str = ""
    variant: str | None = None
    os_version: str | None = None
    os_features: tuple[str, ...] = ()
    created: int | None = None
    author: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[HistoryEntry, ...] = ()
    diff_ids: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str | bytes, *, name: str = "the image config") -> ImageConfig:
        """Read an OCI or docker config, only its `.config` object, or inspect output of one image.

        Args:
            name: of the text, for messages.

        Raises:
            UsageError: the text is not an image config (with line and column if it is not JSON), describes
                several images or a container, or a field has a type that no client accepts.
        """
        document = load_json(text, name, UsageError, _FORMATS_HINT)
        if isinstance(document, list):
            if len(document) != 1:
                raise UsageError(
                    f"{name} describes {len(document)} images, not one", hint="inspect one image alone"
                )
            document = document[0]
        if not isinstance(document, dict):
            raise UsageError(f"{name} is not a JSON object", hint=_FORMATS_HINT)
        return _Reader(name).read(document)

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels, empty if there are none."""
        labels: Mapping[str, str] = self.config.get("Labels") or {}
        return labels

    def with_labels(self, operations: Iterable[str]) -> ImageConfig:
        """Return a copy with label operations applied in order: KEY=VALUE sets, KEY- removes, - removes all.

        Raises:
            UsageError: an operation has another form.
        """
        labels = _operate(self.labels, operations, "label")
        config = {key: value for key, value in self.config.items() if key != "Labels"}
        if labels:
            config["Labels"] = labels
        return replace(self, config=config)

    def with_annotations(self, operations: Iterable[str]) -> ImageConfig:
        """Return a copy like with_labels(), for the annotations."""
        return replace(self, annotations=_operate(self.annotations, operations, "annotation"))

    def with_architecture(self, text: str | None) -> ImageConfig:
        """Return a copy with the architecture `[linux/]ARCH[/VARIANT]`; None: the source's, else the host's.

        The source's variant is dropped if the architecture changes.

        Raises:
            UsageError: the text has another form.
        """
        system = self.os or "linux"
        if text is None:
            if self.architecture:
                return replace(self, os=system)
            architecture, variant = normalise_architecture(platform.machine())
            return replace(self, os=system, architecture=architecture, variant=variant)
        parts = text.split("/")
        if len(parts) > 1 and parts[0] == system:
            parts = parts[1:]
        if len(parts) > 2 or not all(re.fullmatch(r"[A-Za-z0-9_.-]+", part) for part in parts):
            raise UsageError(f"not an architecture: {text!r}", hint="for example amd64, arm64 or arm/v7")
        architecture, variant = normalise_architecture(parts[0])
        if len(parts) == 2:
            variant = parts[1]
        elif architecture == self.architecture:
            variant = variant or self.variant
        return replace(self, os=system, architecture=architecture, variant=variant)


class _Reader:
    """A reader of the fields of one document. name: of the document, for messages."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self, document: dict[str, Any]) -> ImageConfig:
        if "State" in document or "HostConfig" in document:
            raise UsageError(
                f"{self.name} describes a container, not an image", hint="give `podman image inspect IMAGE`"
            )
        if "schemaVersion" in document:
            raise UsageError(
                f"{self.name} is a manifest, not a config", hint="`skopeo inspect --config --raw` prints it"
            )
        if "RepoTags" in document and "Layers" in document:
            raise UsageError(
                f"{self.name} is the summary of `skopeo inspect`, which leaves most of the config out",
                hint="give what `skopeo inspect --config --raw` prints",
            )
        if document.keys() & (_KNOWN | {"container_config"}):
            return self._oci(document)
        if isinstance(document.get("Config", 0), dict | None) or "RootFS" in document:
            return self._inspect(document)
        if not document or document.keys() & _EXECUTION:
            return ImageConfig(config=self._execution(document, "config"))
        raise UsageError(
            f"{self.name} is not an image config",
            context=["its fields are " + ", ".join(sorted(document)[:8])],
            hint=_FORMATS_HINT,
        )

    def _oci(self, document: dict[str, Any]) -> ImageConfig:
        rootfs = self._object(document, "rootfs")
        architecture, variant = normalise_architecture(self._string(document, "architecture") or "")
        return ImageConfig(
            architecture=architecture,
            os=self._string(document, "os") or "",
            variant=self._string(document, "variant") or variant,
            os_version=self._string(document, "os.version") or None,
            os_features=tuple(self._strings(document, "os.features")),
            created=self._time(document, "created"),
            author=self._string(document, "author") or None,
            config=self._execution(self._object(document, "config"), "config"),
            annotations=self._string_map(document, "annotations"),
            extra={
                key: value
                for key, value in document.items()
                if key not in _KNOWN and key not in _DROPPED and value is not None
            },
            history=self._history(document, "history"),
            diff_ids=tuple(self._strings(rootfs, "diff_ids")),
        )

    def _inspect(self, document: dict[str, Any]) -> ImageConfig:
        execution = dict(self._object(document, "Config"))
        # podman writes the health check beside Config, newer versions as HealthCheck.
        for key in ("Healthcheck", "HealthCheck"):
            if document.get(key) and not execution.get("Healthcheck"):
                execution["Healthcheck"] = document[key]
        architecture, variant = normalise_architecture(self._string(document, "Architecture") or "")
        return ImageConfig(
            architecture=architecture,
            os=self._string(document, "Os") or "",
            variant=self._string(document, "Variant") or variant,
            os_version=self._string(document, "OsVersion") or None,
            created=self._time(document, "Created"),
            author=self._string(document, "Author") or None,
            config=self._execution(execution, "Config"),
            annotations=self._string_map(document, "Annotations"),
            history=self._history(document, "History"),
            diff_ids=tuple(self._strings(self._object(document, "RootFS"), "Layers")),
        )

    def _execution(self, config: Mapping[str, Any], where: str) -> dict[str, Any]:
        kept = {key: value for key, value in config.items() if value is not None}
        for key in _STRINGS:
            self._string(kept, key)
        for key in _LISTS:
            self._strings(kept, key)
        for key in _COMMANDS:
            # docker takes a single string for a list of one (strslice)
            if isinstance(kept.get(key), str):
                kept[key] = [kept[key]]
            self._strings(kept, key)
        for key in _SETS:
            if key in kept:
                kept[key] = {
                    name: {} if value is None else value for name, value in self._object(kept, key).items()
                }
        if "Labels" in kept:
            kept["Labels"] = self._string_map(kept, "Labels")
        if "Healthcheck" in kept:
            self._object(kept, "Healthcheck")
        return kept

    def _history(self, document: Mapping[str, Any], key: str) -> tuple[HistoryEntry, ...]:
        entries = [] if document.get(key) is None else document[key]
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self._wrong(key, "a list of objects")
        return tuple(
            HistoryEntry(
                created_by=self._string(entry, "created_by") or "",
                comment=self._string(entry, "comment") or "",
                empty_layer=entry.get("empty_layer") is True,
                created=self._time(entry, "created"),
                author=self._string(entry, "author") or "",
            )
            for entry in entries
        )

    def _time(self, document: Mapping[str, Any], key: str) -> int | None:
        text = self._string(document, key)
        if not text:
            return None
        try:
            seconds = parse_time(text)
        except ValueError as problem:
            raise self._wrong(key, "a date of RFC 3339", text) from problem
        return None if seconds == GO_ZERO else seconds

    def _string(self, document: Mapping[str, Any], key: str) -> str | None:
        value = document.get(key)
        if value is not None and not isinstance(value, str):
            raise self._wrong(key, "a string", value)
        return value

    def _strings(self, document: Mapping[str, Any], key: str) -> list[str]:
        value = document.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "a list of strings", value)
        return value

    def _object(self, document: Mapping[str, Any], key: str) -> dict[str, Any]:
        value = document.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._wrong(key, "an object", value)
        return value

    def _string_map(self, document: Mapping[str, Any], key: str) -> dict[str, str]:
        value = self._object(document, key)
        for name, text in value.items():
            if not isinstance(text, str):
                raise self._wrong(f"{key}[{name}]", "a string", text)
        return value

    def _wrong(self, key: str, expected: str, value: object = None) -> UsageError:
        shown = json.dumps(value)
        context = [f"it is {shown[:77] + '...' if len(shown) > 80 else shown}"] if value is not None else []
        return UsageError(f"{self.name}: {key} is not {expected}", context=context, hint=_FORMATS_HINT)


def _operate(values: Mapping[str, str], operations: Iterable[str], what: str) -> dict[str, str]:
    result = dict(values)
    for operation in operations:
        key, equals, value = operation.partition("=")
        if scrub(operation) != operation:
            raise UsageError(f"this {what} is not UTF-8: {operation!r}", hint="images hold UTF-8 alone")
        if equals and key:
            result[key] = value
        elif operation == "-":
            result.clear()
        elif not equals and operation.endswith("-"):
            result.pop(operation[:-1], None)
        else:
            raise UsageError(
                f"not a {what} operation: {operation!r}",
                hint=f"KEY=VALUE sets a {what}, KEY- removes it, - removes all",
            )
    return result


def docker_only(config: ImageConfig) -> tuple[str, ...]:
    """Return the names of the fields that mean something in an image of docker's format alone."""
    return tuple(name for name in _DOCKER_ONLY if config.config.get(name))


def resolve_created(config: ImageConfig, *, source_date_epoch: int | None, fallback: int) -> int:
    """Return the creation time of the new image: SOURCE_DATE_EPOCH, else the source's, else the fallback."""
    if source_date_epoch is not None:
        return source_date_epoch
    return fallback if config.created is None else config.created


def layer_comment(components: Iterable[tuple[ComponentId, int]], diff_id: str, *, limit: int = 96) -> str:
    """Return a history comment: the largest components, the number of others, 8 hex digits of the diff_id.

    Args:
        components: (id, size in bytes) of each component of the layer, or of its parts.
        limit: the largest length in bytes (UTF-8); at least 32.
    """
    names = [
        scrub(str(identity).replace(PART_SIGN, PART_SIGN.strip()))
        for identity, _ in sorted(components, key=lambda item: (-item[1], item[0]))
    ]
    mark = f"[{diff_id.rpartition(':')[2][:8]}]"
    shown: list[str] = []
    for number, name in enumerate(names, 1):
        rest = f"+{len(names) - number}" if number < len(names) else ""
        room = limit - len(" ".join(filter(None, (*shown, rest, mark))).encode()) - 1
        if len(name.encode()) > room:
            if shown:
                break
            name = name.encode()[: room - 3].decode("utf-8", "ignore") + "…"
        shown.append(name)
    more = len(names) - len(shown)
    return " ".join(filter(None, (*shown, f"+{more}" if more else "", mark)))


def image_config_json(
    config: ImageConfig, layers: Sequence[Layer], history: Sequence[HistoryEntry], created: int
) -> bytes:
    """Return the config blob of a written image: compact JSON, sorted keys, the same for the same arguments.

    Args:
        layers: bottom first.
        history: one entry for each layer, in order, and any number of empty_layer entries among them. Entries
            without a time get `created`.
        created: epoch seconds.

    Raises:
        ValueError: the number of entries that are not empty differs from the number of layers.
    """
    filled = sum(not entry.empty_layer for entry in history)
    if filled != len(layers):
        raise ValueError(f"{filled} history entries for {len(layers)} layers")
    config = config.with_architecture(None)
    document: dict[str, Any] = {
        **config.extra,
        "architecture": config.architecture,
        "config": config.config,
        "created": format_time(created),
        "history": [_history_json(entry, created) for entry in history],
        "os": config.os,
        "rootfs": {"diff_ids": [layer.diff_id for layer in layers], "type": "layers"},
    }
    optional = {
        "author": config.author,
        "os.features": list(config.os_features),
        "os.version": config.os_version,
        "variant": config.variant,
    }
    document |= {key: value for key, value in optional.items() if value}
    return canonical_json(document)


def _history_json(entry: HistoryEntry, created: int) -> dict[str, Any]:
    document: dict[str, Any] = {"created": format_time(created if entry.created is None else entry.created)}
    document |= {
        key: value
        for key, value in (
            ("author", entry.author),
            ("comment", entry.comment),
            ("created_by", entry.created_by),
            ("empty_layer", entry.empty_layer),
        )
        if value
    }
    return document
