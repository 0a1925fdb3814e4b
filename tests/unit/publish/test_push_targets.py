"""Targets, digest references, credentials, the state file, and which failures of a push may pass."""

from __future__ import annotations

import base64
import json
import logging
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from rechunk_podman.build.previous import found
from rechunk_podman.errors import RechunkError, ToolError, UsageError
from rechunk_podman.oci.config import ImageConfig
from rechunk_podman.oci.documents import ImageRecord
from rechunk_podman.oci.reference import Pinned, Target
from rechunk_podman.oci.spec import Digest
from rechunk_podman.publish import push
from rechunk_podman.publish.push import LostBlobsError
from rechunk_podman.registry import retry, state
from rechunk_podman.registry.access import Registry, private_credentials, skopeo_options

DIGEST = Digest("sha256:" + "a" * 64)


def test_targets():
    target = Target.parse("docker://r.example:5000/a/b:tag")
    assert target == ("r.example:5000/a/b", "tag")
    assert str(target) == "docker://r.example:5000/a/b:tag"
    assert Target.parse("docker://r.example/a").tag == "latest"


@pytest.mark.parametrize(
    "text", ["r.example/a:1", "docker://", "docker://A", f"docker://r.example/a@{DIGEST}"]
)
def test_what_is_no_target(text):
    with pytest.raises(UsageError):
        Target.parse(text)


def test_digest_references():
    pinned = Pinned.parse(f"docker://r.example/a@{DIGEST}")
    assert (pinned.repository, pinned.digest) == ("r.example/a", DIGEST)
    assert str(pinned) == f"docker://r.example/a@{DIGEST}"


@pytest.mark.parametrize(
    "text",
    [
        "docker://r.example/a:1",
        "docker://r.example/a",
        f"docker://r.example/a:1@{DIGEST}",
        f"r.example/a@{DIGEST}",
        "docker://r.example/a@sha512:" + "a" * 128,
        "docker://r.example/a@sha256:" + "a" * 63,
    ],
)
def test_what_is_no_digest_reference(text):
    with pytest.raises(UsageError):
        Pinned.parse(text)


def test_credentials_go_by_a_private_file(tmp_path):
    """They are for one registry; others are asked with what --authfile holds."""
    registry = Registry(creds="me:secret", authfile="auth.json", cert_dir="certs")
    with private_credentials(registry, "r.example:5000/a") as private:
        assert private.creds is None
        assert private.cert_dir == str(Path("certs").absolute())
        assert private.authfile_for("other.example/x") == str(Path("auth.json").absolute())
        assert private.authfile_for("library/b") == private.authfile
        path = Path(private.authfile_for("r.example:5000/b") or "")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        token = base64.b64encode(b"me:secret").decode()
        assert json.loads(path.read_text()) == {"auths": {"r.example:5000": {"auth": token}}}
        with skopeo_options("r.example:5000/b", private) as (options, _):
            assert options == [f"--cert-dir={private.cert_dir}", f"--authfile={path}"]
        with skopeo_options("other.example/x", private) as (options, _):
            assert options == [f"--cert-dir={private.cert_dir}", f"--authfile={private.authfile}"]
    assert not path.parent.exists()
    with private_credentials(replace(registry, creds=None), "r.example/a") as private:
        assert private.authfile_for("r.example/a") == str(Path("auth.json").absolute())


def fake(folder: Path, script: str) -> dict[str, str]:
    """An environment whose skopeo is a shell script: for what no registry says on demand."""
    path = folder / "skopeo"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def attempt(folder: Path, said: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, ToolError]:
    """Runs copy() with a skopeo that says something and fails: how often it was tried, and the error."""
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    env = fake(folder, f"echo x >> {folder}/tries; cat >&2 <<'END'\n{said}\nEND\nexit 1\n")
    with pytest.raises(ToolError) as caught:
        push.copy("oci:x", Target("r.example:5000/a", "1"), DIGEST, Registry(env=env))
    return (folder / "tries").read_text().count("x"), caught.value


