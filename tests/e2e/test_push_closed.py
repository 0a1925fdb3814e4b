"""A registry that demands a password, over TLS with a certificate of its own authority."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import tools
from support.front import front_of
from support.needs import require
from support.pushing import Uploads, digest_of, same_files

SECRET = "sesame-street"
HTPASSWD = "user:$2b$04$VRiReuuHpj/YU0eELApqpu4.vmX..uUAn8/LKPld4jKFCd7YKejP6\n"
"""The password is SECRET."""


@dataclass(frozen=True)
class Closed:
    """registry: one that opens by SECRET. certificates: the folder for --cert-dir."""

    registry: tools.Registry
    certificates: Path


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    """The registry, empty at first."""
    require("docker-registry", "openssl")
    folder = tmp_path_factory.mktemp("closed")
    certificates = folder / "certificates"
    certificates.mkdir()
    key, certificate = folder / "key.pem", certificates / "authority.crt"
    tools.run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"),
        *("-keyout", key, "-out", certificate),
    )
    (folder / "htpasswd").write_text(HTPASSWD)
    settings = (
        f"  tls:\n    certificate: {certificate}\n    key: {key}\n"
        f"auth:\n  htpasswd:\n    realm: test\n    path: {folder}/htpasswd\n"
    )
    with tools.loopback_registry(folder, settings, trusted=certificate) as registry:
        yield Closed(registry, certificates)


@dataclass(frozen=True)
class Watched:
    """The output of a run (both streams), its stdout, its exit code, command lines that held the secret."""

    code: int
    out: str
    err: str
    leaked: frozenset[str]


def watched(storage: tools.Storage, scratch: Path, *words: str, creds: str | None = None) -> Watched:
    """Runs split with temporary files in `scratch`, and looks at all arguments and environments meanwhile."""
    env = {**os.environ, **storage.env, "TMPDIR": str(scratch)}
    if creds is not None:
        env["RECHUNK_CREDS"] = creds
    leaked: set[str] = set()
    errors = scratch.parent / "stderr"
    with (
        errors.open("w") as sink,
        subprocess.Popen(
            [*tools.RECHUNK, "split", *words],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
        ) as process,
    ):
        while True:
            try:
                out, _ = process.communicate(timeout=0.05)
                break
            except subprocess.TimeoutExpired:
                leaked |= {line for line in arguments() if SECRET in line}
                leaked |= set(environments(Path(f"/proc/{process.pid}/cmdline").read_bytes()))
    return Watched(process.returncode, out, errors.read_text(), frozenset(leaked))


def arguments() -> Iterator[str]:
    """The command lines of all processes."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue


def environments(own: bytes) -> Iterator[str]:
    """The command lines of processes with the secret in their environment.

    Args:
        own: the command line of the run itself, and of a child that is no other program yet.
    """
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:
                continue
            if line != own and SECRET.encode() in environment:
                yield "environment of " + line.decode(errors="replace")


def login(closed: Closed, authfile: Path) -> Path:
    """An authentication file, as `skopeo login` writes it."""
    tools.run(
        *("skopeo", "login", f"--cert-dir={closed.certificates}", f"--authfile={authfile}"),
        *("--username=user", f"--password={SECRET}", closed.registry.address),
    )
    return authfile


