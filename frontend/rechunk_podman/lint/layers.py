"""The reasons why layers are downloaded again for a new image: changed content, or metadata alone.

Only layers that differ are read. The counterpart of a new layer is the old layer with the most common paths,
among the old layers that are not in the new image. A path that the counterpart lacks is searched for in the
other ones of these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from rechunk_podman.boot.initramfs import Initramfs, differing_members
from rechunk_podman.lint.boot import facts_of_boot_file, is_boot_file
from rechunk_podman.lint.checks import Check, Finding, Severity
from rechunk_podman.model import KIND_NAMES, Kind
from rechunk_podman.oci.read.decompress import PLAIN
from rechunk_podman.oci.read.image import ImageSource
from rechunk_podman.oci.read.tar import Member, members
from rechunk_podman.oci.spec import DiffId
from rechunk_podman.units import human_size, plural, time_text

KEPT, CONTENT, METADATA, REPACKED, REWRITTEN, RECOMPRESSED = (
    "kept",
    "content",
    "metadata",
    "repacked",
    "rewritten",
    "recompressed",
)
"""The verdicts on a layer. KEPT: the client has the blob. CONTENT: content was added, removed or changed.
METADATA: only modes, owners, times, xattrs or links changed. REPACKED: the same files lay in other layers.
REWRITTEN: the entries are the same, the tar differs. RECOMPRESSED: the tar is the same, the blob differs."""

ADDED, REMOVED, MOVED = "added", "removed", "moved"
CONTENT_CHANGES = {ADDED, REMOVED, "type", "content", "target", "device"}
METADATA_CHANGES = {"mode", "owner", "xattrs", "mtime", "links"}

REMEMBERED = (
    "nothing: the image was planned with memory, which moves files only where they are downloaded anyway, or "
    "where later updates gain more by it"
)
"""The remedy for a repacked layer of an image that was planned with memory."""

_Entry = tuple[Member, bytes | None, Initramfs | None]
_Contents = dict[str, _Entry]


class Change(NamedTuple):
    """A change at a path.

    what: ADDED, REMOVED, MOVED, or one of CONTENT_CHANGES or METADATA_CHANGES.
    old, new: the values, for people; if MOVED, `old` is the number of the old layer.
    """

    path: str
    what: str
    old: str | None = None
    new: str | None = None


class MemberChange(NamedTuple):
    """A difference of a member of an initramfs, at `path`, whose content changed. what: for people."""

    path: str
    member: str
    what: str


@dataclass(frozen=True, slots=True)
class LayerChange:
    """A layer of the new image.

    number: counted from 1. size: bytes of its blob, None if unknown.
    verdict: KEPT, CONTENT, METADATA, REPACKED, REWRITTEN or RECOMPRESSED.
    old: the number of the old layer that it equals or was compared with; None if there is none.
    changes: empty if the layer was not read.
    remembered: the new image records that it was planned with memory.
    members: the differences of the members of each initramfs in it that the old layer has, too.
    """

    number: int
    diff_id: DiffId
    size: int | None
    verdict: str
    old: int | None
    changes: tuple[Change, ...] = ()
    remembered: bool = False
    members: tuple[MemberChange, ...] = ()

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of changes of each kind, sorted by name."""
        return dict(sorted(Counter(change.what for change in self.changes).items()))

    def paths(self, *kinds: str) -> tuple[str, ...]:
        """Return the paths with changes of these kinds (of all if none is given), each once."""
        return tuple(dict.fromkeys(c.path for c in self.changes if not kinds or c.what in kinds))

    def to_json(self) -> dict[str, Any]:
        """Return its part of the JSON document (docs/lint.md)."""
        return {
            "number": self.number,
            "old_number": self.old,
            "diff_id": self.diff_id,
            "size": self.size,
            "verdict": self.verdict,
            "counts": dict(self.counts),
            "changes": [{**change._asdict(), "path": "/" + change.path} for change in self.changes],
            "members": [{**member._asdict(), "path": "/" + member.path} for member in self.members],
        }