@pytest.mark.parametrize(
    "said",
    [
        "received unexpected HTTP status: 503 Service Unavailable",
        "dial tcp 10.0.0.1:443: connect: connection refused",
        "unexpected EOF",
        "toomanyrequests: slow down",
        "net/http: TLS handshake timeout",
        "Uploading blob: received unexpected HTTP status: 429 Too Many Requests",
        "failed to read from destination repository x/y: 500 (Internal Server Error)",
        "error parsing HTTP 502 response body: invalid character '<' looking for beginning of value",
    ],
)
def test_what_may_pass_is_tried_again(tmp_path, monkeypatch, caplog, said):
    with caplog.at_level(logging.WARNING):
        tries, error = attempt(tmp_path, f'time="x" level=fatal msg="{said}"', monkeypatch)
    expected = retry.SILENT_ATTEMPTS if "timeout" in said else retry.ATTEMPTS
    assert tries == expected
    assert caplog.text.count("trying again") == expected - 1
    assert said in caplog.text
    assert "cannot push docker://r.example:5000/a:1" in error.message


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("unauthorized: authentication required", "does not let this user push"),
        (
            "error parsing HTTP 403 response body: unexpected end of JSON input",
            "does not let this user push",
        ),
        ("manifest invalid: unknown blob", "cannot push"),
        ("writing manifest: uploading manifest 1 to r.example:5000/a: denied", "does not let this user push"),
        ("x509: certificate signed by unknown authority", "no trusted connection"),
    ],
)
def test_what_will_not_pass_is_believed(tmp_path, monkeypatch, said, message):
    tries, error = attempt(tmp_path, f'level=fatal msg="{said}"', monkeypatch)
    assert tries == 1
    assert message in error.message
    assert error.hint


def test_lost_blobs_are_named(tmp_path, monkeypatch):
    name = "b" * 64
    said = f"reading blob sha256:{name}: open image/blobs/sha256/{name}: no such file or directory"
    tries, error = attempt(tmp_path, said, monkeypatch)
    assert tries == 1
    assert isinstance(error, LostBlobsError)
    assert error.digests == (f"sha256:{name}",)


def test_another_digest_than_expected_is_an_error(tmp_path):
    env = fake(tmp_path, 'for a; do case $a in --digestfile=*) echo sha256:other > "${a#*=}";; esac; done\n')
    with pytest.raises(ToolError) as caught:
        push.copy("oci:x", Target("r.example/a", "1"), DIGEST, Registry(env=env))
    assert "not what was to be pushed" in caught.value.message


def test_options_go_to_both_sides(tmp_path):
    env = fake(
        tmp_path,
        f'echo "$@" > {tmp_path}/said\n'
        f'for a; do case $a in --digestfile=*) echo {DIGEST} > "${{a#*=}}";; esac; done\n',
    )
    registry = Registry(tls_verify=False, authfile="/auth", cert_dir="/certs", env=env)
    push.retag(Pinned("r.example/a", DIGEST), [Target("r.example/a", "2")], registry)
    words = (tmp_path / "said").read_text().split()
    for side in ("src", "dest"):
        assert {f"--{side}-tls-verify=false", f"--{side}-authfile=/auth", f"--{side}-cert-dir=/certs"} <= set(
            words
        )
    assert words[-2:] == [f"docker://r.example/a@{DIGEST}", "docker://r.example/a:2"]
    assert "--preserve-digests" in words


def test_the_state_remembers_pushes(tmp_path):
    path = str(tmp_path / "state.json")
    known = state.load(path)
    assert not known.knows("r/a", DIGEST)
    state.save(known.pushed("r/a", "1", "sha256:" + "b" * 64).pushed("r/a", "2", DIGEST), path)
    known = state.load(path)
    assert known.knows("r/a", DIGEST)
    assert not known.knows("r/b", DIGEST)
    assert not known.knows("r/a", None)
    state.save(known.pushed("r/a", "2", "sha256:" + "c" * 64), path)
    assert not state.load(path).knows("r/a", DIGEST)
    assert os.listdir(tmp_path) == ["state.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version":2,"repositories":{}}',
        '{"version":1,"repositories":{"a":{"1":"x"}}}',
        "[" * 9999,
    ],
)
def test_what_is_no_state_file_is_not_written_over(tmp_path, text):
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(UsageError):
        state.load(str(path))


def test_a_state_file_that_cannot_be_written(tmp_path):
    with pytest.raises(RechunkError):
        state.save(state.State(), str(tmp_path / "absent" / "state.json"))
    assert os.listdir(tmp_path) == []


def test_who_vouches_for_the_previous_image(caplog):
    """A digest in the reference does, and the user's own state; a tag does not."""
    record = ImageRecord("it", ImageConfig(), (), DIGEST, b"{}")
    by_tag = found("docker://r.example/a:1", record)
    assert not by_tag.trusted
    assert by_tag.reference == f"docker://r.example/a@{DIGEST}"
    assert found(f"docker://r.example/a@{DIGEST}", record).trusted
    own = state.State().pushed("r.example/a", "9", DIGEST)
    assert found("docker://r.example/a:1", record, own).trusted
    assert not found("docker://r.example/b:1", record, own).trusted
