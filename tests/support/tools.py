"""Commands, private storages that leave nothing behind, an ordinary user, a registry on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from images import storage as images_storage
from support.needs import unavailable

#: What lets containers run in a sandbox, too.
CONTAINERS_CONF = """\
[containers]
cgroups = "disabled"
netns = "host"
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
"""

RECHUNK = (sys.executable, "-m", "rechunk_podman")


@dataclass(frozen=True)
class Done:
    """A command that ended: its exit code and what it said."""

    code: int
    out: str
    err: str


def run(
    *command: str | os.PathLike[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 600,
    check: bool = True,
) -> Done:
    """Runs a command, without standard input, and returns what it said.

    check: an exit code other than 0 fails the test, with the command and all it said.
    """
    words = [os.fspath(word) for word in command]
    done = subprocess.run(
        words,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    if check and done.returncode:
        said = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        raise AssertionError(f"exit {done.returncode}: {' '.join(words)}\n{said}")
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Storage:
    """A containers-storage of its own. Every tool that is run with `env` uses it and no other."""

    folder: Path
    env: Mapping[str, str] = field(repr=False)

    def run(
        self,
        *command: str | os.PathLike[str],
        check: bool = True,
        timeout: float = 600,
        cwd: Path | None = None,
    ) -> Done:
        """Runs any command on this storage."""
        return run(*command, env=self.env, check=check, timeout=timeout, cwd=cwd)

    def rechunk(
        self,
        *arguments: str | os.PathLike[str],
        check: bool = True,
        timeout: float = 600,
        cwd: Path | None = None,
    ) -> Done:
        """Runs rechunk-podman on this storage."""
        return self.run(*RECHUNK, *arguments, check=check, timeout=timeout, cwd=cwd)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder beside the storage, in memory where that is."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            yield Path(folder)

    def import_tar(self, archive: Path, name: str) -> str:
        """An image of one layer from a tar, under `name`, which is returned."""
        images_storage.import_tar(archive, name, env=self.env)
        return name

    def copy(self, source: str, target: str) -> None:
        """`skopeo copy`, between transports as skopeo names them."""
        images_storage.skopeo_copy(source, target, env=self.env)

    def mounted(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """The merged root filesystem of an image, as a container would see it."""
        return images_storage.mounted(name, env=self.env)

    def inspect(self, name: str) -> dict[str, object]:
        """`podman image inspect` of one image."""
        return images_storage.inspect(name, env=self.env)

    def container(self, name: str, *command: str, check: bool = True) -> Done:
        """Runs a command in a container of an image, without network.

        In a mount namespace with nothing but cgroup 2: the runtime refuses a machine that mixes versions.
        The container is removed afterwards: asked to do so at once (--rm), podman 4.3 waits for 20 seconds.
        """
        inner = (
            "umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 none /sys/fs/cgroup;"
            ' podman run --name="rechunk-test-$$" --cgroups=disabled --network=none --pull=never "$@";'
            ' status=$?; podman rm --force --time=0 "rechunk-test-$$" >/dev/null; exit $status'
        )
        return self.run("unshare", "--mount", "sh", "-c", inner, "sh", name, *command, check=check)


@contextmanager
def private_storage(folder: Path, driver: str = "overlay") -> Iterator[Storage]:
    """A new storage below `folder`, for root; at the end nothing of it stays mounted or on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    in_memory(folder)
    try:
        yield Storage(folder, storage_files(folder, driver))
    finally:
        remove_storage(folder)


def in_memory(folder: Path) -> bool:
    """Mounts a tmpfs at `folder`, where 12 GiB are free and the kernel's tmpfs knows user.* xattrs (6.6).

    Storage fsyncs every layer, and its deletion on disk takes longer than the tests. RECHUNK_TEST_ON_DISK=1
    keeps it on disk.
    """
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(memory["MemAvailable"].split()[0])
    if os.environ.get("RECHUNK_TEST_ON_DISK") or free < 12 << 20:
        return False
    if run("mount", "-t", "tmpfs", "-o", "mode=755,size=8g", "rechunk-test", folder, check=False).code:
        return False
    try:
        os.setxattr(folder, "user.probe", b"1")
        os.removexattr(folder, "user.probe")
    except OSError:
        run("umount", folder)
        return False
    return True


def storage_files(folder: Path, driver: str) -> dict[str, str]:
    """Writes the configuration of a storage below `folder`; returns the environment that chooses it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "{driver}"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    (folder / "containers.conf").write_text(CONTAINERS_CONF)
    return {
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "BUILDAH_ISOLATION": "chroot",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def remove_storage(folder: Path) -> None:
    """Unmounts everything below `folder`, innermost first, and deletes it."""
    real = os.path.realpath(folder)
    points = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        point = line.split()[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
        if point == real or point.startswith(real + "/"):
            points.append(point)
    for point in reversed(points):
        run("umount", "--lazy", point)
    shutil.rmtree(folder)


@dataclass(frozen=True)
class OrdinaryUser:
    """Somebody without privileges, with ranges of subordinate ids, a home and a vfs storage."""

    name: str
    home: Path
    python: Path
    env: Mapping[str, str] = field(repr=False)

    def run(self, *command: str | os.PathLike[str], check: bool = True, timeout: float = 600) -> Done:
        """Runs a command as this user, in their home and with nothing of root's environment."""
        settings = [f"{key}={value}" for key, value in self.env.items()]
        user = ["runuser", "-u", self.name, "--", "env", "-i", *settings]
        return run(*user, *command, check=check, timeout=timeout, cwd=self.home)

    def rechunk(self, *arguments: str | os.PathLike[str], check: bool = True) -> Done:
        """Runs rechunk-podman as this user."""
        return self.run(self.python, "-m", "rechunk_podman", *arguments, check=check)

    def unshared(self, *command: str | os.PathLike[str], check: bool = True) -> Done:
        """Runs a command in the user's own user namespace, as `buildah unshare` makes it."""
        return self.run("buildah", "unshare", *command, check=check)


