"""Pull an image that the user names by `docker://NAME` into local storage, before it is split."""

from __future__ import annotations

import logging
from collections.abc import Callable

from rechunk_podman.log import note
from rechunk_podman.oci import reference as names
from rechunk_podman.oci.config import ImageConfig
from rechunk_podman.oci.platform import platform_name
from rechunk_podman.oci.reference import DOCKER
from rechunk_podman.programs.process import CommandError, local_environment, run
from rechunk_podman.registry.access import Registry, skopeo_options
from rechunk_podman.registry.answers import explained
from rechunk_podman.registry.waiting import Wait

log = logging.getLogger(__name__)


def pull_image(reference: str, registry: Registry, arch: str | None, tick: Callable[[], None]) -> str:
    """Pull an image; return its full name in storage. Layers that are in storage are not fetched again.

    Args:
        reference: `docker://NAME`.
        arch: [OS/]ARCH[/VARIANT] to choose from an index; None: that of this machine.
        tick: called about five times a second.

    Raises:
        UsageError: the name is malformed. MissingImageError: the image does not exist.
        ToolError: podman is missing or failed; the registry did not answer.
    """
    name = names.parse(reference.removeprefix(DOCKER))
    if names.host_of(name.repository) == "docker.io":
        path = name.repository.removeprefix("docker.io/")
        name = name._replace(repository=f"docker.io/{path if '/' in path else f'library/{path}'}")
    command = ["podman", "pull", "--quiet"]
    if arch is not None:
        command.append(f"--platform={platform_name(ImageConfig().with_architecture(arch))}")
    wait = Wait(name.repository, f"pull {reference}", registry.timeout, tick)
    note(log, "pulling %s", name)
    with skopeo_options(name.repository, registry) as (options, secrets):
        try:
            run(
                [*command, *options, DOCKER + str(name)],
                env=local_environment(),
                secrets=secrets,
                tick=wait.tick,
                started=wait.started,
            )
        except CommandError as error:
            raise explained(reference, name.repository, error) from error
    return str(name)
