"""The content of a changelog as one value, and as a JSON document. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rechunk_podman.changelog.compare import PackageChanges
from rechunk_podman.changelog.installed import Packages
from rechunk_podman.explain.documents import date_text, download_document
from rechunk_podman.explain.download import Update
from rechunk_podman.explain.inspect import ImageFacts

VERSION_LABEL = "org.opencontainers.image.version"
REVISION_LABEL = "org.opencontainers.image.revision"


class Commit(Protocol):
    """A commit, as programs/git.py returns it."""

    @property
    def short(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def author(self) -> str: ...
    @property
    def subject(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two images. version, revision: from its labels, "" if it has none. created: RFC 3339."""

    name: str
    version: str
    revision: str
    created: str | None
    digest: str | None

    @classmethod
    def of(cls, facts: ImageFacts) -> Side:
        """Return the image that the facts describe."""
        config = facts.record.config
        created = None if config.created is None else date_text(config.created)
        labels = config.labels
        version, revision = labels.get(VERSION_LABEL, ""), labels.get(REVISION_LABEL, "")
        return cls(facts.name, version, revision, created, facts.record.digest)

    def to_json(self) -> dict[str, Any]:
        """Return its part of the JSON document."""
        return {
            "name": self.name,
            "version": self.version or None,
            "revision": self.revision or None,
            "created": self.created,
            "digest": self.digest,
        }


@dataclass(frozen=True, slots=True)
class Changelog:
    """The content of a changelog.

    commits: None if no repository was given, or it does not hold both revisions.
    installed: the packages of the new image; None if they are unknown.
    """

    old: Side
    new: Side
    packages: PackageChanges
    update: Update
    commits: Sequence[Commit] | None = None
    installed: Packages | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the document of `changelog --json`."""
        download = {
            **download_document(self.update),
            "of_bytes": self.update.new.size,
            "of_layers": len(self.update.layers),
        }
        commits = None
        if self.commits is not None:
            commits = [
                {"short": c.short, "hash": c.hash, "author": c.author, "subject": c.subject}
                for c in self.commits
            ]
        return {
            "old": self.old.to_json(),
            "new": self.new.to_json(),
            "packages": {
                "level": self.packages.level,
                "unchanged": self.packages.unchanged,
                "changes": [change.to_json() for change in self.packages.changes],
            },
            "download": download,
            "commits": commits,
            "notes": list(self.update.notes),
        }
