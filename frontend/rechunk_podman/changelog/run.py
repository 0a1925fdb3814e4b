"""Compare two images by reference for a changelog: packages, the download, commits."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from rechunk_podman.changelog.compare import NOTABLE, package_changes
from rechunk_podman.changelog.document import REVISION_LABEL, Changelog, Side
from rechunk_podman.changelog.installed import Packages, databases_of, of_ledger, of_root, with_embedded
from rechunk_podman.errors import NamespaceRequiredError, RechunkError
from rechunk_podman.explain.download import compare
from rechunk_podman.explain.inspect import ImageFacts
from rechunk_podman.explain.run import inspect
from rechunk_podman.images import open_root
from rechunk_podman.oci.reference import LocationKind, locate
from rechunk_podman.programs.git import commits_or_none
from rechunk_podman.registry.access import DEFAULT, Registry
from rechunk_podman.rootfs.root import Root

log = logging.getLogger(__name__)


def changelog(
    old: str,
    new: str,
    registry: Registry = DEFAULT,
    *,
    notable: Sequence[str] = NOTABLE,
    git: str | None = None,
    revision: str | None = None,
) -> Changelog:
    """Return the changes from the image `old` to the image `new`.

    Args:
        notable: globs of packages that are listed first.
        git: the directory of a repository that holds both revisions; its commits are listed.
        revision: the revision of `new`; by default its label gives it.

    Raises:
        RechunkError: as `image_documents()`. NamespaceRequiredError: as `images.open_root()`.
        UsageError: a revision is malformed. ToolError: git is not installed.
    """
    before, now = inspect(old, registry), inspect(new, registry)
    installed = [
        installed_packages(old, before, registry),
        installed_packages(new, now, registry),
    ]
    ledgers = before.complete_ledger, now.complete_ledger
    if None not in ledgers:
        for index, ledger in enumerate(ledgers):
            if ledger is not None and (found := installed[index]) is not None:
                installed[index] = with_embedded(found, ledger)
    start = before.record.config.labels.get(REVISION_LABEL)
    end = revision or now.record.config.labels.get(REVISION_LABEL)
    commits = None
    if git is not None and start and end:
        commits = commits_or_none(git, start, end)
    elif git is not None:
        log.warning("no commits: the label %s is not on both images", REVISION_LABEL)
    changes = package_changes(installed[0], installed[1], notable)
    return Changelog(Side.of(before), Side.of(now), changes, compare(before, now), commits, installed[1])


def of_facts(old: ImageFacts, new: ImageFacts) -> Changelog:
    """Return the changes between two images as far as their documents tell; packages are those of ledgers."""
    ledgers = old.complete_ledger, new.complete_ledger
    before, now = (None if ledger is None else of_ledger(ledger) for ledger in ledgers)
    return Changelog(Side.of(old), Side.of(new), package_changes(before, now), compare(old, new), None, now)


def installed_packages(reference: str, facts: ImageFacts, registry: Registry = DEFAULT) -> Packages | None:
    """Return the packages of an image, as far as they are known without fetching layers; None if unknown.

    Raises:
        NamespaceRequiredError: as `images.open_root()`.
    """
    found: Packages | None = None
    if locate(reference)[0] not in (LocationKind.REGISTRY, LocationKind.DOCUMENT):
        try:
            found = _read_databases(reference, registry)
        except NamespaceRequiredError:
            raise
        except RechunkError as error:
            log.warning("%s: its packages are not known by its databases: %s", reference, error.message)
    if found is not None and (found.binary or found.sources):
        return found
    return None if facts.complete_ledger is None else of_ledger(facts.complete_ledger)


def _read_databases(reference: str, registry: Registry) -> Packages:
    with open_root(reference, registry, is_image=True) as opened:
        if isinstance(opened.files, Root):
            return of_root(opened.files)
        with databases_of(opened.files) as root:
            return of_root(root)
