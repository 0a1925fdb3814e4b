"""From an OCI layout into registries: one upload, more tags by digest, complete copies elsewhere.

skopeo carries everything. It asks the repository for each blob before it opens the layout's, so a layout
without the blobs that are there already can be pushed to that repository, and to no other. What is pushed
keeps its digest, byte for byte.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from rechunk_podman.errors import RechunkError, ToolError, UsageError
from rechunk_podman.oci import reference as names
from rechunk_podman.oci import spec
from rechunk_podman.oci.spec import Digest
from rechunk_podman.programs.process import CommandError, run
from rechunk_podman.registry.documents import DOCKER, Registry, credentials_file, options_of
from rechunk_podman.registry.retry import DENIED, PASSING, TLS, TLS_HINT, again
from rechunk_podman.split.in_place import LOST_BLOB

log = logging.getLogger(__name__)

_TIME = re.compile(r'^time="[^"]*" level=\S+ msg=')


class Target(NamedTuple):
    """`docker://REPOSITORY:TAG`, where an image goes."""

    repository: str
    tag: str

    def __str__(self) -> str:
        return f"{DOCKER}{self.repository}:{self.tag}"

    @classmethod
    def parse(cls, text: str) -> Target:
        """A reference without a digest; the tag is latest where there is none.

        Raises:
            UsageError: it is something else.
        """
        if not text.startswith(DOCKER):
            raise UsageError(f"not a registry reference: {text}", hint="docker://REGISTRY/NAME:TAG")
        name = names.parse(text.removeprefix(DOCKER))
        if name.digest is not None:
            raise UsageError(
                f"nothing can be pushed to a digest: {text}", hint=f"{DOCKER}{name.repository}:TAG"
            )
        return cls(name.repository, name.tag or "latest")


@dataclass(frozen=True, slots=True)
class Pinned:
    """`docker://REPOSITORY@DIGEST`, one image for good."""

    repository: str
    digest: Digest

    def __str__(self) -> str:
        return f"{DOCKER}{self.repository}@{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Pinned:
        """A reference with a digest and without a tag.

        Raises:
            UsageError: it is something else.
        """
        hint = "docker://REGISTRY/NAME@sha256:… (split --push prints the digest)"
        if not text.startswith(DOCKER):
            raise UsageError(f"not a registry reference: {text}", hint=hint)
        name = names.parse(text.removeprefix(DOCKER))
        if name.digest is None or name.tag is not None:
            raise UsageError(f"not a digest reference: {text}", hint=hint)
        try:
            return cls(name.repository, spec.digest(name.digest))
        except RechunkError as error:
            raise UsageError(f"not a digest reference: {text}", context=[error.message], hint=hint) from error


class LostBlobsError(ToolError):
    """The repository lacks blobs that the layout, too, leaves out."""

    def __init__(self, target: Target | Pinned, digests: Iterable[Digest]) -> None:
        self.digests = tuple(digests)
        super().__init__(
            f"{target} lacks layers of the previous image",
            context=self.digests,
            hint="--no-reuse writes and uploads every layer",
        )


@contextmanager
def private_credentials(registry: Registry, repository: str) -> Iterator[Registry]:
    """The same access for use in any directory, with --creds in a file that only this user can read.

    Arguments of a process are there for everybody to read. The file goes again.

    Args:
        repository: whose registry the credentials are for.
    """
    registry = replace(registry, authfile=_absolute(registry.authfile), cert_dir=_absolute(registry.cert_dir))
    if registry.creds is None:
        yield registry
        return
    host = registry.host or names.host_of(repository)
    with credentials_file(host, registry.creds) as path:
        yield replace(registry, creds=None, host=host, own_authfile=path)


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())


def push(
    layout: str,
    targets: Sequence[Target],
    digest: Digest,
    registry: Registry,
    *,
    cwd: str,
    whole_index: bool = False,
    tick: Callable[[], None] | None = None,
) -> None:
    """Uploads the image of a layout under the first target, and gives it the others.

    Args:
        layout: path, relative to cwd, without a colon.
        digest: of its manifest or, with whole_index, of the index that it holds.

    Raises:
        LostBlobsError: the repository lacks a blob that the layout leaves out. Nothing was tagged.
        ToolError: skopeo is missing or failed; the registry denied it, or took something else.
    """
    first, *others = targets
    copy(f"oci:{layout}", first, digest, registry, cwd=cwd, whole_index=whole_index, tick=tick)
    retag(Pinned(first.repository, digest), others, registry, whole_index=whole_index, tick=tick)


def retag(
    source: Pinned,
    targets: Sequence[Target],
    registry: Registry,
    *,
    whole_index: bool = True,
    tick: Callable[[], None] | None = None,
) -> None:
    """Gives an image in a registry more names. In its own repository nothing but the manifest is uploaded.

    Raises:
        ToolError: as push().
    """
    for target in targets:
        copy(str(source), target, source.digest, registry, whole_index=whole_index, tick=tick)


def promote(image: str, tags: Sequence[str], registry: Registry) -> tuple[Pinned, list[Target]]:
    """Give an image, named by its digest, more tags in its repository; return it and the new names.

    Raises:
        UsageError: the image is not named by its digest, or a tag is malformed. ToolError: as push().
    """
    source = Pinned.parse(image)
    targets = []
    for tag in tags:
        if names.parse(f"{source.repository}:{tag}").tag != tag:
            raise UsageError(f"not a tag: {tag!r}", hint="letters, digits, `.`, `_` and `-`")
        targets.append(Target(source.repository, tag))
    with private_credentials(registry, source.repository) as private:
        retag(source, targets, private)
    return source, targets


def copy(
    source: str,
    target: Target | Pinned,
    digest: Digest,
    registry: Registry,
    *,
    cwd: str | None = None,
    whole_index: bool = False,
    tick: Callable[[], None] | None = None,
) -> None:
    """`skopeo copy`, the digest preserved and compared; failures that may pass are tried again, aloud.

    Raises:
        LostBlobsError: a layout lacks a blob. ToolError: as push().
    """
    there = names.parse(source.removeprefix(DOCKER)).repository if source.startswith(DOCKER) else None
    with (
        options_of(target.repository, registry) as (options, secrets),
        options_of(there or target.repository, registry) as (reading, more),
        tempfile.TemporaryDirectory(prefix="rechunk-podman-") as folder,
    ):
        file = os.path.join(folder, "digest")
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests"]
        command += ["--all"] if whole_index else []
        command += [_sided(option, "dest") for option in options]
        command += [_sided(option, "src") for option in reading] if there else []
        command += [f"--digestfile={file}", source, str(target)]
        for attempt in itertools.count(1):
            try:
                run(command, env=registry.env, cwd=cwd, secrets=[*secrets, *more], tick=tick)
                break
            except CommandError as error:
                doing, stays = f"push {target}", "; what was uploaded stays"
                if not (_may_pass(error) and again(attempt, doing, _reason(error), stays)):
                    raise _explained(target, error) from error
        with open(file) as said:
            pushed = said.read().strip()
    if pushed != digest:
        raise ToolError(
            f"{target} is not what was to be pushed",
            context=[f"pushed {pushed}, not {digest}"],
            hint="is something in between rewriting manifests?",
        )
    log.info("pushed %s, %s", target, digest)


def _sided(option: str, side: str) -> str:
    """skopeo-copy(1): each option about registries once for the source, once for the destination."""
    return option.replace("--", f"--{side}-", 1)


def _said(error: CommandError) -> str:
    """What skopeo said, without the command line (which names hosts and ports)."""
    return "\n".join(line for line in error.context if not line.startswith("command: "))


def _reason(error: CommandError) -> str:
    lines = _said(error).splitlines()
    return _TIME.sub("", lines[-1]) if lines else error.message


def _may_pass(error: CommandError) -> bool:
    said = _said(error)
    return error.status > 0 and not LOST_BLOB.search(said) and PASSING.search(said) is not None


def _explained(target: Target | Pinned, error: CommandError) -> ToolError:
    said = _said(error)
    lost = LOST_BLOB.findall(said)
    if lost:
        return LostBlobsError(target, [Digest(f"sha256:{name}") for name in lost])
    if error.status > 0 and DENIED.search(said):
        return ToolError(
            f"the registry does not let this user push {target}",
            context=[_reason(error)],
            hint="log in (podman login), or give --authfile FILE or RECHUNK_CREDS=USER:PASSWORD",
        )
    if error.status > 0 and TLS.search(said):
        return ToolError(
            f"no trusted connection to the registry of {target}", context=[_reason(error)], hint=TLS_HINT
        )
    hint = (
        error.hint or "that tag has not moved: run the same command again, it goes on where this one stopped"
    )
    return ToolError(f"cannot push {target}", context=[error.message, *error.context], hint=hint)
