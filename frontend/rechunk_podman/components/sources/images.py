"""Components of container images that lie in the image: one for each, named without its tag.

Known are stores of containers/storage (overlay-images/images.json beside overlay-layers and overlay; the same
of vfs), layouts of OCI (oci-layout, index.json, blobs) and of the transport dir: (version, manifest.json and
blobs), such as those in containers-image-cache, whose mapping.txt has a line NAME,DIRECTORY for each. What
several images share is a component of its own, named after all of them.

Sources: containers/storage's images.go and layers.go (the JSON files and folders); OCI's image-layout.md;
containers-transports(5); the directory layout of containers/image (directory_dest.go).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rechunk_podman.components.board import NOBODY, Board
from rechunk_podman.errors import DatabaseError, RootfsError
from rechunk_podman.model import Positions
from rechunk_podman.packages import scattered
from rechunk_podman.packages.budget import Budget
from rechunk_podman.patterns import compile_later
from rechunk_podman.rootfs.root import Root

log = logging.getLogger("rechunk_podman")

name = "images"
rule = "the path is of a container image, in a store or a layout"

_CACHE = "containers-image-cache"
records = (
    *(
        f"**/{driver}-{file}"
        for driver in ("overlay", "vfs")
        for file in ("images/images.json", "layers/layers.json")
    ),
    "**/overlay/*/link",
    "**/index.json",
    "**/blobs/sha256/*",
    "**/manifest.json",
    "**/version",
    f"**/{_CACHE}/mapping.txt",
)
"""Globs of the files that are read, if they are not larger than LARGEST_RECORD."""

LARGEST_RECORD = 1 << 20

_DRIVERS = ("overlay", "vfs")
_LARGEST = 16 << 20
"""Bytes of a JSON file at most."""
_MOST_IMAGES = 2000
_MOST_BLOBS = 100_000
"""Descriptors that are followed in one layout at most."""
_MOST_LAYERS = 500
"""Layers of an image at most."""
_MOST_PATHS = 200_000
"""Paths of the images of one store at most, each counted for each image that has it."""
_LONGEST_NAME = 400
"""Characters of the name of an image at most; the longest reference has 383."""
_MOST_NAMES = 3
"""Images after which a shared component is named."""
_HEX = compile_later(r"[0-9a-f]{64}")


@dataclass(slots=True)
class _Place:
    """A store or layout: its directory, and the paths of each image: name -> files and directories."""

    top: str
    images: dict[str, list[str]] = field(default_factory=dict)
    count: int = 0

    def add(self, reference: str, paths: Sequence[str]) -> None:
        """Add paths of an image, unless there are too many images or paths."""
        is_known = reference in self.images or len(self.images) < _MOST_IMAGES
        if is_known and self.count + len(paths) <= _MOST_PATHS:
            self.count += len(paths)
            self.images.setdefault(reference, []).extend(paths)
        elif self.count <= _MOST_PATHS:
            self.count = _MOST_PATHS + 1
            log.warning("/%s: there are more images, or paths of images, and the rest is not read", self.top)


def claim(root: Root, board: Board) -> None:
    """Claim the paths of each image in a store or layout."""
    budget = Budget("of container images")
    places = [*_stores(root, board, budget), *_layouts(root, board, budget), *_directories(root, board)]
    plain = Counter(_untagged(reference) for reference in {ref for place in places for ref in place.images})
    for place in places:
        labels_of: dict[str, set[str]] = {}
        for reference, paths in place.images.items():
            # of two tags of a repository, each is a component
            short = _untagged(reference)
            label = short if plain[short] == 1 else reference
            for path in paths:
                labels_of.setdefault(path, set()).add(label)
        by_label: dict[str, list[Positions]] = {}
        for path, labels in labels_of.items():
            position = board.position.get(path)
            if position is not None:
                below = board.tree.below(path)
                by_label.setdefault(_shared(labels), []).append(
                    np.append(np.arange(below.start, below.stop), position)
                )
        for label, positions in sorted(by_label.items()):
            board.because(rule, f"/{place.top}", label)
            board.claim_all(np.concatenate(positions), board.component(name, label))
        below = board.tree.below(place.top)
        rest = np.arange(below.start, below.stop)
        rest = rest[board.owner[board.leader[rest]] == NOBODY]
        board.because("the path is of a store or layout of images, and of no image", f"/{place.top}")
        board.claim_all(rest, board.component(name, "store"))


def _shared(labels: set[str]) -> str:
    ordered = sorted(labels)
    return "+".join(ordered[:_MOST_NAMES]) + ("+…" if len(ordered) > _MOST_NAMES else "")


def _untagged(reference: str) -> str:
    """Return a reference without its tag or digest."""
    plain = reference.partition("@")[0]
    head, slash, last = plain.rpartition("/")
    return head + slash + last.partition(":")[0]


def _tops(board: Board, ending: str) -> Iterator[str]:
    """Yield the directories of the files that end in `/ending`."""
    for position in board.paths.ending(f"/{ending}".encode()).tolist():
        if board.regular[position]:
            yield board.paths[position].removesuffix(f"/{ending}")


def _json(root: Root, board: Board, path: str, budget: Budget) -> Any:
    """Return the content of a JSON file; None, maybe with a warning, if it cannot be used."""
    if path not in board.position:
        return None
    try:
        data = root.read(path, _LARGEST)
        budget.read(len(data))
        # no number is of use here
        return scattered.json_object(b'{"":%s}' % data, budget, lambda _: None)[""]
    except (RootfsError, DatabaseError, ValueError, KeyError) as error:
        log.warning("%s: its images are unknown: %s", root.show(path), error)
        return None


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            yield item


def _text(item: Mapping[str, Any], key: str) -> str:
    """Return a text of a record that is one name, and no path; else ""."""
    value = item.get(key)
    return value if isinstance(value, str) and "/" not in value and value not in ("", ".", "..") else ""


def _is_name(reference: str) -> bool:
    return 0 < len(reference) <= _LONGEST_NAME and reference.isprintable()


def _stores(root: Root, board: Board, budget: Budget) -> Iterator[_Place]:
    for driver in _DRIVERS:
        for top in _tops(board, f"{driver}-images/images.json"):
            place = _Place(top)
            layers = {
                _text(layer, "id"): layer
                for layer in _mappings(_json(root, board, f"{top}/{driver}-layers/layers.json", budget))
            }
            for image in _mappings(_json(root, board, f"{top}/{driver}-images/images.json", budget)):
                ident = _text(image, "id")
                names = image.get("names")
                found = [n for n in names if isinstance(n, str)] if isinstance(names, list) else []
                reference = min(found, default="") or ident[:12]
                if not ident or not _is_name(reference):
                    continue
                place.add(reference, [f"{top}/{driver}-images/{ident}"])
                layer = _text(image, "layer")
                seen: set[str] = set()
                while layer and layer not in seen and len(seen) < _MOST_LAYERS:
                    seen.add(layer)
                    files = [f"{top}/{driver}-layers/{layer}.tar-split.gz"]
                    files += [f"{top}/overlay/{layer}", f"{top}/vfs/dir/{layer}"]
                    link = f"{top}/overlay/{layer}/link"
                    if link in board.position:
                        files.append(f"{top}/overlay/l/{_content(root, link)}")
                    place.add(reference, files)
                    layer = _text(layers.get(layer, {}), "parent")
            yield place


def _content(root: Root, path: str) -> str:
    """Return the text of a small file; "" if it is none."""
    try:
        return root.read(path, 4096).decode("utf-8", "replace").strip()
    except RootfsError:
        return ""


def _layouts(root: Root, board: Board, budget: Budget) -> Iterator[_Place]:
    for top in _tops(board, "oci-layout"):
        place = _Place(top)
        index = _json(root, board, f"{top}/index.json", budget)
        blobs = _Blobs(root, board, top, budget)
        for item in _mappings(index.get("manifests") if isinstance(index, dict) else None):
            annotations = item.get("annotations")
            notes = annotations if isinstance(annotations, dict) else {}
            reference = notes.get("io.containerd.image.name") or notes.get(
                "org.opencontainers.image.ref.name"
            )
            usable = isinstance(reference, str) and _is_name(reference) and "/" in reference
            place.add(str(reference) if usable else top.rpartition("/")[2], blobs.of(item))
        yield place


class _Blobs:
    """The blobs of a layout, found from descriptors; each document is read once."""

    def __init__(self, root: Root, board: Board, top: str, budget: Budget) -> None:
        self._root, self._board, self._top, self._budget = root, board, top, budget
        self._children: dict[str, list[Mapping[str, Any]]] = {}
        self._left = _MOST_BLOBS

    def of(self, item: Mapping[str, Any]) -> list[str]:
        """Return the paths of the blobs that a descriptor leads to."""
        found: dict[str, None] = {}
        pending = [item]
        while pending and self._left > 0:
            self._left -= 1
            descriptor = pending.pop()
            digest = descriptor.get("digest")
            algorithm, _, value = digest.partition(":") if isinstance(digest, str) else ("", "", "")
            path = f"{self._top}/blobs/sha256/{value}"
            if algorithm != "sha256" or not _HEX.fullmatch(value) or path in found:
                continue
            found[path] = None
            if any(word in str(descriptor.get("mediaType")) for word in ("manifest", "index")):
                pending += self._document(path)
        return list(found)

    def _document(self, path: str) -> list[Mapping[str, Any]]:
        if path not in self._children:
            document = _json(self._root, self._board, path, self._budget)
            kept: list[Mapping[str, Any]] = []
            if isinstance(document, dict):
                kept += _mappings([document.get("config")])
                kept += _mappings(document.get("layers"))
                kept += _mappings(document.get("manifests"))
            self._children[path] = kept
        return self._children[path]


def _directories(root: Root, board: Board) -> Iterator[_Place]:
    """Yield layouts of the transport dir:, by the file `version` beside manifest.json."""
    names: dict[str, str] = {}
    caches = [f"{top}/{_CACHE}" for top in _tops(board, f"{_CACHE}/mapping.txt")]
    for top in caches:
        for line in _lines(root, f"{top}/mapping.txt"):
            reference, comma, folder = line.rpartition(",")
            if comma and _is_name(reference):
                names[f"{top}/{folder}"] = reference
    for top in _tops(board, "manifest.json"):
        if f"{top}/version" in board.position and _content(root, f"{top}/version").startswith(
            "Directory Transport"
        ):
            place = _Place(top)
            place.add(names.get(top, top.rpartition("/")[2]), [top])
            yield place
    for top in caches:
        yield _Place(top)


def _lines(root: Root, path: str) -> list[str]:
    try:
        return root.read(path, _LARGEST).decode("utf-8", "surrogateescape").splitlines()[:_MOST_IMAGES]
    except RootfsError as error:
        log.warning("%s: the names of its images are unknown: %s", root.show(path), error.message)
        return []