def compare(old: ImageSource, new: ImageSource, *, remembered: bool = False) -> tuple[LayerChange, ...]:
    """Return every layer of the new image, with the reason why a client of the old image downloads it.

    Args:
        remembered: see LayerChange.

    Raises:
        ImageError: a layer is damaged.
    """
    before = {layer.diff_id: number for number, layer in enumerate(old.record.layers, 1)}
    now = {layer.diff_id for layer in new.record.layers}
    gone = {
        number: _read(old, number - 1)
        for number, layer in enumerate(old.record.layers, 1)
        if layer.diff_id not in now
    }
    fresh = {
        number: _read(new, number - 1)
        for number, layer in enumerate(new.record.layers, 1)
        if layer.diff_id not in before
    }
    heirs = {number: _counterpart(contents, gone) for number, contents in fresh.items()}
    present = {path for contents in fresh.values() for path in contents}
    removals = _removals(gone, heirs, present)
    found = []
    for number, layer in enumerate(new.record.layers, 1):
        size = None if layer.descriptor is None else layer.descriptor.size
        if number not in fresh:
            same = before[layer.diff_id]
            verdict = RECOMPRESSED if _is_recompressed(old, same, new, number) else KEPT
            found.append(LayerChange(number, layer.diff_id, size, verdict, same))
            continue
        heir = heirs[number]
        changes = [*_changes(fresh[number], heir, gone), *removals.get(number, ())]
        verdict = _verdict(changes, fresh[number], gone.get(heir or 0, {}))
        members = tuple(_member_changes(fresh[number], heir, gone))
        found.append(
            LayerChange(number, layer.diff_id, size, verdict, heir, tuple(changes), remembered, members)
        )
    return tuple(found)


def _read(image: ImageSource, index: int) -> _Contents:
    found: _Contents = {}
    name = f"{image.name}: layer {index + 1}"
    with image.layer(index) as stream:
        for member, content in members(stream, name):
            facts = None
            if content is not None and is_boot_file(member.path):
                facts = facts_of_boot_file(member.path, content.read)
            digest = None if content is None else content.sha256()
            found[member.path] = (member, digest, None if facts is None else facts.initramfs)
    found.pop("", None)
    return found


def _counterpart(contents: _Contents, gone: Mapping[int, _Contents]) -> int | None:
    def shared(number: int) -> int:
        other = gone[number]
        return sum(
            path in other for path, (member, *_) in contents.items() if member.kind is not Kind.DIRECTORY
        )

    best = max(gone, key=lambda number: (shared(number), -number), default=None)
    return best if best is not None and shared(best) else None


def _removals(
    gone: Mapping[int, _Contents], heirs: Mapping[int, int | None], present: set[str]
) -> dict[int, list[Change]]:
    """Map a new layer to the removals of its counterpart: paths that are in no new layer that was read."""
    found: dict[int, list[Change]] = {}
    done: set[int] = set()
    for number, heir in heirs.items():
        if heir is None or heir in done:
            continue
        done.add(heir)
        found[number] = [
            Change(path, REMOVED, KIND_NAMES[member.kind])
            for path, (member, *_) in gone[heir].items()
            if path not in present
        ]
    return found


def _changes(contents: _Contents, heir: int | None, gone: Mapping[int, _Contents]) -> Iterator[Change]:
    order = [number for number in sorted(gone, reverse=True) if number != heir]
    order = order if heir is None else [heir, *order]
    ancestors = {path.rpartition("/")[0] for path in contents}
    for path, entry in contents.items():
        layer = next((number for number in order if path in gone[number]), None)
        if layer is None:
            if path not in ancestors:
                yield Change(path, ADDED, None, KIND_NAMES[entry[0].kind])
            continue
        differing = list(_differences(path, gone[layer][path], entry))
        yield from differing
        if layer != heir and not differing and path not in ancestors:
            yield Change(path, MOVED, str(layer))