def test_a_password_over_tls(
    storage: tools.Storage, closed: Closed, small: Callable[[int], str], tmp_path: Path
) -> None:
    """First push by RECHUNK_CREDS, the update by --authfile: its layers are reused, the secret is nowhere."""
    name = f"{closed.registry.address}/closed/image:1"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    authfile = login(closed, tmp_path / "auth.json")
    words = [f"--push=docker://{name}", f"--cert-dir={closed.certificates}", "--json", "-vv"]

    first = watched(storage, scratch, small(0), *words, creds=f"user:{SECRET}")
    assert first.code == 0, first.err
    watch = Uploads(closed.registry)
    second = watched(storage, scratch, small(1), *words, f"--authfile={authfile}")
    assert second.code == 0, second.err

    told = json.loads(second.out)
    fresh = {layer["digest"] for layer in told["layers"] if not layer["reused"]}
    assert len(fresh) == 1
    assert fresh < watch.new
    assert len(watch.new) == len(fresh) + 2  # the config and the manifest
    command = ["skopeo", "inspect", "--raw", f"--cert-dir={closed.certificates}", f"--authfile={authfile}"]
    manifest = subprocess.run([*command, f"docker://{name}"], check=True, capture_output=True).stdout
    assert told["digest"] == "sha256:" + hashlib.sha256(manifest).hexdigest()
    for done in (first, second):
        assert SECRET not in done.out + done.err
        assert done.leaked == frozenset()
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("certificate", "creds", "fresh", "error", "hint"),
    [
        (False, f"user:{SECRET}", False, "no trusted connection to the registry of", "--cert-dir"),
        (False, f"user:{SECRET}", True, "no trusted connection to the registry of", "--cert-dir"),
        (True, f"user:{SECRET}-not", False, "the registry does not let this user push", "log in"),
        (True, None, True, "the registry does not let this user push", "log in"),
    ],
    ids=["no certificate", "no certificate, fresh", "wrong password", "no password"],
)
def test_what_does_not_open_it(
    storage: tools.Storage,
    closed: Closed,
    small: Callable[[int], str],
    tmp_path: Path,
    certificate: bool,
    creds: str | None,
    fresh: bool,
    error: str,
    hint: str,
) -> None:
    """There is one error and one hint; nothing arrives, and nothing stays here."""
    watch = Uploads(closed.registry)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    name = f"docker://{closed.registry.address}/closed/none:1"
    words = [f"--push={name}", *[f"--cert-dir={closed.certificates}"] * certificate, *["--fresh"] * fresh]
    done = watched(storage, scratch, small(0), *words, creds=creds)
    assert done.code == 1
    assert len(re.findall("^error: ", done.err, re.MULTILINE)) == 1
    assert f"error: {error} {name}" in done.err
    assert re.search(rf"^hint: .*{hint}", done.err, re.MULTILINE)
    assert "trying again" not in done.err
    assert SECRET not in done.out + done.err
    assert done.out == ""
    assert watch.new == set()
    assert watch.requests("(PUT|PATCH|POST) ") == 0
    assert done.leaked == frozenset()
    assert list(scratch.iterdir()) == []


def test_a_password_is_for_one_registry(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str], tmp_path: Path
) -> None:
    """RECHUNK_CREDS goes to the registry of the first --push; others get what --authfile holds for them."""
    own, other = (base64.b64encode(text.encode()).decode() for text in (f"user:{SECRET}", "other:word"))
    with front_of(registry.address) as first, front_of(registry.address) as second:
        first.closed = second.closed = True
        authfile = tmp_path / "auth.json"
        authfile.write_text(json.dumps({"auths": {second.address: {"auth": other}}}))
        words = [*tools.RECHUNK, "split", small(0), "--tls-verify=false", f"--authfile={authfile}"]
        env = {**storage.env, "RECHUNK_CREDS": f"user:{SECRET}"}
        one, two = f"docker://{first.address}/mine/image", f"docker://{second.address}/theirs/image"
        digest = tools.run(*words, f"--push={one}:1", f"--push={two}:1", env=env).out.strip()
        assert (first.shown, second.shown) == ({f"Basic {own}"}, {f"Basic {other}"})
        tools.run(*words, f"--push={one}:2", f"--previous={two}:1", env=env)
        index = [
            "index",
            "--tls-verify=false",
            f"--authfile={authfile}",
            f"{two}@{digest}",
            f"--push={one}:i",
        ]
        tools.run(*tools.RECHUNK, *index, env=env)
        assert (first.shown, second.shown) == ({f"Basic {own}"}, {f"Basic {other}"})
    assert digest_of(f"{registry.address}/theirs/image:1") == digest
    same_files(storage, small(0), f"{registry.address}/theirs/image:1", tmp_path)
