"""Versions, and labels of the base image that are wrong for an image built on it. Pure.

Sources: annotations.md of the image-spec ("Pre-Defined Annotation Keys"); label-schema.org; the labels that
ostree-ext, bootc and Red Hat's build systems set on base images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import NamedTuple

from rechunk_podman.errors import UsageError
from rechunk_podman.model import Kind, Tree
from rechunk_podman.patterns import compile_later

OCI = "org.opencontainers.image."

VERSION = OCI + "version"
REVISION = OCI + "revision"
DESCRIPTION = OCI + "description"

KERNEL = "ostree.linux"
"""Label of bootable images: the release of their one kernel."""

BOOTC = "containers.bootc"

OSTREE_COMMIT = ("ostree.commit", "ostree.final-diffid")
"""Labels that name an ostree commit. The files of a rechunked image do not have the layout of a commit."""

PARENTS = frozenset(
    [OCI + name for name in ("version", "revision", "title", "description", "source", "url", "documentation")]
    + [OCI + name for name in ("created", "base.name", "base.digest", "ref.name")]
    + ["version", "release", "name", "summary", "description", "url", "build-date", "vcs-ref", "vcs-url"]
    + ["io.k8s.display-name", "io.k8s.description", "org.label-schema.version", "org.label-schema.vcs-ref"]
    + ["org.label-schema.name", "org.label-schema.description", "org.label-schema.build-date"]
    + ["org.label-schema.url", "org.label-schema.vcs-url"]
)
"""Labels that describe one image, not the images built on it (docs/labels.md)."""

PARENT_PREFIXES = ("ostree.", "rpmostree.", "io.buildah.")

_KERNEL_IMAGE = compile_later(r"usr/lib/modules/[^/]+/vmlinuz\Z")

_DATE = compile_later(r"<date(?::([^<>]+))?>")
_VERSION = compile_later(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}\Z")


class Labelling(NamedTuple):
    """The changes of labels.

    operations: for ImageConfig.with_labels().
    dropped, rewritten: names of labels, sorted.
    """

    operations: tuple[str, ...]
    dropped: tuple[str, ...]
    rewritten: tuple[str, ...]


def is_parents(name: str) -> bool:
    """Return True if a label of this name describes the base image that set it, not an image built on it.

    The label of the kernel is excluded: bootable_labels() sets it anew.
    """
    return name != KERNEL and (name in PARENTS or name.startswith(PARENT_PREFIXES))


def version(template: str, now: int, previous: str | None) -> str:
    """Return the version that a template describes.

    Args:
        template: text in which `<date>` is the day (UTC) as YYMMDD, `<date:FORMAT>` in strftime(3) format.
        now: epoch seconds.
        previous: the version of the previous image, or None. If the new version is the same, `.1` is
            appended, after `.1` `.2`, and so on.

    Raises:
        UsageError: the result is malformed (not a letter or digit, then letters, digits and ._+~-).
    """
    day = datetime.fromtimestamp(now, timezone.utc)
    text = _DATE.sub(lambda match: day.strftime(match[1] or "%y%m%d"), template)
    if not _VERSION.match(text):
        raise UsageError(
            f"not a version: {text!r}",
            hint="letters, digits and ._+~-; <date> is the day as YYMMDD, <date:%Y-%m-%d> as you like it",
        )
    if previous is None:
        return text
    if previous == text:
        return f"{text}.1"
    stem, dot, count = previous.rpartition(".")
    if dot and stem == text and count.isascii() and count.isdigit():
        return f"{text}.{int(count) + 1}"
    return text


def labelling(inherited: Mapping[str, str], own: Mapping[str, str], *, keep: Iterable[str] = ()) -> Labelling:
    """Return the changes of labels for an image with an identity of its own.

    A label in `own` is rewritten. Any other label is dropped if it describes the parent (is_parents()) and
    `keep` does not name it. All others stay.
    """
    kept = set(keep)
    dropped = sorted(name for name in inherited if is_parents(name) and name not in own and name not in kept)
    rewritten = sorted(name for name in own if name in inherited and inherited[name] != own[name])
    operations = [f"{name}-" for name in dropped] + [f"{name}={value}" for name, value in sorted(own.items())]
    return Labelling(tuple(operations), tuple(dropped), tuple(rewritten))


def label_lines(text: str) -> dict[str, str]:
    """Return the labels in lines `KEY=VALUE`; skip empty lines and `#` comments.

    Raises:
        UsageError: a line has another form.
    """
    labels = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not (equals and name.strip()):
            raise UsageError(
                f"line {number} of the labels is not KEY=VALUE: {line!r}",
                hint="a line for each label; lines that are empty or begin with # are skipped",
            )
        labels[name.strip()] = value.strip()
    return labels


def kernels(tree: Tree) -> list[str]:
    """Return the releases of the kernels in usr/lib/modules that have a vmlinuz, sorted."""
    below = tree.below("usr/lib/modules")
    return sorted(
        tree.paths[position].split("/")[3]
        for position in below
        if _KERNEL_IMAGE.match(tree.paths[position]) and tree.entry(position).kind is Kind.FILE
    )


def bootable_labels(labels: Mapping[str, str], tree: Tree, *, bootc: bool) -> Labelling:
    """Return the changes of labels that follow from the files: ostree.linux if it is set or with bootc.

    With `bootc`, ostree.commit and ostree.final-diffid are dropped, too, and containers.bootc becomes 1.
    """
    own: dict[str, str] = {}
    dropped = [name for name in OSTREE_COMMIT if name in labels] if bootc else []
    releases = kernels(tree)
    if len(releases) == 1 and (bootc or KERNEL in labels):
        own[KERNEL] = releases[0]
    elif KERNEL in labels:
        dropped.append(KERNEL)
    if bootc:
        own[BOOTC] = "1"
    rewritten = [name for name in own if labels.get(name) != own[name]]
    operations = [f"{name}-" for name in dropped] + [f"{name}={own[name]}" for name in rewritten]
    return Labelling(tuple(operations), tuple(dropped), tuple(sorted(rewritten)))
