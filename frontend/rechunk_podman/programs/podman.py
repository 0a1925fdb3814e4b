"""podman: images and image lists by its API; mounts, which the API lacks, by its command line.

podman-py uses the API over a Unix socket: a socket that already serves the storage that the command line
tools use here, else a private socket of `podman system service`, which runs as long as it is needed.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import requests
from podman import PodmanClient
from podman.errors import APIError, ImageNotFound, PodmanError

from rechunk_podman.errors import ToolError, UsageError
from rechunk_podman.oci import reference as names
from rechunk_podman.oci.config import ImageConfig
from rechunk_podman.oci.documents import parse_object
from rechunk_podman.oci.platform import fitting, platform_of, require_platform
from rechunk_podman.programs import skopeo
from rechunk_podman.programs.leftovers import MOUNTED, Changes, mount_points, unmount
from rechunk_podman.programs.namespace import is_in_namespace
from rechunk_podman.programs.process import (
    MOUNT_HINT,
    TAIL_LINES,
    CommandError,
    child,
    end_group,
    failure,
    find,
    following,
    local_environment,
    run,
)
from rechunk_podman.programs.work import locked_directory, work_directory
from rechunk_podman.signals import signals_deferred
from rechunk_podman.temporary import PREFIX

log = logging.getLogger(__name__)

START_SECONDS = 30.0
POLL_SECONDS = 0.02
SOCKET_PARENT_LIMIT = 107 - len(f"/{PREFIX}01234567/podman.sock")
"""The most bytes in the path of a socket's parent: a Unix socket's path holds 107 bytes (unix(7))."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image in storage, or the documents of one elsewhere.

    id: hex digits, without `sha256:`; elsewhere the reference. names: full names with tags.
    config, manifest: verbatim; the manifest of a docker archive is empty.
    size: bytes in storage, or an estimate. driver: of that storage, as podman calls it.
    """

    id: str
    names: tuple[str, ...]
    config: bytes
    manifest: bytes
    size: int
    driver: str = ""

    @property
    def annotations(self) -> Mapping[str, str]:
        """The manifest's annotations; ImageError if it is not a JSON object."""
        if not self.manifest:
            return {}
        found = parse_object(self.manifest, f"the manifest of image {self.id[:12]}").get("annotations")
        return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}

    def document(self) -> bytes:
        """Return the config with the manifest's annotations at its top, as `build --config` takes it.

        Raises:
            ImageError: the config or the manifest is not a JSON object.
        """
        document = parse_object(self.config, f"the config of image {self.id[:12]}")
        if self.annotations:
            document = {**document, "annotations": dict(self.annotations)}
        return json.dumps(document, ensure_ascii=True).encode()


