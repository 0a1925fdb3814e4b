"""User namespaces: check that this process may mount, or make it root of a namespace in which it may.

Sources: user_namespaces(7), capabilities(7), subuid(5), buildah-unshare(1), podman-unshare(1).
"""

from __future__ import annotations

import logging
import os
import select
import signal
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import NoReturn

from rechunk_podman.errors import NamespaceRequiredError, ToolError
from rechunk_podman.programs.process import MOUNT_HINT, find, local_environment, run, which

log = logging.getLogger(__name__)

_CAP_SYS_ADMIN = 21
_OUTER = "RECHUNK_OUTER_PID"
"""The variable that holds, for the process in the namespace, the id of the process that started it."""

_ALL_IDS = ["0", "0", "4294967295"]
"""The map of a process that is in no user namespace of its own."""


def reexecute_in_namespace(arguments: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Replace this process by the same command line, as root of a user namespace.

    Args:
        arguments: the arguments of `rechunk-podman`.
        env: variables to set for the new process.

    Raises:
        ToolError: neither buildah nor podman is installed, or the kernel or the user's subordinate ids do not
            allow it.
    """
    tool = "buildah" if which("buildah") else "podman"
    hint = "install uidmap (Fedora: shadow-utils) and give the user ids in /etc/subuid and /etc/subgid"
    run([tool, "unshare", "true"], env=local_environment(), hint=hint)
    command = [find(tool), "unshare", sys.executable, "-m", "rechunk_podman", *arguments]
    log.info("running under %s unshare", tool)
    sys.stdout.flush()
    env = {**os.environ, **_runtime_directory(), **env, _OUTER: str(os.getpid())}
    os.execve(command[0], command, env)  # noqa: S606


def _runtime_directory() -> dict[str, str]:
    """Return XDG_RUNTIME_DIR as podman chooses it if it is not set; an empty dict if it is set.

    Inside the namespace the user's id is 0, and tools would look for credentials in the directory of root.
    """
    user = os.getuid()
    if os.environ.get("XDG_RUNTIME_DIR"):
        return {}
    own = os.path.join(tempfile.gettempdir(), f"podman-run-{user}")
    with suppress(OSError):
        Path(own).mkdir(mode=0o700)
    for path in (f"/run/user/{user}", own):
        with suppress(OSError):
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode) and status.st_uid == user:
                return {"XDG_RUNTIME_DIR": path}
    return {}


def end_with_outer() -> None:
    """Make this process end in order when the process that started it in a namespace ends, even by SIGKILL.

    Processes of the tool (buildah, podman) stand between the two and do not pass on every signal.
    """
    outer = os.environ.pop(_OUTER, None)
    if outer is None:
        return

    def follow(fd: int) -> None:
        select.select([fd], [], [])
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        watched = os.pidfd_open(int(outer))
    except ProcessLookupError:
        os.kill(os.getpid(), signal.SIGTERM)
    except (OSError, ValueError) as error:  # Linux before 5.3
        log.debug("process %s cannot be watched: %s", outer, error)
    else:
        Thread(target=follow, args=(watched,), daemon=True).start()


def require_root() -> None:
    """Raise unless this process is root, of the machine or of a user namespace.

    Raises:
        NamespaceRequiredError: an ordinary user runs this process, and may not mount an image.
    """
    if os.geteuid() != 0:
        raise NamespaceRequiredError(
            "only root may mount an image, be it root of a user namespace",
            hint="run the program under `podman unshare`",
        )


def require_mounting() -> None:
    """Raise if this process is root but may not mount, before a tool falls back to another way.

    Raises:
        ToolError: this process is root and lacks CAP_SYS_ADMIN.
    """
    if os.geteuid() == 0 and not _effective_capabilities() >> _CAP_SYS_ADMIN & 1:
        raise ToolError("root may not mount here: it lacks CAP_SYS_ADMIN", hint=MOUNT_HINT)


def _effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return ~0


def is_in_namespace() -> bool:
    """Return True if this process is in a user namespace, where not every id of the machine is mapped."""
    try:
        return Path("/proc/self/uid_map").read_text().split() != _ALL_IDS
    except OSError:
        return False
