"""Limits of registries and clients: number and size of layers, labels, documents.

Sources: GitHub's documentation of its container registry (10 GB a layer, 10 minutes an upload); moby
(layer/layer_store.go, maxLayerDepth 125); containers/storage (drivers/overlay, maxDepth 128 before 1.44,
500 after); containerd (pkg/labels/validate.go, 4,096 bytes of key and value); containers/image
(internal/iolimits, 4 MB each of manifest and config); execve(2) (MAX_ARG_STRLEN, 128 KiB).
"""

from __future__ import annotations

from collections.abc import Iterator

from rechunk_podman.lint.checks import Check, Finding, Severity, Subject

DOCKER_LAYERS, OLD_LAYERS, NEW_LAYERS = 125, 128, 500
GHCR_LAYER_BYTES = 10 * 10**9
LARGE_LAYER_BYTES = 5 * 10**9
LABEL_BYTES = 4096
DOCUMENT_BYTES = 4 << 20
ARGUMENT_BYTES = 128 << 10


def _layers(subject: Subject) -> Iterator[Finding]:
    count = 0 if subject.record is None else len(subject.record.layers)
    if count > NEW_LAYERS:
        yield Finding(f"{count} layers: no container of it starts anywhere (limit {NEW_LAYERS})")
    elif count > OLD_LAYERS:
        message = f"{count} layers: too many for Docker, for podman before 5.9 and for bootc before 1.9"
        yield Finding(message, severity=Severity.WARNING)
    elif count > DOCKER_LAYERS:
        yield Finding(
            f"{count} layers: too many for Docker (limit {DOCKER_LAYERS})", severity=Severity.WARNING
        )


def _layer_sizes(subject: Subject) -> Iterator[Finding]:
    for number, layer in enumerate(() if subject.record is None else subject.record.layers, 1):
        blob = layer.descriptor
        if blob is None:
            continue
        plain = not blob.media_type.endswith(("gzip", "zstd"))
        if blob.size > GHCR_LAYER_BYTES:
            severity = Severity.WARNING if plain else None
            form = ", not compressed yet" if plain else ""
            yield Finding(
                f"layer {number} has {blob.size} bytes{form}: more than GHCR takes", severity=severity
            )
        elif blob.size > LARGE_LAYER_BYTES and not plain:
            message = f"layer {number} has {blob.size} bytes: GHCR allows an upload 10 minutes"
            yield Finding(message, severity=Severity.WARNING)


def _labels(subject: Subject) -> Iterator[Finding]:
    for key, value in subject.labels.items():
        size = len(key.encode("utf-8", "replace")) + len(value.encode("utf-8", "replace"))
        if size > LABEL_BYTES:
            yield Finding(f"the label {key} has {size} bytes with its name, containerd takes {LABEL_BYTES}")


def _documents(subject: Subject) -> Iterator[Finding]:
    if subject.record is None:
        return
    for what, data in (("config", subject.record.config_bytes), ("manifest", subject.record.manifest or b"")):
        if len(data) > DOCUMENT_BYTES:
            yield Finding(
                f"the {what} has {len(data)} bytes: no client or registry takes more than {DOCUMENT_BYTES}"
            )
        elif len(data) > ARGUMENT_BYTES:
            message = (
                f"the {what} has {len(data)} bytes: too long for a variable or an argument ({ARGUMENT_BYTES})"
            )
            yield Finding(message, severity=Severity.NOTE)


CHECKS = (
    Check(
        "layer-count",
        Severity.ERROR,
        "not more layers than clients take",
        f"dockerd refuses more than {DOCKER_LAYERS} layers, podman before 5.9 and bootc before 1.9 more than "
        f"{OLD_LAYERS}, newer ones {NEW_LAYERS}; an image derived from it needs some for itself.",
        "split with --max-layers 120 (docker, podman, bootc), or say whom it is for and ignore this check",
        _layers,
    ),
    Check(
        "layer-size",
        Severity.ERROR,
        "no layer larger than registries take",
        "GHCR refuses layers of more than 10 GB and uploads of more than 10 minutes.",
        "split the image, with more --max-layers; a single file of that size cannot be split",
        _layer_sizes,
    ),
    Check(
        "label-size",
        Severity.WARNING,
        "no label larger than containerd takes",
        "containerd copies an image's labels to the container and refuses those of more than 4,096 bytes.",
        "shorten or drop the label (--label KEY-); the place for much text is an annotation of the manifest",
        _labels,
    ),
    Check(
        "document-size",
        Severity.ERROR,
        "manifest and config of a size that clients read",
        "Clients and registries stop reading at 4 MiB; scripts that pass the config by an argument or a "
        "variable at 128 KiB.",
        "drop long labels, history and annotations",
        _documents,
    ),
)
