"""Uploads of single blobs into a real registry, directly and behind a front that fails or wants tokens."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from rechunk_podman.oci.spec import Digest
from rechunk_podman.publish.ahead import Uploads
from rechunk_podman.registry.access import Registry
from rechunk_podman.registry.answers import DeniedError, UnreachableError
from rechunk_podman.registry.upload import PassingError, Repository
from support import tools
from support.front import STALL, front_of
from support.needs import require

PLAIN = Registry(tls_verify=False)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tools.Registry]:
    require("docker-registry")
    with tools.loopback_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


def blob(folder: Path, size: int, number: int = 0) -> tuple[Path, Digest]:
    """A file, named by its digest."""
    data = number.to_bytes(4, "big") + os.urandom(size - 4)
    name = hashlib.sha256(data).hexdigest()
    path = folder / name
    path.write_bytes(data)
    return path, Digest(f"sha256:{name}")


def stored(registry: tools.Registry, repository: str, digest: Digest) -> bytes:
    url = f"http://{registry.address}/v2/{repository}/blobs/{digest}"
    with urllib.request.urlopen(url) as answer:
        data = answer.read()
    assert isinstance(data, bytes)
    return data


def upload(name: str, path: Path, digest: Digest, access: Registry = PLAIN) -> tuple[bool, int]:
    """(whether the blob was new, bytes sent)."""
    sent: list[int] = []
    fd = os.open(path, os.O_RDONLY)
    try:
        return Repository(name, access, sent.append).upload(fd, path.stat().st_size, digest), sum(sent)
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [4, 1 << 18, (3 << 18) + 1])
def test_a_blob_is_uploaded_once(registry: tools.Registry, tmp_path: Path, size: int) -> None:
    path, digest = blob(tmp_path, size)
    name = f"{registry.address}/upload/once"
    assert upload(name, path, digest) == (True, size)
    assert stored(registry, "upload/once", digest) == path.read_bytes()
    assert upload(name, path, digest) == (False, 0)


def test_a_blob_that_is_not_what_its_digest_says(registry: tools.Registry, tmp_path: Path) -> None:
    path, _ = blob(tmp_path, 4096)
    _, other = blob(tmp_path, 4096)
    with pytest.raises(UnreachableError, match="HTTP 400"):
        upload(f"{registry.address}/upload/wrong", path, other)


@pytest.mark.parametrize(
    ("status", "error"),
    [(503, PassingError), (429, PassingError), (403, DeniedError), (405, UnreachableError)],
)
@pytest.mark.parametrize("method", ["HEAD", "POST", "PATCH", "PUT"])
def test_answers_that_are_no(
    registry: tools.Registry, tmp_path: Path, method: str, status: int, error: type[Exception]
) -> None:
    path, digest = blob(tmp_path, 4096)
    with front_of(registry.address) as front:
        front.fault = lambda asked, where: status if asked == method else None
        with pytest.raises(error):
            upload(f"{front.address}/upload/no", path, digest)


def test_a_silent_registry(registry: tools.Registry, tmp_path: Path) -> None:
    path, digest = blob(tmp_path, 4096)
    with front_of(registry.address) as front:
        front.fault = lambda asked, where: STALL if asked == "PATCH" else None
        with pytest.raises(UnreachableError, match="silent"):
            upload(f"{front.address}/upload/silent", path, digest, Registry(tls_verify=False, timeout=1))


def test_no_trusted_certificate(registry: tools.Registry, tmp_path: Path) -> None:
    """A registry without TLS is used if the caller allows it; no credentials are sent before."""
    path, digest = blob(tmp_path, 4096)
    with pytest.raises(UnreachableError, match="no trusted connection"):
        upload(f"{registry.address}/upload/tls", path, digest, Registry())


def test_tokens(registry: tools.Registry, tmp_path: Path) -> None:
    """Asked for with the credentials, used until they expire, and renewed when the registry refuses one."""
    authfile = tmp_path / "auth.json"
    with front_of(registry.address) as front:
        front.tokens = 3
        authfile.write_text(json.dumps({"auths": {front.address: {"auth": "dXNlcjp3b3Jk"}}}))
        access = Registry(tls_verify=False, authfile=str(authfile))
        for number in range(2):
            path, digest = blob(tmp_path, 4096, number)
            assert upload(f"{front.address}/upload/tokens", path, digest, access) == (True, 4096)
        asked = [path for method, path in front.asked if path.startswith("/token?")]
    assert len(asked) == 4  # a token serves three requests here, and an upload takes four
    assert {path.partition("?")[2] for path in asked} == {
        "scope=repository%3Aupload%2Ftokens%3Apull%2Cpush&service=front"
    }
    assert "Basic dXNlcjp3b3Jk" in front.shown


def test_a_blob_that_moved_meanwhile(registry: tools.Registry, tmp_path: Path) -> None:
    """Several at once; the file may be in the other folder, or be gone after add()."""
    name = f"{registry.address}/upload/many"
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    blobs = [blob(first, 5000, number) for number in range(20)]
    contents = {digest: path.read_bytes() for path, digest in blobs}
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    with Uploads(name, PLAIN) as uploads:
        for path, _ in blobs[:10]:
            uploads.add(str(path), str(second))
            path.unlink()
        first.rename(second)
        for path, _ in blobs[10:]:
            uploads.add(str(path), str(second))
        uploads.add(str(first / ("0" * 64)), str(second))
        uploads.finish(tick)
    assert ticks >= 1
    assert uploads.bytes_sent() == 20 * 5000
    assert {digest: stored(registry, "upload/many", digest) for digest in contents} == contents


def test_uploads_are_tried_again(
    registry: tools.Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, digest = blob(tmp_path, 5000)
    with front_of(registry.address) as front:
        left = [500]
        front.fault = lambda method, where: left.pop() if method == "PATCH" and left else None
        with Uploads(f"{front.address}/upload/again", PLAIN) as uploads:
            uploads.add(str(path), "")
            uploads.finish(lambda: None)
    assert stored(registry, "upload/again", digest) == path.read_bytes()
    assert "attempt 1 of 4 to upload" in caplog.text


@pytest.mark.parametrize("fault", [403, STALL])
def test_uploads_that_cannot_be(registry: tools.Registry, tmp_path: Path, fault: int) -> None:
    """They end, after few attempts, and raise nothing."""
    with front_of(registry.address) as front:
        front.fault = lambda method, where: fault if method == "POST" else None
        with Uploads(f"{front.address}/upload/never", Registry(tls_verify=False, timeout=1)) as uploads:
            for number in range(20):
                uploads.add(str(blob(tmp_path, 5000, number)[0]), "")
            uploads.finish(lambda: None)
            uploads.add(str(blob(tmp_path, 5000)[0]), "")
        assert uploads.bytes_sent() == 0
        assert 1 <= sum(method == "POST" for method, _ in front.asked) <= 4