@contextmanager
def ordinary_user(name: str, base: Path, repository: Path) -> Iterator[OrdinaryUser]:
    """Creates a user below `base` who can run this Python with rechunk_podman; removed at the end.

    The packages are copied, since an ordinary user may not be able to enter the folders of the checkout.
    """
    home = base / name
    run("useradd", "--create-home", "--home-dir", home, "--shell", "/bin/sh", name)
    try:
        for file in ("/etc/subuid", "/etc/subgid"):
            lines = Path(file).read_text().splitlines() if Path(file).exists() else []
            if not any(line.startswith(f"{name}:") for line in lines):
                option = "--add-subuids" if file.endswith("uid") else "--add-subgids"
                run("usermod", option, "2000000-2065535", name)
        if (python := usable_python(name)) is None:
            unavailable("no Python of this version that an ordinary user may run")
        packages = home / "packages"
        ignored = shutil.ignore_patterns(
            "mypy*", "ruff*", "hypothesis*", "pip*", "rechunk_podman*", "__pycache__", "tests"
        )
        shutil.copytree(sysconfig.get_paths()["platlib"], packages, symlinks=True, ignore=ignored)
        shutil.copytree(repository / "frontend/rechunk_podman", packages / "rechunk_podman")
        if (repository / "templates").is_dir():
            shutil.copytree(
                repository / "templates", packages / "rechunk_podman/templates", dirs_exist_ok=True
            )
        for helper in ("images", "support"):
            shutil.copytree(repository / "tests" / helper, packages / helper)
        runtime = home / "runtime"
        runtime.mkdir(mode=0o700)
        env = {
            "HOME": str(home),
            "USER": name,
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LC_ALL": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(runtime),
            "PYTHONPATH": str(packages),
            "BUILDAH_ISOLATION": "chroot",
        }
        # where users have it: through CONTAINERS_STORAGE_CONF, podman 4 and skopeo 1.9 find different folders
        settings = home / ".config/containers"
        settings.mkdir(parents=True)
        (settings / "storage.conf").write_text('[storage]\ndriver = "vfs"\n')
        (settings / "containers.conf").write_text(CONTAINERS_CONF)
        run("chown", "--recursive", f"{name}:{name}", home)
        yield OrdinaryUser(name, home, python, env)
    finally:
        _end_processes_of(name)
        run("userdel", "--force", name, check=False)


def usable_python(name: str) -> Path | None:
    """An interpreter of this version that an ordinary user may run (root's own may lie in root's home)."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for folder in (Path(sys.base_prefix) / "bin", Path("/usr/bin"), Path("/usr/local/bin")):
        python = folder / version
        if run("runuser", "-u", name, "--", python, "--version", check=False).code == 0:
            return python
    return None


def _end_processes_of(name: str) -> None:
    """Ends what the user's tools left running (a pause process of the user namespace)."""
    uid = int(run("id", "-u", name).out)
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                os.kill(int(entry.name), signal.SIGKILL)


def path_without(tool: str, folder: Path) -> str:
    """A PATH on which everything is but one tool."""
    folder.mkdir()
    for place in ("/usr/bin", "/usr/sbin", "/bin", "/sbin"):
        for entry in Path(place).iterdir():
            link = folder / entry.name
            if entry.name != tool and not link.is_symlink():
                link.symlink_to(entry)
    return str(folder)


@dataclass(frozen=True)
class Registry:
    """A registry on loopback. `log` grows by one line for each request."""

    address: str
    log: Path


@contextmanager
def loopback_registry(folder: Path, settings: str = "", *, trusted: Path | None = None) -> Iterator[Registry]:
    """Runs docker-registry on a free port of 127.0.0.1 with its content below `folder`, and ends it.

    settings: more of its configuration, as YAML; it begins within `http`. trusted: the authority's
    certificate where it speaks TLS.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    with log.open("wb") as output:
        process, address = _serving(folder, settings, output, trusted)
        try:
            yield Registry(address, log)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _serving(
    folder: Path, settings: str, output: IO[bytes], trusted: Path | None
) -> tuple[subprocess.Popen[bytes], str]:
    """Starts a registry that answers. Another process may take the free port first: then it ends, at once."""
    for last in (False, False, False, True):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        (folder / "config.yml").write_text(
            "version: 0.1\nlog:\n  level: info\n"
            f"storage:\n  filesystem:\n    rootdirectory: {folder}/content\n  delete:\n    enabled: true\n"
            f"http:\n  addr: {address}\n{settings}"
        )
        process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.yml")],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        scheme = "http" if trusted is None else "https"
        try:
            _until_it_answers(process, f"{scheme}://{address}/v2/", folder / "log", trusted)
        except AssertionError:
            process.kill()
            process.wait()
            if last or "address already in use" not in (folder / "log").read_text():
                raise
        else:
            break
    return process, address


def _until_it_answers(
    process: subprocess.Popen[bytes], url: str, log: Path, trusted: Path | None = None
) -> None:
    """Asks a server until it answers; each try waits for at most a tenth of a second, as poll of its end."""
    context = None if trusted is None else ssl.create_default_context(cafile=trusted)
    for _ in range(300):
        try:
            process.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            pass
        else:
            raise AssertionError(f"the registry ended: {log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(url, timeout=5, context=context) as answer:  # noqa: S310
                if answer.status == 200:
                    return
        except urllib.error.HTTPError as answer:
            if answer.code == 401:
                return
        except OSError:
            continue
    raise AssertionError("the registry did not answer within 30 seconds")
