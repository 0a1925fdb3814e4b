"""Access to registries: credentials, TLS and platform as one value, which callers pass on.

Sources: containers-auth.json(5), containers-certs.d(5), skopeo-inspect(1).
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rechunk_podman.errors import UsageError
from rechunk_podman.oci.reference import DOCKER, host_of
from rechunk_podman.programs.process import CommandError, run
from rechunk_podman.programs.work import work_directory
from rechunk_podman.registry.answers import explained, is_busy
from rechunk_podman.registry.retry import retry
from rechunk_podman.registry.waiting import Wait

TIMEOUT = 60
"""Seconds for which a registry may be silent. Load balancers in front of one hardly wait longer, either."""


@dataclass(frozen=True, slots=True)
class Registry:
    """The access to registries.

    tls_verify: False allows HTTP and untrusted certificates; None: as registries.conf says.
    authfile: the file of containers-auth.json(5); None: the defaults of the tools.
    creds: USER:PASSWORD, used instead of any file.
    host: the one registry that creds are for; None: all registries.
    own_authfile: a file with the creds, see private_credentials().
    platform: [OS/]ARCH[/VARIANT] to choose from an index; None: the platform of this machine.
    cert_dir: directory of client certificates and authorities, as skopeo's --cert-dir takes it.
    timeout: seconds for which a registry may be silent, and that one document may take.
    env: the environment of the tools; None: that of this process.
    """

    tls_verify: bool | None = None
    authfile: str | None = None
    creds: str | None = field(default=None, repr=False)
    platform: str | None = None
    cert_dir: str | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)
    host: str | None = None
    own_authfile: str | None = None
    timeout: int = TIMEOUT

    def __post_init__(self) -> None:
        """Raise UsageError if the credentials are not USER:PASSWORD."""
        if self.creds is not None and not all(self.creds.partition(":")[:2]):
            raise UsageError(
                "the credentials are not USER:PASSWORD",
                hint="--creds USER:PASSWORD, or RECHUNK_CREDS, which keeps them off the command line",
            )

    def only_for(self, repository: str) -> Registry:
        """Return the same access, with its credentials limited to the registry of that repository."""
        return replace(self, host=host_of(repository))

    def authfile_for(self, repository: str) -> str | None:
        """Return the file with the credentials for a repository."""
        own = self.own_authfile is not None and self.host == host_of(repository)
        return self.own_authfile if own else self.authfile


DEFAULT = Registry()


@contextmanager
def skopeo_options(repository: str, registry: Registry) -> Iterator[tuple[list[str], list[str]]]:
    """Yield skopeo's options for a repository, and the strings that must not appear in logs.

    A password is passed in a private file, because every user can read the arguments of a process.
    """
    with private_credentials(registry, repository) as private:
        authfile = private.authfile_for(repository)
        values = (
            ("tls-verify", None if private.tls_verify is None else str(private.tls_verify).lower()),
            ("cert-dir", private.cert_dir),
            ("authfile", authfile),
        )
        secrets: list[str] = []
        if registry.creds is not None and authfile == private.own_authfile:
            secrets = [registry.creds, registry.creds.partition(":")[2], _token(registry.creds)]
        yield [f"--{name}={value}" for name, value in values if value is not None], secrets


def sided(option: str, side: str) -> str:
    """Return an option of skopeo_options() in its form for the source or destination (skopeo-copy(1))."""
    return option.replace("--", f"--{side}-", 1)


@contextmanager
def private_credentials(registry: Registry, repository: str) -> Iterator[Registry]:
    """Yield the same access, usable in any directory, with the credentials in a file private to this user.

    The file (0600, containers-auth.json(5)) is removed in the end.

    Args:
        repository: the credentials are for its registry.
    """
    registry = replace(registry, authfile=_absolute(registry.authfile), cert_dir=_absolute(registry.cert_dir))
    if registry.creds is None:
        yield registry
        return
    host = registry.host or host_of(repository)
    with work_directory(tempfile.gettempdir()) as folder:
        path = os.path.join(folder, "auth.json")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"auths": {host: {"auth": _token(registry.creds)}}}, file)
        yield replace(registry, creds=None, host=host, own_authfile=path)


def _token(creds: str) -> str:
    return base64.b64encode(creds.encode("utf-8", "surrogateescape")).decode()


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())


def ask_skopeo(
    command: Sequence[str], name: str, repository: str, registry: Registry, *, reference: str | None = None
) -> bytes:
    """Return the output of a skopeo command about a name in a registry; retry while the registry is busy.

    Args:
        command: `inspect` or `list-tags`, with its options.
        name: with tag or digest, without `docker://`.
        reference: a text for messages; the name by default.

    Raises:
        RechunkError: as explained().
    """
    reference = reference or DOCKER + name
    with skopeo_options(repository, registry) as (options, secrets):
        words = ["skopeo", f"--command-timeout={registry.timeout}s", *command, *options, DOCKER + name]
        wait = Wait(repository, f"read {reference}", registry.timeout)
        try:
            return retry(
                lambda: (
                    run(words, env=registry.env, secrets=secrets, tick=wait.tick, started=wait.started).stdout
                ),
                f"read {reference}",
                lambda error: is_busy(error, repository),
            )
        except CommandError as error:
            raise explained(reference, repository, error) from error