class Podman:
    """A connection to podman's API; made by connect()."""

    def __init__(self, client: PodmanClient) -> None:
        self._client = client

    def resolve(self, name: str, platform: str | None = None) -> Image:
        """Return an image by name, short name, digest reference or id.

        Args:
            platform: [OS/]ARCH[/VARIANT], which the image must be for; of a list the image for it.

        Raises:
            UsageError: there is no such image in local storage.
            MissingImageError: no image is for the platform.
            ToolError: podman or skopeo failed.
        """
        names.parse(name)
        if platform is not None:
            members = [self.resolve(member) for member in self.instances(name) or (name,)]
            configs = [ImageConfig.parse(image.config, name=f"the config of {name}") for image in members]
            described = list(zip(members, map(platform_of, configs), strict=True))
            for image in fitting(described, platform):
                return image
            require_platform(name, configs[0], platform)
            return members[0]
        try:
            with _api_errors(f"look for {name}"):
                found = self._client.images.get(name)
        except ImageNotFound as error:
            raise self._not_found(name) from error
        image_id = str(found.id).removeprefix("sha256:")
        env = local_environment()
        return Image(
            id=image_id,
            names=tuple(found.attrs.get("RepoTags") or ()),
            config=skopeo.config(image_id, env),
            manifest=skopeo.manifest(image_id, env),
            size=int(found.attrs.get("Size") or 0),
            driver=str((found.attrs.get("GraphDriver") or {}).get("Name") or ""),
        )

    def _not_found(self, name: str) -> UsageError:
        """Return the error that lists images of that repository in storage, or says where it may be."""
        asked = names.parse(name)
        with _api_errors("list the images"):
            images = self._client.images.list()
        there = sorted(
            text
            for text in {text for image in images for text in image.attrs.get("RepoTags") or ()}
            if f"/{text.rpartition(':')[0]}".endswith(f"/{asked.repository}")
        )
        message = f"no image {name} in local storage"
        if there:
            shown = ", ".join(there[:12]) + (f" and {len(there) - 12} more" if len(there) > 12 else "")
            return UsageError(message, context=[f"there is: {shown}"], hint="name one of these")
        other = "what was built with sudo is in root's storage: run this with sudo, too"
        if os.geteuid() == 0 and not is_in_namespace():
            other = "what was built without sudo is in that user's storage: run this without sudo, too"
        if names.host_of(asked.repository) == "localhost":
            return UsageError(message, hint=other)
        return UsageError(message, hint=f"podman pull {name}; or {other}")

    def instances(self, name: str) -> tuple[str, ...] | None:
        """Return the full ids of the images of a list (podman-manifest(1)), in its order; None for one image.

        Raises:
            UsageError: some are not in local storage. ToolError: podman failed.
        """
        names.parse(name)
        with _api_errors(f"look for {name}"):
            if not self._client.manifests.exists(name):
                return None
            wanted = [
                entry["digest"] for entry in self._client.manifests.get(name).attrs.get("manifests") or ()
            ]
            ids: dict[str, str] = {}
            for image in self._client.images.list(all=True):
                known = [text.rpartition("@")[2] for text in image.attrs.get("RepoDigests") or ()]
                ids.update(dict.fromkeys((*known, str(image.attrs.get("Digest"))), str(image.id)))
        missing = [digest for digest in wanted if digest not in ids]
        if missing or not wanted:
            raise UsageError(
                f"images of the list {name} are not in local storage"
                if missing
                else f"the image list {name} is empty",
                context=missing,
                hint=f"podman pull them by digest, or build them here, and podman manifest add {name} …",
            )
        return tuple(ids[digest].removeprefix("sha256:") for digest in wanted)

    def untagged(self) -> tuple[str, ...]:
        """Return the ids of the images in storage that have no name (ToolError)."""
        with _api_errors("list images"):
            found = self._client.images.list(filters={"dangling": True})
        return tuple(str(image.id).removeprefix("sha256:") for image in found)

    def exists(self, name: str) -> bool:
        """Return True if an image is in local storage.

        Raises:
            ToolError: podman failed.
        """
        with _api_errors(f"look for {name}"):
            return bool(self._client.images.exists(name))


@contextmanager
def connect() -> Iterator[Podman]:
    """Connect to podman's API for local storage.

    Raises:
        ToolError: podman is not installed, its service does not start, or CONTAINER_HOST names another
            machine or another storage.
    """
    find("podman")
    with ExitStack() as stack:
        client = _existing(stack)
        if client is None:
            client = _client(stack, stack.enter_context(_service()))
        yield Podman(client)


@contextmanager
def mounted(image_id: str) -> Iterator[str]:
    """Mount an image's root filesystem read-only while the context lasts, and yield its path.

    Without root this works only inside `buildah unshare` or `podman unshare`.

    Raises:
        ToolError: podman is not installed, or may not mount.
    """
    env = local_environment()
    with locked_directory(None) as state, ExitStack() as stack:
        Changes(image=image_id, mounts=mount_points()).record(state.path)
        with signals_deferred():
            path = _mount(image_id, env, state.lock)
            Path(state.path, MOUNTED).touch()
            stack.callback(_unmount, image_id, env)
        if not Path(path).is_dir():
            raise ToolError(
                "podman mounted the image, but the mount is not there", context=[path], hint=MOUNT_HINT
            )
        yield path


def _mount(image_id: str, env: Mapping[str, str], lock: int) -> str:
    try:
        return run(["podman", "image", "mount", image_id], env=env, hint=MOUNT_HINT, lock=lock).text
    except CommandError as error:
        # podman prints only this for an image without layers, of which nothing can be mounted
        if not any("layer not known" in line for line in error.context):
            raise
        raise ToolError(
            f"image {image_id[:12]} has no layers, or storage has lost them",
            context=error.context,
            hint="there is nothing to read in it: build or pull it anew",
        ) from error


def _unmount(image_id: str, env: Mapping[str, str]) -> None:
    try:
        unmount(image_id, env)
    except ToolError as error:
        log.warning("the mount of image %s is left behind: %s", image_id[:12], error.message)


