"""Hold a chunker in the middle of its work, so that no test has to be faster than it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BEFORE_LAYOUT = ("os.mkdir", "/blobs/sha256")
BEFORE_ARCHIVE = ("open", "/run/src")
"""Audit event (Python's documentation, "Audit events table") and path of what follows the plan of a chunker
that writes a layout, or an archive in a container."""

#: Python imports it at every start; the hook runs in the thread that raises the event.
_CUSTOM = """
import sys, threading
if "--job" in sys.orig_argv:
    held = []
    def hold(event, arguments):
        if event == {event!r} and not held and str(arguments[0]).endswith({path!r}):
            if threading.current_thread() is threading.main_thread():
                held.append(True)
                import socket
                socket.create_connection(("127.0.0.1", {port})).recv(1)
    sys.addaudithook(hold)
"""


@dataclass(frozen=True)
class Hold:
    """A place at which chunkers wait that have `folder` in PYTHONPATH."""

    folder: Path
    server: socket.socket

    def env(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return `env` with the folder in PYTHONPATH."""
        paths = [str(self.folder), *filter(None, [env.get("PYTHONPATH")])]
        return {**env, "PYTHONPATH": os.pathsep.join(paths)}

    def wait(self) -> socket.socket:
        """Wait until a chunker is held; it goes on when the returned connection is closed."""
        return self.server.accept()[0]


@contextmanager
def held(folder: Path, at: tuple[str, str] = BEFORE_LAYOUT) -> Iterator[Hold]:
    """Write the hook into a new directory.

    Args:
        at: the event and the end of its path.
    """
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(120)
        event, path = at
        text = _CUSTOM.format(event=event, path=path, port=server.getsockname()[1])
        (folder / "sitecustomize.py").write_text(text)
        yield Hold(folder, server)
