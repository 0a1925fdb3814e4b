"""The values of lint: a check, its subject, its findings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from rechunk_podman.boot.initramfs import Initramfs
from rechunk_podman.model import Entry, Kind, Tree
from rechunk_podman.oci.documents import ImageRecord
from rechunk_podman.rootfs.paths import canonical


class Severity(IntEnum):
    """The severities of findings, in ascending order."""

    NOTE = 0
    WARNING = 1
    ERROR = 2

    def __str__(self) -> str:
        return self.name.lower()


class Facts(NamedTuple):
    """The facts that checks need about the content of a file (lint/content.py).

    text: the content of one of the few files that checks read whole.
    recorded: the mtime (modulo 2**32) of a .py that its timestamped .pyc records.
    wal: the file is an SQLite database in WAL mode.
    keys: the kinds of private keys in it.
    tokens: the kinds of tokens and passwords in it.
    initramfs: its members, if it is an initramfs or a UKI with one.
    seal: the argument composefs= in the command line of a UKI.
    """

    text: bytes | None = None
    recorded: int | None = None
    wal: bool = False
    keys: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    initramfs: Initramfs | None = None
    seal: str | None = None


class Buried(NamedTuple):
    """A file with secrets in a layer (counted from 0); an upper layer may hide it."""

    layer: int
    path: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class Subject:
    """An image or a root filesystem, as the checks see it.

    facts: path -> Facts of its content, for files with any.
    sha256: return the digest of a package database by path; None if there is no such file.
    record: the documents of the image; None for a directory.
    buried: the files with secrets in all layers; none for a directory.
    bootable: the image is one of ostree or bootc.
    zstd_chunked: the image is, or will be, pushed as zstd:chunked.
    """

    name: str
    tree: Tree
    facts: Mapping[str, Facts]
    sha256: Callable[[str], bytes | None]
    record: ImageRecord | None = None
    buried: tuple[Buried, ...] = ()
    bootable: bool = False
    zstd_chunked: bool = False

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of the image; none for a directory."""
        return {} if self.record is None else self.record.config.labels

    def find(self, path: str) -> str | None:
        """Return the canonical path of a file; follow symlinks inside the image, the last one too."""
        found = canonical(self.tree, path)
        for _ in range(8):
            entry = None if found is None else self.tree.get(found)
            if found is None or entry is None or entry.kind is not Kind.SYMLINK or entry.target is None:
                return found
            folder = "" if entry.target.startswith("/") else found.rpartition("/")[0]
            found = canonical(self.tree, f"{folder}/{entry.target}")
        return None

    def text(self, path: str) -> str | None:
        """Return the content of a file that checks read whole, symlinks followed; None if it is absent."""
        found = self.find(path)
        facts = None if found is None else self.facts.get(found)
        return None if facts is None or facts.text is None else facts.text.decode("utf-8", "replace")

    def below(self, directory: str) -> Iterator[tuple[str, Entry]]:
        """Yield (path, Entry) for everything below a directory (canonical, without slashes at its ends)."""
        tree = self.tree
        below = tree.below(directory)
        paths = tree.paths[below.start : below.stop]
        return ((path, tree.entry(position)) for path, position in zip(paths, below, strict=True))

    def paths(self, *kinds: Kind) -> list[str]:
        """Return the paths of entries of these kinds, in order; a hard link is a file."""
        positions = np.flatnonzero(np.isin(self.tree.column("kind"), kinds))
        return self.tree.paths_at(positions)

    def files(self, pattern: re.Pattern[str]) -> list[str]:
        """Return the paths of regular files that match a pattern from their beginning, in order."""
        return list(filter(pattern.match, self.paths(Kind.FILE)))


class Finding(NamedTuple):
    """One fault. paths: without the leading slash. severity, fix: None for those of the check."""

    message: str
    paths: tuple[str, ...] = ()
    severity: Severity | None = None
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A named check.

    severity: the default severity of its findings, and the highest one.
    summary: the required state. why: the harm if the image is not in it. fix: the remedy.
    run: yield findings about a Subject; a check of an update (lint/layers.py) takes a tuple of LayerChange.
    """

    name: str
    severity: Severity
    summary: str
    why: str
    fix: str
    run: Callable[[Any], Iterable[Finding]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """A finding, and its check."""

    check: Check
    finding: Finding

    @property
    def severity(self) -> Severity:
        """The severity of the finding, else that of the check."""
        return self.check.severity if self.finding.severity is None else self.finding.severity

    @property
    def fix(self) -> str:
        """The remedy of the finding, else that of the check."""
        return self.check.fix if self.finding.fix is None else self.finding.fix

    def to_json(self) -> dict[str, Any]:
        """Return its part of the JSON document (docs/lint.md)."""
        return {
            "check": self.check.name,
            "severity": str(self.severity),
            "message": self.finding.message,
            "paths": ["/" + path for path in self.finding.paths],
            "why": self.check.why,
            "fix": self.fix,
        }