def _existing(stack: ExitStack) -> PodmanClient | None:
    """Return a client of a running service that serves our storage, or None."""
    named = os.environ.get("CONTAINER_HOST")
    if named and not named.startswith("unix://"):
        raise ToolError(
            f"CONTAINER_HOST names a service elsewhere: {named.split('@')[-1]}",
            hint="the storage of this machine is needed: unset CONTAINER_HOST, or run the command over there",
        )
    paths = [named.removeprefix("unix://")] if named else _default_sockets()
    for path in paths:
        if not Path(path).is_socket():
            continue
        client = _client(stack, path)
        try:
            info = client.info()  # type: ignore[no-untyped-call]
        except (requests.exceptions.RequestException, PodmanError, OSError) as error:
            log.debug("nobody answers at %s: %s", path, error)
            continue
        serves = (info.get("store") or {}).get("graphRoot")
        if serves == _own_storage():
            log.debug("using the podman service at %s", path)
            return client
        if named:
            raise ToolError(
                f"the service at CONTAINER_HOST serves another storage: {serves}",
                hint="unset CONTAINER_HOST, or point CONTAINERS_STORAGE_CONF at the same storage",
            )
    if named:
        raise ToolError(
            f"no podman service answers at {named}", hint="unset CONTAINER_HOST, or start that service"
        )
    return None


def _default_sockets() -> list[str]:
    if os.geteuid() == 0:
        return ["/run/podman/podman.sock"]
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return [f"{runtime}/podman/podman.sock"]


def _own_storage() -> str:
    return run(["podman", "info", "--format", "{{.Store.GraphRoot}}"], env=local_environment()).text


def _client(stack: ExitStack, path: str) -> PodmanClient:
    client = PodmanClient(base_url=f"unix://{path}")
    stack.callback(client.close)
    return client


@contextmanager
def _service() -> Iterator[str]:
    """Start a private service, yield the path of its socket, and stop the service in every case."""
    with work_directory(_socket_parent()) as folder, tempfile.TemporaryFile(dir=folder) as talk:
        path = os.path.join(folder, "podman.sock")

        def start() -> subprocess.Popen[bytes]:
            # In a session of its own, Ctrl-C does not reach it; this process stops it in order.
            return subprocess.Popen(
                [find("podman"), "system", "service", "--time=0", f"unix://{path}"],
                env=local_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=talk,
                start_new_session=True,
                preexec_fn=following(),
            )

        with child(start, end_group) as process:
            _wait_for(process, path, talk.fileno())
            log.debug("started a podman service at %s", path)
            yield path


def _socket_parent() -> str:
    """Return a directory whose path is short enough for a socket in a private directory below it."""
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108
        if (
            parent
            and len(os.fsencode(os.path.realpath(parent))) <= SOCKET_PARENT_LIMIT
            and os.access(parent, os.W_OK | os.X_OK)
        ):
            return parent
    raise ToolError(
        "no directory for a private socket", hint="set TMPDIR to a directory of yours with a short path"
    )


def _wait_for(process: subprocess.Popen[bytes], path: str, talk: int) -> None:
    """Wait until the service answers on its socket."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        if Path(path).is_socket():
            client = PodmanClient(base_url=f"unix://{path}")
            try:
                if client.ping():
                    return
            except (requests.exceptions.RequestException, PodmanError, OSError) as error:
                log.debug("the podman service does not answer yet: %s", error)
            finally:
                client.close()  # type: ignore[no-untyped-call]
        try:
            status = process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            status = None
        if status is not None or time.monotonic() > deadline:
            _service_failed(status, talk)


def _service_failed(status: int | None, talk: int) -> NoReturn:
    os.lseek(talk, 0, os.SEEK_SET)
    lines = os.read(talk, 1 << 16).decode("utf-8", "backslashreplace").splitlines()
    tail = tuple(line for line in lines if line.strip())[-TAIL_LINES:]
    hint = "does `podman info` work for this user?"
    if status is None:
        raise ToolError(
            f"podman system service did not answer within {START_SECONDS:.0f} s", context=tail, hint=hint
        )
    raise failure("podman", "podman system service", status, tail, hint)


@contextmanager
def _api_errors(doing: str) -> Iterator[None]:
    """Turn errors of podman-py into ToolError; let ImageNotFound pass."""
    try:
        yield
    except ImageNotFound:
        raise
    except (APIError, PodmanError) as error:
        raise ToolError(f"podman could not {doing}", context=[_explanation(error)]) from error
    except (requests.exceptions.RequestException, OSError) as error:
        raise ToolError(
            f"podman did not answer when asked to {doing}",
            context=[str(error)],
            hint="does `podman info` work for this user?",
        ) from error


def _explanation(error: Any) -> str:
    return str(getattr(error, "explanation", None) or error)
