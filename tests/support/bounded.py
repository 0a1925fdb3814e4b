"""Run a reader in a child of its own, whose memory and time are measured.

`python -m support.bounded READER PATH` prints a JSON object: megabytes of memory above those after the
imports, seconds of processor time, and what came of it (`error`: the class and text of a RechunkError).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rechunk_podman.errors import RechunkError

SECONDS = 10
MEGABYTES = 256


def measured(reader: str, path: Path) -> dict[str, Any]:
    """Return what the child prints. It is killed at four times the bounds."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "support.bounded", reader, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    found: dict[str, Any] = {**json.loads(done.stdout), "log": done.stderr}
    return found


def _packages(name: str, path: Path) -> int:
    """Load one ecosystem, with the records that a scan finds; return the number of packages, or -1."""
    import numpy as np

    from rechunk_podman.packages.ecosystems import ECOSYSTEMS
    from rechunk_podman.rootfs.root import Root
    from rechunk_podman.rootfs.scan import scan

    (ecosystem,) = (known for known in ECOSYSTEMS if known.name == name)
    locations = ecosystem.locations
    with Root(path) as root:
        records: list[str] = []
        if locations.scattered or locations.embedded:
            paths = scan(root).paths
            records += locations.scattered_in(paths)
            records += locations.embedded_in(paths, np.arange(len(paths)))
        database = ecosystem.load(root, records)
        return -1 if database is None else len(database.packages)


def _rpm_before_3_11(path: Path) -> int:
    """Load rpm's, where sqlite3 has no limits of a connection."""
    from rechunk_podman.packages.rpm import database

    vars(database)["sys"] = SimpleNamespace(version_info=(3, 10))
    return _packages("rpm", path)


def _history(path: Path) -> int:
    from rechunk_podman.planning.history import parse_history

    return len(parse_history(path.read_bytes()).releases)


def _redact(path: Path) -> int:
    from rechunk_podman.programs.process import failure, redact
    from rechunk_podman.registry.answers import explained

    line = redact(path.read_text())
    return len(explained("docker://r/i", "r/i", failure("skopeo", "skopeo", 1, (line,))).context)


def _sources(path: Path) -> int:
    """Return the number of components of a root filesystem."""
    from rechunk_podman.explain.owners import owners

    return len(owners(str(path)).components)


def _groups(path: Path) -> int:
    from rechunk_podman.components.group_file import load

    return len(load([str(path)]).groups)


READERS: dict[str, Callable[[Path], int]] = {
    **{
        name: partial(_packages, name)
        for name in (
            *("rpm", "dpkg", "apk", "alpm", "portage", "xbps", "nix"),
            *("conda", "python", "node", "ruby", "php", "jvm", "go"),
        )
    },
    "rpm-3.10": _rpm_before_3_11,
    "groups": _groups,
    "history": _history,
    "redact": _redact,
    "sources": _sources,
}


def _status(key: str) -> int:
    """Return a figure of /proc/self/status, in bytes."""
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith(f"{key}:"))


def main() -> None:
    for module in ("build.pipeline", "planning.history", "registry.answers"):
        import_module(f"rechunk_podman.{module}")
    reader, path = READERS[sys.argv[1]], Path(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_CPU, (4 * SECONDS, 4 * SECONDS))
    limit = _status("VmSize") + 4 * (MEGABYTES << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before, started = _status("VmRSS"), time.process_time()
    result: dict[str, object] = {}
    try:
        result["found"] = reader(path)
    except RechunkError as error:
        result["error"] = f"{type(error).__name__}: {error}"
    result["seconds"] = time.process_time() - started
    result["megabytes"] = (_status("VmHWM") - before) >> 20
    print(json.dumps(result))


if __name__ == "__main__":
    main()
