"""An ordinary user, in the user namespace that buildah makes, on vfs: the same promise."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from support import holding, tools
from support.pushing import digest_of

#: Makes the oddities in a working container, and commits it.
MAKE = """
set -eu
c=$(buildah from scratch)
m=$(buildah mount "$c")
"$1" -m images.oddities "$m" --rootless
buildah umount "$c" >/dev/null
buildah commit --quiet "$c" "$2" >/dev/null
buildah rm "$c" >/dev/null
"""

BUILD = """
set -eu
m=$(podman image mount "$2")
"$1" -m rechunk_podman build --rootfs "$m" --output "oci-archive:$3"
"$1" -m rechunk_podman verify "$m" "oci-archive:$3"
podman image unmount "$2" >/dev/null
"""

COMPARE = """
set -eu
a=$(podman image mount "$2")
b=$(podman image mount "$3")
"$1" -c 'import sys; from pathlib import Path; from support import compare
print(*compare.differences(Path(sys.argv[1]), Path(sys.argv[2])), sep="\\n", end="")' "$a" "$b"
podman image unmount "$2" "$3" >/dev/null
"""


@pytest.fixture(scope="module")
def odd_image(ordinary_user: tools.OrdinaryUser) -> str:
    """The oddities without devices, as an image in the user's storage."""
    name = "localhost/oddities:latest"
    ordinary_user.unshared("sh", "-c", MAKE, "sh", ordinary_user.python, name)
    return name


def test_build_and_verify(ordinary_user: tools.OrdinaryUser, odd_image: str) -> None:
    """`build` on a mounted image, inside `buildah unshare`; the owners are those of the namespace."""
    archive = ordinary_user.home / "built"
    ordinary_user.unshared("sh", "-c", BUILD, "sh", ordinary_user.python, odd_image, archive)
    result = "localhost/rebuilt:latest"
    target = f"containers-storage:{result}"
    ordinary_user.run("skopeo", "--insecure-policy", "copy", "--quiet", f"oci-archive:{archive}", target)
    done = ordinary_user.unshared("sh", "-c", COMPARE, "sh", ordinary_user.python, odd_image, result)
    assert done.out == ""


def test_split(ordinary_user: tools.OrdinaryUser, odd_image: str) -> None:
    """`split` re-executes itself in a user namespace; the result holds the same files."""
    result = "localhost/split:latest"
    ordinary_user.rechunk("split", odd_image, "--tag", result, "--engine", "native", "--max-layers", "24")
    done = ordinary_user.unshared("sh", "-c", COMPARE, "sh", ordinary_user.python, odd_image, result)
    assert done.out == ""
    ordinary_user.rechunk("verify", odd_image, result)


@pytest.mark.parametrize("tool", ["buildah", "podman"])
def test_a_kill_ends_what_runs_in_the_namespace(
    ordinary_user: tools.OrdinaryUser, odd_image: str, tool: str
) -> None:
    """The process that is killed has become `… unshare`; the one inside ends in order, its work undone."""
    temporary = ordinary_user.home / tool
    temporary.mkdir()
    shutil.chown(temporary, ordinary_user.name, ordinary_user.name)
    name = f"localhost/killed:{tool}"
    command = ("split", odd_image, "--tag", name, "--engine", "native", "--max-layers", "8")
    more = {"TMPDIR": str(temporary)}
    if tool == "podman":
        more["PATH"] = tools.path_without("buildah", ordinary_user.home / "bin")
    user = ("--reuid", ordinary_user.name, "--regid", ordinary_user.name, "--init-groups")
    with holding.held(ordinary_user.home / f"hold-{tool}") as hold:
        variables = hold.env({**ordinary_user.env, **more}).items()
        process = subprocess.Popen(
            [
                "setpriv",
                *user,
                "env",
                "-i",
                *(f"{key}={value}" for key, value in variables),
                ordinary_user.python,
                "-m",
                "rechunk_podman",
                *command,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=ordinary_user.home,
        )
        with hold.wait():
            started = processes(str(temporary))
            process.kill()
            process.wait()
            for watch in started:
                assert select.select([watch], [], [], 60)[0]
                os.close(watch)
    assert len(started) > 2  # of the tool, the one inside, and its chunker
    assert list(temporary.iterdir()) == []
    assert ordinary_user.run("podman", "image", "exists", name, check=False).code == 1


def processes(temporary: str) -> list[int]:
    """Process descriptors of the processes with that TMPDIR, but for the one that holds the namespace."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            environment, line = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
            if f"TMPDIR={temporary}".encode() in environment and b"catatonit" not in line:
                found.append(os.pidfd_open(int(entry.name)))
        except (OSError, ValueError):
            continue
    return found


def test_root_and_user_make_the_same_layers(
    storage: tools.Storage, ordinary_user: tools.OrdinaryUser, odd_image: str
) -> None:
    """The same files give the same diff_ids, whoever splits them."""
    archive = ordinary_user.home / "source"
    source = f"containers-storage:{odd_image}"
    ordinary_user.run("skopeo", "--insecure-policy", "copy", "--quiet", source, f"oci-archive:{archive}")
    storage.copy(f"oci-archive:{archive}", "containers-storage:localhost/of-the-user:latest")
    storage.rechunk("split", "localhost/of-the-user:latest", "--tag", "localhost/of-the-user:split")
    ordinary_user.rechunk("split", odd_image, "--tag", "localhost/of-the-user:split", "--engine", "native")
    asked = ("podman", "image", "inspect", "--format", "{{.RootFS.Layers}}", "localhost/of-the-user:split")
    assert ordinary_user.run(*asked).out == storage.run(*asked).out


def test_a_push_without_a_runtime_directory(
    ordinary_user: tools.OrdinaryUser, odd_image: str, registry: tools.Registry
) -> None:
    """XDG_RUNTIME_DIR is not set, as after `su`, in cron and in many CI jobs."""
    env = {key: value for key, value in ordinary_user.env.items() if key != "XDG_RUNTIME_DIR"}
    user = replace(ordinary_user, env=env)
    name = f"{registry.address}/rootless/odd:1"
    done = user.rechunk("split", odd_image, "--tls-verify=false", "--push", f"docker://{name}")
    assert done.out.strip() == digest_of(name)
