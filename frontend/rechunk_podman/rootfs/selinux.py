"""SELinux labels from the policy in a root filesystem: file_contexts and the files beside it.

Sources: selabel_file(5) (the files, substitutions, file types, <<none>>), libselinux's label_file.c
(expressions are anchored; the last one that matches wins). Lines without a metacharacter win over all others;
of two for one path, as libselinux 3.8 does it, the one with a file type wins, then the first.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rechunk_podman.errors import RootfsError
from rechunk_podman.model import Kind, Tree
from rechunk_podman.patterns import compile_later
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.xattrs import SELINUX_LABEL, Xattrs

log = logging.getLogger("rechunk_podman")

_OWN = "user.selinux"
"""The attribute by which a path states its own label."""
_NONE = b"<<none>>"
_MAX_FILE = 4 << 20
"""Bytes of the largest file_contexts; that of Fedora has 0.4 MB."""
_MAX_EXPRESSION = 1024
_MAX_EXPRESSIONS = 30_000
_MAX_SHOWN = 80
"""Bytes of the longest expression that a message names."""
_MAX_TEXT = 1 << 20
"""Bytes of all expressions together: each takes much longer to compile than to read."""
_MAX_STEPS = 100_000_000
"""Steps that the comparison of one path with one expression may take; other paths do not match it."""
_CONFIGS = ("etc/selinux", "usr/etc/selinux")
_KINDS = {
    b"--": Kind.FILE,
    b"-d": Kind.DIRECTORY,
    b"-l": Kind.SYMLINK,
    b"-c": Kind.CHAR,
    b"-b": Kind.BLOCK,
    b"-p": Kind.FIFO,
}
_SOCKET = b"-s"
_META = compile_later(rb"[.^$?*+|\[({]")
_DOTTED = rb"(\.[^/]*)*"
"""A usual end of an expression, which matches the same with `?` in place of the last `*`, in less time."""
_TOKEN = compile_later(rb"(\\.|\[\^?\]?[^\]]*\]|.)((?:[*+?]|\{[0-9,]*\})\??)?", re.DOTALL)
"""A part of an expression, and its quantifier."""
_LEVELS = (b"(/.*)?", b"(.*/)?")
"""Parts that begin or end at a slash."""
_CLASSES = {
    b"[:alnum:]": b"0-9A-Za-z",
    b"[:alpha:]": b"A-Za-z",
    b"[:digit:]": b"0-9",
    b"[:lower:]": b"a-z",
    b"[:upper:]": b"A-Z",
    b"[:xdigit:]": b"0-9A-Fa-f",
    b"[:space:]": rb"\s",
}


class _Cost(NamedTuple):
    """The estimated cost of the comparison of a path with an expression, at most.

    steps: without repetitions: each optional part doubles them, the alternatives of a group multiply them.
    anywhere, levels, names: the number of repetitions that end anywhere, at a slash, within a name.
    """

    steps: int
    anywhere: int = 0
    levels: int = 0
    names: int = 0

    def longest(self) -> int:
        """Return the length of paths that take at most _MAX_STEPS steps, whatever they are."""
        count = self.anywhere + self.levels + self.names
        return int((_MAX_STEPS / self.steps) ** (1 / count)) if count else _MAX_FILE

    def allows(self, path: bytes) -> bool:
        """Return True if the comparison with a path takes at most _MAX_STEPS steps."""
        parts = path.split(b"/")
        size: int = (
            len(path) ** self.anywhere * len(parts) ** self.levels * max(map(len, parts)) ** self.names
        )
        return self.steps * size <= _MAX_STEPS


_NO_COST = _Cost(1)


class _Spec(NamedTuple):
    """A line of file_contexts. order: the larger wins. prefix: begins every path that it matches.

    covers: it matches the prefix and every path below it; if it ends in a slash, the latter alone.
    expression: None for the prefix itself.
    cost: of the expression. longest: cost.longest().
    """

    order: int
    prefix: bytes
    covers: bool
    expression: re.Pattern[bytes] | None
    kind: Kind | None
    label: bytes
    cost: _Cost = _NO_COST
    longest: int = _MAX_FILE


class FileContexts:
    """The labels of a policy.

    Args:
        contexts: the contents of file_contexts, .homedirs and .local, in this order.
        local, distributed: the contents of .subs and .subs_dist.
    """

    def __init__(self, contexts: Sequence[bytes], local: bytes = b"", distributed: bytes = b"") -> None:
        self._substitutions = [_substitutions(local), _substitutions(distributed)]
        self._exact: dict[bytes, list[_Spec]] = {}
        self._below: dict[bytes, list[_Spec]] = {}
        self._directories: dict[bytes, tuple[list[_Spec], list[_Spec]]] = {}
        for spec in _parse(contexts):
            if spec.expression is None:
                self._exact.setdefault(spec.prefix, []).append(spec)
            else:
                self._below.setdefault(spec.prefix.rpartition(b"/")[0], []).append(spec)

        for several in self._exact.values():
            several.sort(key=lambda spec: spec.kind is None)

    def label(self, path: bytes, kind: Kind) -> bytes | None:
        """Return the label of an absolute path, None if the policy gives it none."""
        for several in self._substitutions:
            path = _substituted(path, several)
        for spec in self._exact.get(path, ()):
            if spec.kind is None or spec.kind is kind:
                return None if spec.label == _NONE else spec.label
        for spec in self._candidates(path):
            if (spec.kind is None or spec.kind is kind) and (
                (spec.covers and path[len(spec.prefix) :][:1] in (b"/", b""))
                or (
                    spec.expression is not None
                    and (len(path) <= spec.longest or spec.cost.allows(path))
                    and spec.expression.match(path)
                )
            ):
                return None if spec.label == _NONE else spec.label
        return None

    def _candidates(self, path: bytes) -> Iterable[_Spec]:
        """Return the lines that may match a path, the winning ones first."""
        directory = path.rpartition(b"/")[0]
        found = self._directories.get(directory)
        if found is None:
            found = self._of_directory(directory)
            self._directories[directory] = found
        within, above = found
        own = [spec for spec in within if path.startswith(spec.prefix)]
        return sorted([*own, *above], key=_order) if own else above

    def _of_directory(self, directory: bytes) -> tuple[list[_Spec], list[_Spec]]:
        """Return the lines that begin with a directory and part of a name, and those that begin with less."""
        full = directory + b"/"
        within = [spec for spec in self._below.get(directory, ()) if spec.prefix != full]
        above = [spec for spec in self._below.get(directory, ()) if spec.prefix == full]
        at = directory
        while at:
            at = at.rpartition(b"/")[0]
            above += [spec for spec in self._below.get(at, ()) if full.startswith(spec.prefix)]
        above.sort(key=_order)
        for position, spec in enumerate(above):
            if spec.covers and spec.kind is None and _is_below(full, spec.prefix):
                return within, above[: position + 1]
        return within, above


def _order(spec: _Spec) -> int:
    return -spec.order


def _is_below(directory: bytes, prefix: bytes) -> bool:
    return directory.startswith(prefix if prefix.endswith(b"/") else prefix + b"/")


def _parse(contexts: Sequence[bytes]) -> list[_Spec]:
    found = []
    broken = []
    lines = [line for text in contexts for line in text.splitlines()]
    count = size = 0
    for order, line in enumerate(lines):
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        if len(words) not in (2, 3) or len(words[0]) > _MAX_EXPRESSION:
            broken.append(words[0][:_MAX_SHOWN])
            continue
        kind = None
        if len(words) == 3:
            if words[1] == _SOCKET:
                continue
            kind = _KINDS.get(words[1])
            if kind is None:
                broken.append(words[0])
                continue
        text, label = words[0], words[-1]
        prefix, rest = _fixed(text)
        if not rest:
            found.append(_Spec(order, prefix, False, None, kind, label))
            continue
        text = text.replace(_DOTTED, _DOTTED[:-1] + b"?")
        for name, members in _CLASSES.items():
            text = text.replace(name, members)
        cost = _cost(text)
        count, size = count + 1, size + len(text)
        if cost is None or count > _MAX_EXPRESSIONS or size > _MAX_TEXT:
            broken.append(words[0])
            continue
        try:
            with warnings.catch_warnings():
                # of sets that a later Python may read in another way
                warnings.simplefilter("ignore", FutureWarning)
                expression = re.compile(rb"(?:" + text + rb")\Z", re.DOTALL)
        except (re.error, OverflowError, RecursionError):
            broken.append(words[0])
            continue
        covers = rest == b"(/.*)?" or (rest == b".*" and prefix.endswith(b"/"))
        found.append(_Spec(order, prefix, covers, expression, kind, label, cost, cost.longest()))
    if broken:
        shown = b", ".join(broken[:3]).decode("utf-8", "replace")
        log.warning("file_contexts: %d lines are not understood: %s", len(broken), shown)
    return found


def _cost(text: bytes) -> _Cost | None:
    """Return the cost of an expression; None if there is no bound, or it has extensions of Perl.

    There is no bound if a repeated part can match texts of several lengths.
    """
    levels = 0
    for part in _LEVELS:
        levels += text.count(part)
        text = text.replace(part, b"")
    steps, anywhere, names = 1 << min(levels, 30), 0, 0
    # of each open group: its alternatives, and whether it can match texts of several lengths
    alternatives, varies = [1], [False]
    for token, quantifier in _TOKEN.findall(text):
        repeated = quantifier[:1] in (b"*", b"+", b"{") and not quantifier[1:-1].isdigit()
        inner = False
        if token == b"(":
            if quantifier:
                return None
            alternatives.append(1)
            varies.append(False)
        elif token == b"|":
            alternatives[-1] += 1
            varies[-1] = True
        elif token == b")" and len(varies) > 1:
            steps *= alternatives.pop()
            inner = varies.pop()
        if quantifier and inner and quantifier[:1] != b"?":
            return None
        steps *= 2 if quantifier[:1] == b"?" else 1
        anywhere += repeated and token != b"[^/]"
        names += repeated and token == b"[^/]"
        varies[-1] |= inner or repeated or quantifier[:1] == b"?"
        if steps > _MAX_STEPS:
            return None
    # a repetition at the end takes what is left
    anywhere -= text.endswith((b".*", b".*)", b".*)?"))
    return _Cost(steps * alternatives[0], max(anywhere, 0), levels, names)


def _fixed(text: bytes) -> tuple[bytes, bytes]:
    """Return the text that begins every match of an expression, and the rest of the expression."""
    found = bytearray()
    at = 0
    while at < len(text):
        if text[at : at + 1] == b"\\":
            following = text[at + 1 : at + 2]
            if not following or following.isalnum():
                break
            piece, size = following, 2
        elif _META.match(text, at):
            break
        else:
            piece, size = text[at : at + 1], 1
        if text[at + size : at + size + 1] in (b"?", b"*", b"{"):
            break
        found += piece
        at += size
    rest = text[at:]
    return (
        (b"", text)
        if b"|" in re.sub(rb"\([^()]*\)", b"", re.sub(rb"\([^()]*\)", b"", rest))
        else (bytes(found), rest)
    )


def _substitutions(text: bytes) -> list[tuple[bytes, bytes]]:
    """Return (path, its substitute), those of the last lines first."""
    pairs = [line.split() for line in text.splitlines() if not line.lstrip().startswith(b"#")]
    return [(pair[0], pair[1]) for pair in reversed(pairs) if len(pair) == 2]


def _substituted(path: bytes, several: list[tuple[bytes, bytes]]) -> bytes:
    for old, new in several:
        if path.startswith(old) and path[len(old) : len(old) + 1] in (b"/", b""):
            return (new.rstrip(b"/") + path[len(old) :]) or b"/"
    return path


def label_by_policy(root: Root, tree: Tree) -> None:
    """Give every path of a Tree the label of its policy; see label_tree() and load()."""
    count = label_tree(tree, load(root))
    log.info("selinux: %d of %d paths have a label", count, len(tree) + 1)


def without_root_label(tree: Tree) -> None:
    """Take the label of `/` away: on disk, the storage driver gave it."""
    kept = tuple(item for item in tree.root.xattrs if item[0] != SELINUX_LABEL)
    tree.root = tree.root._replace(xattrs=kept)


def load(root: Root) -> FileContexts:
    """Return the labels of the policy that /etc/selinux/config names.

    Raises:
        RootfsError: there is no policy, or a file of it is unreadable.
    """
    for top in _CONFIGS:
        config = _read(root, f"{top}/config")
        named = re.search(rb"^[ \t]*SELINUXTYPE[ \t]*=[ \t]*([\w.-]+)", config or b"", re.MULTILINE)
        if named is None:
            continue
        base = f"{top}/{named[1].decode('ascii', 'replace')}/contexts/files/file_contexts"
        contexts = _read(root, base)
        if contexts is not None:
            more = [
                _read(root, f"{base}.{name}") or b"" for name in ("homedirs", "local", "subs", "subs_dist")
            ]
            return FileContexts([contexts, *more[:2]], more[2], more[3])
    raise RootfsError(
        "there is no SELinux policy: no /etc/selinux/config, or no file_contexts of the policy that it names",
        hint="install the policy (selinux-policy-targeted, selinux-policy-default), or leave out the option",
    )


def _read(root: Root, path: str) -> bytes | None:
    """Return the content of a file; None if there is none."""
    found = root.resolve(path)
    directory, _, name = found.rpartition("/")
    return root.read(found, _MAX_FILE) if name in root.names(directory) else None


def label_tree(tree: Tree, contexts: FileContexts) -> int:
    """Give every path of a Tree and `/` its label, in place of any that it has; return the number of labels.

    The attribute user.selinux of a path wins.
    """
    kinds = tree.column("kind").tolist()
    count = 0
    known: dict[tuple[Xattrs, bytes | None], Xattrs] = {}

    def labelled(path: str, kind: Kind, xattrs: Xattrs) -> Xattrs:
        nonlocal count
        own = next((value.rstrip(b"\0") for name, value in xattrs if name == _OWN), None)
        label = own or contexts.label(b"/" + os.fsencode(path), kind)
        count += label is not None
        if (xattrs, label) not in known:
            rest = [item for item in xattrs if item[0] != SELINUX_LABEL]
            with_label = [*rest, (SELINUX_LABEL, label + b"\0")] if label is not None else rest
            known[xattrs, label] = tuple(sorted(with_label))
        return known[xattrs, label]

    tree.root = tree.root._replace(xattrs=labelled("", Kind.DIRECTORY, tree.root.xattrs))
    for position, path in enumerate(tree.paths):
        target, rdev, xattrs = tree.more.get(position, (None, None, ()))
        new = labelled(path, Kind(kinds[position]), xattrs)
        if new or target is not None or rdev is not None:
            tree.more[position] = (target, rdev, new)
        else:
            tree.more.pop(position, None)
    return count
