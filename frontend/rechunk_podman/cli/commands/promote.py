"""`rechunk-podman promote`: more tags for an image that was tested, by its digest."""

from __future__ import annotations

from typing import Annotated

import typer

from rechunk_podman.cli.console import print_json, set_up_logging, write_line
from rechunk_podman.cli.references import (
    AuthfileOption,
    CertDirOption,
    CredsOption,
    TlsVerifyOption,
    registry_of,
)
from rechunk_podman.errors import UsageError


def promote(
    image: Annotated[
        str, typer.Argument(metavar="docker://REPO@DIGEST", help="The image, by its digest and no other way.")
    ],
    tags: Annotated[list[str], typer.Argument(metavar="TAG...", help="New tags in the same repository.")],
    tls_verify: TlsVerifyOption = None,
    authfile: AuthfileOption = None,
    creds: CredsOption = None,
    cert_dir: CertDirOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv everything.")
    ] = 0,
) -> None:
    """Give an image in a registry more tags; it keeps its digest, and nothing else is uploaded."""
    set_up_logging(verbose)
    from rechunk_podman.oci import reference as names
    from rechunk_podman.publish import push

    source = push.Pinned.parse(image)
    targets = []
    for tag in tags:
        if names.parse(f"{source.repository}:{tag}").tag != tag:
            raise UsageError(f"not a tag: {tag!r}", hint="letters, digits, `.`, `_` and `-`")
        targets.append(push.Target(source.repository, tag))
    registry = registry_of(tls_verify, authfile, creds, None, cert_dir)
    with push.private_credentials(registry, source.repository) as private:
        push.retag(source, targets, private)
    if as_json:
        print_json({"digest": source.digest, "pushed": [str(target) for target in targets]})
    else:
        for target in targets:
            write_line(f"{target} {source.digest}")
