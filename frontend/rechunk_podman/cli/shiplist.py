"""An image list of local storage into registries: each image by its digest, then one index over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rechunk_podman.cli.console import print_json, write_line
from rechunk_podman.cli.identify import Identity
from rechunk_podman.cli.prepare import for_platform, request_of
from rechunk_podman.cli.progress import progress_bar
from rechunk_podman.cli.ship import Shipping, after_push, previous_of, publish, push_document
from rechunk_podman.errors import UsageError

if TYPE_CHECKING:
    from rechunk_podman.build.previous import Previous
    from rechunk_podman.programs.podman import Podman
    from rechunk_podman.split.request import Request


Job = tuple[Shipping, "Request", "Previous | None"]
"""How one image of the list is pushed: access to its platform's images, what is split, the image before."""


def require_push(name: str, count: int, shipping: Shipping, config: Path | None) -> None:
    """Raises UsageError where a list of `count` images is not pushed, or one config is to serve all."""
    if not shipping.push:
        raise UsageError(
            f"{name} is a list of {count} images",
            hint="push it whole: --push docker://REPO:TAG; or split one of its images, by id or name",
        )
    if config is not None:
        raise UsageError(
            f"--config FILE is for one image, and {name} is a list of {count}",
            hint="--label and --annotation change all of them",
        )


def jobs_of(
    members: Sequence[str],
    service: Podman,
    flags: tuple[str, ...],
    workdir: str | None,
    shipping: Shipping,
    identity: Identity,
) -> list[Job]:
    """What is to be done for each image (by id) of a list; each has its own image before, by its platform.

    Raises:
        RechunkError: as previous_of() and request_of().
    """
    target = str(shipping.push[0])
    jobs: list[Job] = []
    for member in members:
        image = service.resolve(member)
        own = replace(shipping, registry=for_platform(shipping.registry, image))
        before, _ = previous_of(own, service, target)
        jobs.append((own, request_of(image, target, before, None, None, flags, workdir, identity), before))
    return jobs


def publish_list(
    name: str,
    shipping: Shipping,
    jobs: Sequence[Job],
    *,
    as_json: bool,
) -> None:
    """Does the jobs, each for one platform of the list `name`, and prints what was pushed.

    The tags move with the index, after everything else.

    Raises:
        UsageError: two are for one platform; nothing is pushed then. RechunkError: as publish().
    """
    from rechunk_podman.oci.reference import Pinned
    from rechunk_podman.publish import index as multiarch

    seen: dict[str | None, str] = {}
    for own, request, _ in jobs:
        other = seen.setdefault(own.registry.platform, request.image.id)
        if other != request.image.id:
            raise UsageError(
                f"the list {name} has two images for {own.registry.platform}",
                context=[other, request.image.id],
                hint="an index holds one image for each platform: podman manifest remove",
            )
    repository = shipping.push[0].repository
    instances, images = [], []
    with progress_bar() as progress:
        for own, request, before in jobs:
            published = publish(own, request, before, progress, by_digest=True)
            one = multiarch.Instance(
                published.record, str(Pinned(repository, published.digest)), published.digest
            )
            instances.append(one)
            document = push_document(own, published, request.image.id)
            del document["pushed"]
            images.append({"platform": one.platform_name, **document})
        digest = multiarch.publish_index(
            instances,
            shipping.push,
            shipping.registry,
            workdir=jobs[0][1].workdir,
            tick=lambda: progress("pushing", 0, 0),
        )
    if as_json:
        pushed = [str(target) for target in shipping.push]
        print_json({"digest": digest, "pushed": pushed, "images": images})
    else:
        write_line(digest)
    after_push(shipping.push, digest, shipping.digestfile, sign_hint=shipping.sign_hint)