def _differences(path: str, old: _Entry, new: _Entry) -> Iterator[Change]:
    (a, hash_a, _), (b, hash_b, _) = old, new
    if a.kind is not b.kind:
        yield Change(path, "type", KIND_NAMES[a.kind], KIND_NAMES[b.kind])
        return
    if a.link != b.link:
        yield Change(path, "links", a.link, b.link)
    elif hash_a != hash_b:
        yield Change(path, "content", f"{a.size} bytes", f"{b.size} bytes")
    if a.target != b.target:
        yield Change(path, "target", a.target, b.target)
    if a.rdev != b.rdev:
        yield Change(path, "device", str(a.rdev), str(b.rdev))
    if a.mode != b.mode and a.kind is not Kind.SYMLINK:
        yield Change(path, "mode", f"{a.mode:04o}", f"{b.mode:04o}")
    if (a.uid, a.gid) != (b.uid, b.gid):
        yield Change(path, "owner", f"{a.uid}:{a.gid}", f"{b.uid}:{b.gid}")
    if a.xattrs != b.xattrs:
        one, two = dict(a.xattrs), dict(b.xattrs)
        names = sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
        yield Change(
            path, "xattrs", ", ".join(n for n in names if n in one), ", ".join(n for n in names if n in two)
        )
    if a.mtime != b.mtime:
        yield Change(path, "mtime", str(a.mtime), str(b.mtime))


def _verdict(changes: list[Change], contents: _Contents, counterpart: _Contents) -> str:
    kinds = {change.what for change in changes}
    if kinds & CONTENT_CHANGES:
        return CONTENT
    if kinds & METADATA_CHANGES:
        return METADATA
    return REWRITTEN if contents.keys() == counterpart.keys() else REPACKED


def _is_recompressed(old: ImageSource, old_number: int, new: ImageSource, number: int) -> bool:
    one = old.record.layers[old_number - 1].descriptor
    two = new.record.layers[number - 1].descriptor
    if one is None or two is None or one.digest == two.digest:
        return False
    # Local storage exports layers uncompressed; the blob in a registry may be the same.
    return PLAIN not in (old.compression(old_number - 1), new.compression(number - 1))


def metadata_only(layers: Sequence[LayerChange]) -> list[tuple[int, str, str]]:
    """Return (number of the layer, path, what differs) of the paths whose metadata alone changed."""
    found = []
    for layer in layers:
        content = set(layer.paths(*CONTENT_CHANGES))
        changed: dict[str, list[str]] = {}
        for change in layer.changes:
            if change.what in METADATA_CHANGES and change.path not in content:
                values = [str(value) for value in (change.old, change.new)]
                old, new = map(time_text, values) if change.what == "mtime" else values
                changed.setdefault(change.path, []).append(f"{change.what} {old} → {new}")
        found += [(layer.number, path, ", ".join(texts)) for path, texts in changed.items()]
    return found


def _of(verdict: str) -> Any:
    def run(layers: tuple[LayerChange, ...]) -> Iterator[Finding]:
        for layer in layers:
            if layer.verdict == verdict:
                fix = REMEMBERED if layer.remembered and verdict == REPACKED else None
                yield Finding(_message(layer), layer.paths(*_shown(verdict)), fix=fix)

    return run


def _shown(verdict: str) -> tuple[str, ...]:
    return {METADATA: tuple(METADATA_CHANGES), CONTENT: tuple(CONTENT_CHANGES)}.get(verdict, ())


def _message(layer: LayerChange) -> str:
    size = "" if layer.size is None else f", {human_size(layer.size)}"
    was = "" if layer.old is None else f" (was {layer.old})"
    counts = ", ".join(f"{what} {count}" for what, count in layer.counts.items())
    paths = plural(len(layer.paths(*METADATA_CHANGES)), "path")
    texts = {
        METADATA: f"only metadata of {paths} changed ({counts})",
        CONTENT: f"content changed ({counts})",
        REPACKED: f"the same files, which lay in other layers{f' ({counts})' if counts else ''}",
        REWRITTEN: "the same entries, in another order or another form of tar",
        RECOMPRESSED: "the same tar, compressed differently",
    }
    return f"layer {layer.number}{was}{size}: {texts[layer.verdict]}"


