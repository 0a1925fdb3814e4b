"""Credentials for a repository, from the authentication files of the container tools.

Source: containers-auth.json(5). skopeo finds more: those of credential helpers, and identity tokens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rechunk_podman.errors import RechunkError
from rechunk_podman.oci.reference import host_of
from rechunk_podman.registry.access import Registry

_DOCKER_HUB = "https://index.docker.io/v1/"
"""The key for docker.io in files of docker."""


class OnlySkopeoError(RechunkError):
    """A registry, or its credentials, that skopeo alone can use."""


def credentials(repository: str, registry: Registry) -> str | None:
    """Return `USER:PASSWORD` in base64 for a repository; None if no file has an entry for it.

    Raises:
        OnlySkopeoError: a credential helper or an identity token is configured; a file is malformed.
    """
    env = os.environ if registry.env is None else registry.env
    own = registry.authfile_for(repository)
    for path in [Path(own)] if own is not None else list(_files(env)):
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            raise OnlySkopeoError(f"cannot read {path}", context=[str(error)]) from error
        token = find(document, repository)
        if token is not None:
            return token
    return None


def find(document: Any, repository: str) -> str | None:
    """Return the entry for a repository in an authentication file: that of the longest fitting prefix.

    Raises:
        OnlySkopeoError: see credentials().
    """
    if not isinstance(document, dict):
        raise OnlySkopeoError("an authentication file holds no object")
    auths, helpers = document.get("auths") or {}, document.get("credHelpers") or {}
    if not isinstance(auths, dict) or not isinstance(helpers, dict):
        raise OnlySkopeoError("an authentication file is malformed")
    host = host_of(repository)
    if host in helpers or document.get("credsStore"):
        raise OnlySkopeoError(f"a credential helper has the credentials for {host}")
    for key in _keys(repository, host):
        entry = auths.get(key)
        if not isinstance(entry, dict):
            continue
        if entry.get("identitytoken"):
            raise OnlySkopeoError(f"there is an identity token for {host}")
        secret = entry.get("auth")
        if isinstance(secret, str) and secret:
            # it goes into a header of HTTP as it is
            if not (secret.isascii() and secret.isprintable()):
                raise OnlySkopeoError(f"the credentials for {host} are not in base64")
            return secret
    return None


def _keys(repository: str, host: str) -> Iterator[str]:
    """Yield the keys of a repository, the longest first."""
    name = repository
    while "/" in name:
        yield name
        name = name.rpartition("/")[0]
    yield from (host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/")
    if host == "docker.io":
        yield _DOCKER_HUB


def _files(env: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files in which skopeo looks by default, in its order."""
    if chosen := env.get("REGISTRY_AUTH_FILE"):
        yield Path(chosen)
        return
    user = env.get("_CONTAINERS_ROOTLESS_UID") or str(os.geteuid())
    runtime = env.get("XDG_RUNTIME_DIR")
    yield Path(f"{runtime}/containers" if runtime else f"/run/containers/{user}", "auth.json")
    home = env.get("HOME")
    if home:
        yield Path(env.get("XDG_CONFIG_HOME") or f"{home}/.config", "containers/auth.json")
        yield Path(env.get("DOCKER_CONFIG") or f"{home}/.docker", "config.json")
