"""The parts of the container tools' configuration that decide how a registry is reached.

Sources: containers-registries.conf(5), containers-certs.d(5).
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from rechunk_podman.oci.reference import host_of
from rechunk_podman.registry.access import Registry
from rechunk_podman.registry.credentials import OnlySkopeoError

_RULES = re.compile(r"^[ \t]*\[(?:\[\s*registry\s*\]|registries\.(?:insecure|block)\])", re.MULTILINE)
"""The beginning of a rule for one registry: another location, a mirror, HTTP, or a block."""


def require_direct(registry: Registry) -> None:
    """Raise OnlySkopeoError if any registries.conf has rules for registries."""
    for path in _configurations(os.environ if registry.env is None else registry.env):
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        if _RULES.search(text):
            raise OnlySkopeoError(f"{path} has rules for registries")


def _configurations(env: Mapping[str, str]) -> Iterator[Path]:
    if chosen := env.get("CONTAINERS_REGISTRIES_CONF"):
        yield Path(chosen)
        return
    folders = [Path("/etc/containers"), Path("/usr/share/containers")]
    if home := env.get("HOME"):
        folders.append(Path(env.get("XDG_CONFIG_HOME") or f"{home}/.config", "containers"))
    for folder in folders:
        yield folder / "registries.conf"
        yield from sorted((folder / "registries.conf.d").glob("*.conf"))


def tls_context(repository: str, registry: Registry) -> ssl.SSLContext:
    """Return the TLS context for the registry of a repository, with its authorities and client certificate.

    Raises:
        OnlySkopeoError: a certificate cannot be read.
    """
    context = ssl.create_default_context()
    if registry.tls_verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    host = host_of(repository)
    env = os.environ if registry.env is None else registry.env
    bases = [f"{env['HOME']}/.config/containers"] if env.get("HOME") else []
    bases += ["/etc/containers", "/etc/docker"]
    places = [registry.cert_dir] if registry.cert_dir else [f"{base}/certs.d/{host}" for base in bases]
    folder = next((Path(place) for place in places if Path(place).is_dir()), None)
    try:
        for path in sorted(folder.iterdir()) if folder else ():
            if path.suffix == ".crt":
                context.load_verify_locations(path)
            elif path.suffix == ".cert":
                context.load_cert_chain(path, path.with_suffix(".key"))
    except OSError as error:  # SSLError is one
        raise OnlySkopeoError(f"cannot read the certificates in {folder}", context=[str(error)]) from error
    return context