def _member_changes(
    contents: _Contents, heir: int | None, gone: Mapping[int, _Contents]
) -> Iterator[MemberChange]:
    """Yield the changes of the members of each initramfs that has another content, those of content first."""
    order = sorted(gone, key=lambda number: (number != heir, -number))
    for path, (_, digest, new) in contents.items():
        old = next((gone[number][path] for number in order if path in gone[number]), None)
        if new is not None and old is not None and old[2] is not None and digest != old[1]:
            # What could not be read may be there all the same.
            unknown = {"added"} if old[2].fault is not None else set()
            unknown |= {"removed"} if new.fault is not None else set()
            changes = differing_members(old[2], new).items()
            for member, what in sorted(changes, key=lambda item: item[1] in _OF_BUILDS):
                if what not in unknown:
                    yield MemberChange(path, member, what)


def _members(layers: tuple[LayerChange, ...]) -> Iterator[Finding]:
    for layer in layers:
        for path, several in groupby(layer.members, lambda change: change.path):
            changes = list(several)
            paths = tuple(f"{path}!{change.member}: {change.what}" for change in changes)
            text = f"layer {layer.number}: {plural(len(paths), 'member')} of /{path} not as before"
            other = sum(change.what not in _OF_BUILDS for change in changes)
            if other:
                yield Finding(f"{text}, {other} in more than time and inode", paths, Severity.NOTE)
            else:
                yield Finding(f"{text}, in time or inode alone", paths, fix=_REPRODUCIBLE)


_OF_BUILDS = ("mtime", "inode", "mtime, inode")
"""Differences of members that have no effect on the machine that boots."""
_REPRODUCIBLE = "make it reproducible: `rechunk-podman lint NEW --only initramfs-reproducible` says how"


CHECKS = (
    Check(
        "metadata-only-layer",
        Severity.WARNING,
        "no layer is new for its metadata alone",
        "Clients download and unpack the whole layer although no file in it changed.",
        "set what differs to a constant: build with SOURCE_DATE_EPOCH (and --timestamp or "
        "--rewrite-timestamp), avoid chmod, chown and touch over what is right already, keep user and "
        "group ids fixed; or let rechunk-podman write the layers, which makes times constant",
        _of(METADATA),
    ),
    Check(
        "recompressed-layer",
        Severity.WARNING,
        "no layer is only compressed anew",
        "The registry names a layer by the digest of the compressed blob: another compressor, level or "
        "version makes clients download what they have.",
        "keep one version of the compressor, or name the previous image when the new one is written: "
        "--previous",
        _of(RECOMPRESSED),
    ),
    Check(
        "rewritten-layer",
        Severity.WARNING,
        "no layer is only written in another form",
        "The same entries in another order, or with other tar headers (fractions of seconds, PAX "
        "records), give another digest.",
        "write layers with one tool of one version; names of users and fractions of seconds do not belong "
        "in them",
        _of(REWRITTEN),
    ),
    Check(
        "repacked-layer",
        Severity.NOTE,
        "files stay in their layers",
        "A plan that moves unchanged files between layers makes clients download them again. After a "
        "change in the layers that are downloaded anyway it costs nothing.",
        "plan with memory: --previous IMAGE (and not --fresh)",
        _of(REPACKED),
    ),
    Check(
        "changed-layer",
        Severity.NOTE,
        "changed content in the layers that are new",
        "These downloads carry something new.",
        "nothing; `rechunk-podman diff` says which packages it is",
        _of(CONTENT),
    ),
    Check(
        "initramfs-members",
        Severity.WARNING,
        "no new initramfs with the old members",
        "The initramfs is one large file: clients download all of it for each member that differs.",
        "keep the named members the same, where nothing is new in them (initramfs-version, "
        "initramfs-reproducible)",
        _members,
    ),
)
