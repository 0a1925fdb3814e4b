"""Options of the commands that read images by reference, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rechunk_podman.errors import UsageError

if TYPE_CHECKING:
    from rechunk_podman.registry.access import Registry

PreviousOption = Annotated[
    str | None,
    typer.Option(
        metavar="REF",
        envvar="RECHUNK_PREVIOUS",
        help="The image before this one: a local name, docker://NAME, oci:DIR, an archive or a saved config.",
    ),
]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Plan without memory, whatever earlier images recorded.")
]
NoLedgerOption = Annotated[
    bool, typer.Option("--no-ledger", help="Record nothing in the image for the next one.")
]
TlsVerifyOption = Annotated[
    str | None,
    typer.Option(
        "--tls-verify",
        metavar="true|false",
        envvar="RECHUNK_TLS_VERIFY",
        help="Insist on HTTPS and valid certificates of registries.",
    ),
]
AuthfileOption = Annotated[
    str | None,
    typer.Option(metavar="FILE", envvar="REGISTRY_AUTH_FILE", help="Where credentials for registries are."),
]
CredsOption = Annotated[
    str | None,
    typer.Option(
        metavar="USER:PASSWORD",
        envvar="RECHUNK_CREDS",
        show_envvar=True,
        help="For the registry, the first --push's where there are several; better in RECHUNK_CREDS.",
    ),
]


CertDirOption = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        envvar="RECHUNK_CERT_DIR",
        help="Certificates for registries: *.crt of authorities, *.cert and *.key of yours.",
    ),
]
StateOption = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="What you pushed; an image that is in it needs no verification."),
]
VerifyPreviousOption = Annotated[
    bool | None,
    typer.Option(
        "--verify-previous/--no-verify-previous",
        help="Fetch and hash the blobs that are reused; default: unless REF has a digest or is in the state.",
    ),
]
ReuseOption = Annotated[
    bool, typer.Option("--reuse/--no-reuse", help="Name unchanged blobs of the previous image again.")
]


def registry_of(
    tls_verify: str | None,
    authfile: str | None,
    creds: str | None,
    platform: str | None = None,
    cert_dir: str | None = None,
    *,
    references: Sequence[str] = (),
) -> Registry:
    """The options above as a Registry.

    Args:
        references: what is asked for; the credentials are for the first registry among them alone.

    Raises:
        UsageError: a value is not what it should be.
    """
    from rechunk_podman.oci import reference as names
    from rechunk_podman.oci.reference import DOCKER
    from rechunk_podman.registry.access import Registry

    if tls_verify not in (None, "true", "false"):
        raise UsageError(
            f"neither true nor false: {tls_verify!r}", hint="--tls-verify=false, or leave it out"
        )
    registry = Registry(
        tls_verify=None if tls_verify is None else tls_verify == "true",
        authfile=authfile,
        creds=creds,
        platform=platform,
        cert_dir=cert_dir,
    )
    for reference in references:
        if reference.startswith(DOCKER):
            return registry.only_for(names.parse(reference.removeprefix(DOCKER)).repository)
    return registry
