"""`rechunk-podman index`: one name for the images of several platforms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rechunk_podman.cli.console import print_json, set_up_logging, write_line
from rechunk_podman.cli.progress import progress_bar
from rechunk_podman.cli.references import (
    AuthfileOption,
    CertDirOption,
    CredsOption,
    TlsVerifyOption,
    registry_of,
)
from rechunk_podman.cli.ship import DigestfileOption, SignHintOption, after_push, require_places


def index(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="REF...", help="Images and indexes of them: docker://REPO@DIGEST (or :TAG), oci:DIR."
        ),
    ],
    push: Annotated[
        list[str],
        typer.Option(
            metavar="docker://REPO:TAG", help="Where the index goes, and images that are not there."
        ),
    ],
    digestfile: DigestfileOption = None,
    sign_by_digest_hint: SignHintOption = False,
    tls_verify: TlsVerifyOption = None,
    authfile: AuthfileOption = None,
    creds: CredsOption = None,
    cert_dir: CertDirOption = None,
    workdir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="For temporary files, else TMPDIR or /var/tmp.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv everything.")
    ] = 0,
) -> None:
    """Push an index over images of several platforms, each as it is, with its own record."""
    set_up_logging(verbose)
    from rechunk_podman.publish import index as multiarch
    from rechunk_podman.publish.push import Target

    targets = [Target.parse(text) for text in push]
    require_places(digestfile=digestfile)
    registry = registry_of(tls_verify, authfile, creds, None, cert_dir).only_for(targets[0].repository)
    instances = [one for reference in images for one in multiarch.instances(reference, registry)]
    with progress_bar() as progress:
        digest = multiarch.publish_index(
            instances,
            targets,
            registry,
            workdir=None if workdir is None else str(workdir.absolute()),
            tick=lambda: progress("pushing", 0, 0),
        )
    if as_json:
        found = [{"platform": one.platform_name, "digest": one.digest} for one in instances]
        print_json({"digest": digest, "pushed": [str(target) for target in targets], "images": found})
    else:
        write_line(digest)
    after_push(targets, digest, digestfile, sign_hint=sign_by_digest_hint)
