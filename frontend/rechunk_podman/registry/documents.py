"""Images by reference, wherever they are: their documents alone, no layer is fetched or unpacked.

REF is a name in local storage, `containers-storage:NAME`, `docker://…`, `oci:DIR[:TAG]`,
`oci-archive:FILE[:TAG]`, `docker-archive:FILE[:TAG]`, or a path: of a layout, an archive, or a file with the
saved config of an image.

Sources: containers-transports(5), containers-auth.json(5), skopeo-inspect(1); image-spec image-index.md.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from rechunk_podman.errors import ImageError, RechunkError, ToolError, UsageError
from rechunk_podman.oci import reference as names
from rechunk_podman.oci.config import ImageConfig
from rechunk_podman.oci.documents import (
    INDEXES,
    ImageRecord,
    image_record,
    parse_index,
    parse_manifest,
    parse_object,
    sha256_of,
)
from rechunk_podman.oci.read.image import (
    MAX_DEPTH,
    MAX_DOCUMENT,
    OCI,
    TRANSPORTS,
    is_layout,
    open_image,
    parse_reference,
)
from rechunk_podman.programs.process import CommandError, run, which
from rechunk_podman.registry import retry as answers
from rechunk_podman.registry.retry import DeniedError, MissingImageError, UnreachableError

log = logging.getLogger(__name__)

STORAGE = "containers-storage:"
DOCKER = "docker://"
ELSEWHERE = ("dir:", "docker-daemon:", "ostree:", "sif:", "tarball:")

REGISTRY_SECONDS = 120
"""How long skopeo may take for one document."""

_THERE = "name a local image, docker://NAME, oci:DIR, an archive or a saved config"


@dataclass(frozen=True, slots=True)
class Registry:
    """How to talk to registries.

    tls_verify: whether HTTPS and its certificates are insisted upon; None: as registries.conf says.
    authfile: of containers-auth.json(5); None: where the tools look. creds: USER:PASSWORD, before any file.
    host: the one registry that creds are for; None: whichever is asked. own_authfile: a file with the creds.
    platform: [OS/]ARCH[/VARIANT] to choose from an index; None: that of this machine.
    cert_dir: of client certificates and authorities, as skopeo's --cert-dir takes it.
    env: for the tools; None: this process's own.
    """

    tls_verify: bool | None = None
    authfile: str | None = None
    creds: str | None = field(default=None, repr=False)
    platform: str | None = None
    cert_dir: str | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)
    host: str | None = None
    own_authfile: str | None = None

    def __post_init__(self) -> None:
        """Raises UsageError where the credentials are not of that form."""
        if self.creds is not None and not all(self.creds.partition(":")[:2]):
            raise UsageError(
                "the credentials are not USER:PASSWORD",
                hint="--creds USER:PASSWORD, or RECHUNK_CREDS, which keeps them off the command line",
            )

    def only_for(self, repository: str) -> Registry:
        """The same, its credentials for the registry of that repository alone."""
        return replace(self, host=names.host_of(repository))

    def authfile_for(self, repository: str) -> str | None:
        """The file of credentials for a repository."""
        own = self.own_authfile is not None and self.host == names.host_of(repository)
        return self.own_authfile if own else self.authfile


DEFAULT = Registry()


class Place(Enum):
    """Where a reference points to."""

    REGISTRY = "registry"
    STORAGE = "local storage"
    IMAGE = "layout or archive"
    DOCUMENT = "saved config"
    DIRECTORY = "directory"


def locate(text: str) -> tuple[Place, str]:
    """What a reference names: the place, and the name there (of an image: with its transport, if known).

    Files and directories are looked at, nothing else is. What is no path that exists is a name in storage.

    Raises:
        UsageError: it is empty, of a transport that cannot be read in place, or a path where nothing is.
    """
    if text.startswith(DOCKER):
        return Place.REGISTRY, text.removeprefix(DOCKER)
    if text.startswith(ELSEWHERE):
        raise UsageError(f"cannot read {text} in place", hint="copy it here first: skopeo copy … oci:DIR")
    if text.startswith(STORAGE):
        return Place.STORAGE, text.removeprefix(STORAGE)
    if text.partition(":")[0] in TRANSPORTS:
        return Place.IMAGE, text
    if not text:
        raise UsageError("an image reference is empty", hint="give a name, docker://NAME or oci:DIR")
    reference = parse_reference(text)
    path = Path(reference.path)
    if path.is_dir() and is_layout(path):
        return Place.IMAGE, f"{OCI}:{text}"
    if path.is_file():
        return (Place.DOCUMENT if reference.tag is None and _is_json(path) else Place.IMAGE), text
    if path.is_dir() and reference.tag is None:
        return Place.DIRECTORY, text
    if text.startswith(("/", "./", "../")):
        raise MissingImageError(f"no such file or directory: {text}", hint=_THERE)
    return Place.STORAGE, text


def _locate_image(text: str) -> tuple[Place, str]:
    """As locate(), for what has to be an image: a name in storage may be that of a directory here, too."""
    place, name = locate(text)
    if place is not Place.DIRECTORY:
        return place, name
    if name.startswith(("/", "./", "../")) or name.endswith("/"):
        raise UsageError(f"a directory, and no OCI layout: {name}", hint="name an image")
    return Place.STORAGE, name


def image_documents(reference: str, registry: Registry = DEFAULT) -> ImageRecord:
    """The documents of the image that `reference` names (see the top of this module).

    Raises:
        MissingImageError: there is none.
        DeniedError, UnreachableError: what the registry said.
        UsageError: the reference is malformed, or names no image.
        ImageError: the image is damaged. ToolError: a tool is missing or failed.
    """
    place, name = _locate_image(reference)
    if place is Place.REGISTRY:
        return _from_registry(reference, name, registry)
    if place is Place.STORAGE:
        return _from_storage(reference, name)
    try:
        if place is Place.DOCUMENT:
            return image_record(reference, None, _read(Path(name)))
        if not Path(parse_reference(name).path).exists():
            raise MissingImageError(f"no such file or directory: {parse_reference(name).path}", hint=_THERE)
        with open_image(name) as image:
            return replace(image.record, name=reference)
    except OSError as error:
        raise ImageError(f"cannot read {reference}", context=[str(error)]) from error


def previous_documents(reference: str, registry: Registry = DEFAULT) -> ImageRecord | None:
    """image_documents() of the image before this one, which may not be there, or not be what it should.

    A warning says so: the plan is one without memory then. A registry that cannot be reached is an error all
    the same, since the memory that lies there would be lost for every later image.

    Raises:
        UsageError: the reference is malformed. UnreachableError: the registry did not answer.
        ToolError: a tool is missing or failed.
    """
    malformed = _malformed(reference)
    if malformed is not None:
        raise malformed
    try:
        return image_documents(reference, registry)
    except UnreachableError as error:
        raise UnreachableError(
            error.message,
            context=error.context,
            hint=f"{error.hint}; --fresh plans without the previous image",
        ) from error
    except DeniedError as error:
        problem: RechunkError = error
    except ToolError:
        raise
    except RechunkError as error:
        problem = error
    log.warning("no previous image: %s", "; ".join((problem.message, *problem.context[:1])))
    log.warning("the layers are planned without memory: this update downloads more than usual")
    return None


def _malformed(reference: str) -> UsageError | None:
    """Why this can never be a reference; None where it can."""
    try:
        place, name = _locate_image(reference)
        if place in (Place.REGISTRY, Place.STORAGE):
            names.parse(name.removeprefix("@"))
        if place is Place.IMAGE and not parse_reference(name).path:
            return UsageError(
                f"no path: {reference}", hint="oci:DIR, oci-archive:FILE or docker-archive:FILE"
            )
    except MissingImageError:
        return None
    except UsageError as error:
        return error
    return None


def _is_json(path: Path) -> bool:
    """Whether a file begins as a JSON object or list does."""
    try:
        with path.open("rb") as file:
            return file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")
    except OSError:
        return False


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_DOCUMENT + 1)
    if len(data) > MAX_DOCUMENT:
        raise ImageError(f"{path} is larger than {MAX_DOCUMENT} bytes", hint="no image config is")
    return data


def _from_storage(reference: str, name: str) -> ImageRecord:
    identity = name.removeprefix("@")
    names.parse(identity)
    if which("podman") is None:
        raise ToolError(
            f"podman, in whose storage {reference} would be, is not installed",
            hint="install it, or name an image elsewhere: docker://NAME, oci:DIR, or a file with its config",
        )
    # podman-py and what it brings take longer to import than all of ours
    from rechunk_podman.programs import podman

    with podman.connect() as service:
        try:
            image = service.resolve(identity)
        except UsageError as error:
            raise MissingImageError(error.message, context=error.context, hint=error.hint) from error
    return image_record(reference, image.manifest, image.config)


def _from_registry(reference: str, name: str, registry: Registry) -> ImageRecord:
    parsed = names.parse(name)
    with options_of(parsed.repository, registry) as (options, secrets):

        def ask(what: str, *more: str) -> bytes:
            return _ask(reference, what, more, options, secrets, registry)

        manifest = ask(name)
        if parsed.digest:
            _check(manifest, parsed.digest, f"the manifest of {reference}")
        for _ in range(MAX_DEPTH):
            document = parse_object(manifest, f"the manifest of {reference}")
            if document.get("mediaType") not in INDEXES and "manifests" not in document:
                break
            chosen = choose_platform(manifest, reference, registry.platform)
            manifest = ask(f"{parsed.repository}@{chosen}")
            _check(manifest, chosen, f"the manifest of {reference}")
        described = parse_manifest(manifest, f"the manifest of {reference}").config
        # By digest: the tag may move between two questions.
        config = ask(f"{parsed.repository}@{sha256_of(manifest)}", "--config")
        _check(config, described.digest, f"the config of {reference}")
    return image_record(reference, manifest, config)


def top_document(reference: str, registry: Registry = DEFAULT) -> bytes:
    """What a reference into a registry names itself, verbatim: a manifest or an index.

    Raises:
        RechunkError: as image_documents().
    """
    parsed = names.parse(reference.removeprefix(DOCKER))
    with options_of(parsed.repository, registry) as (options, secrets):
        data = _ask(reference, str(parsed), [], options, secrets, registry)
    if parsed.digest:
        _check(data, parsed.digest, f"the manifest of {reference}")
    return data


def _ask(
    reference: str, what: str, more: Sequence[str], options: list[str], secrets: list[str], registry: Registry
) -> bytes:
    command = ["inspect", *more, "--raw", *options, DOCKER + what]
    return ask(reference, names.parse(what).repository, command, secrets, registry)


def ask(
    reference: str, repository: str, command: Sequence[str], secrets: Sequence[str], registry: Registry
) -> bytes:
    """What skopeo reads from a registry; tried again, aloud, where that is there and could not answer.

    Args:
        reference: what is read, for people. command: skopeo's, with its options.

    Raises:
        RechunkError: as answers.explained().
    """
    words = ["skopeo", f"--command-timeout={REGISTRY_SECONDS}s", *command]
    for attempt in itertools.count(1):
        try:
            return run(words, env=registry.env, secrets=secrets).stdout
        except CommandError as error:
            reason = answers.busy(error, repository)
            if reason is None or not answers.again(attempt, f"read {reference}", reason):
                raise answers.explained(reference, repository, error) from error
    raise AssertionError("unreachable")


def _check(data: bytes, digest: str, name: str) -> None:
    if sha256_of(data) != digest:
        raise ImageError(
            f"{name} is not the one that was asked for",
            context=[f"it is {sha256_of(data)}, not {digest}"],
            hint="the registry is broken, or somebody in between changes what it says",
        )


def choose_platform(index: bytes, name: str, platform: str | None = None) -> str:
    """The digest of the image for a platform, from an image index (image-index.md, "platform").

    Args:
        platform: [OS/]ARCH[/VARIANT]; None: that of this machine.

    Raises:
        ImageError: the index is none. MissingImageError: it holds no image for the platform.
    """
    wanted = ImageConfig().with_architecture(platform)
    found = parse_index(index, f"the index of {name}")
    fitting = [
        (descriptor, entry)
        for descriptor, entry in found
        if (entry.get("os"), entry.get("architecture")) == (wanted.os, wanted.architecture)
    ]
    exact = [(d, entry) for d, entry in fitting if (entry.get("variant") or None) == wanted.variant]
    for descriptor, _ in exact or fitting:
        return descriptor.digest
    there = sorted({f"{entry.get('os')}/{entry.get('architecture')}" for _, entry in found if entry})
    raise MissingImageError(
        f"{name} has no image for {wanted.os}/{wanted.architecture}",
        context=[f"it has: {', '.join(there[:12])}"] if there else [],
        hint="name another with --arch, or one image by its digest",
    )


@contextmanager
def options_of(repository: str, registry: Registry) -> Iterator[tuple[list[str], list[str]]]:
    """skopeo's options, and what has to stay out of logs.

    A password goes by a private file: arguments of a process are there for everybody to read.
    """
    options = []
    if registry.tls_verify is not None:
        options.append(f"--tls-verify={str(registry.tls_verify).lower()}")
    if registry.cert_dir is not None:
        options.append(f"--cert-dir={registry.cert_dir}")
    host = names.host_of(repository)
    if registry.creds is None or registry.host not in (None, host):
        authfile = registry.authfile_for(repository)
        yield options + ([] if authfile is None else [f"--authfile={authfile}"]), []
        return
    with credentials_file(host, registry.creds) as path:
        password, token = registry.creds.partition(":")[2], _token(registry.creds)
        yield [*options, f"--authfile={path}"], [registry.creds, password, token]


@contextmanager
def credentials_file(host: str, creds: str) -> Iterator[str]:
    """A private file (0600) as containers-auth.json(5) says, with USER:PASSWORD for one registry."""
    with tempfile.TemporaryDirectory(prefix="rechunk-podman-") as folder:
        path = os.path.join(folder, "auth.json")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"auths": {host: {"auth": _token(creds)}}}, file)
        yield path


def _token(creds: str) -> str:
    return base64.b64encode(creds.encode("utf-8", "surrogateescape")).decode()
