"""Images by reference: what a reference names, what is wrong with it, and which image of several."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from rechunk_podman.cli.options import Access
from rechunk_podman.errors import ImageError, MissingImageError, UsageError
from rechunk_podman.oci.reference import LocationKind, locate
from rechunk_podman.programs.process import CommandError
from rechunk_podman.registry import retry
from rechunk_podman.registry.access import Registry, skopeo_options
from rechunk_podman.registry.answers import DeniedError, UnreachableError, explained, is_busy
from rechunk_podman.registry.documents import choose_platform, image_documents, previous_documents
from rechunk_podman.registry.tags import list_tags
from support.oci_material import Layout, archive_of, make_tar, member


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with an image in every form that a path can name."""
    layout = Layout(tmp_path / "layout").layer(make_tar([member("a")]))
    layout.finish()
    archive_of(layout.path, tmp_path / "o.tar")
    (tmp_path / "config.json").write_text(json.dumps(layout.config))
    (tmp_path / "listed.json").write_text("\ufeff \n[" + json.dumps(layout.config) + "]")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "place", "name"),
    [
        ("docker://example.org/x:1", LocationKind.REGISTRY, "example.org/x:1"),
        ("containers-storage:x", LocationKind.STORAGE, "x"),
        ("localhost/x:1", LocationKind.STORAGE, "localhost/x:1"),
        ("docker:27", LocationKind.STORAGE, "docker:27"),
        ("oci:layout", LocationKind.IMAGE, "oci:layout"),
        ("oci:absent", LocationKind.IMAGE, "oci:absent"),
        ("oci-archive:o.tar:tag", LocationKind.IMAGE, "oci-archive:o.tar:tag"),
        ("layout", LocationKind.IMAGE, "oci:layout"),
        ("layout:tag", LocationKind.IMAGE, "oci:layout:tag"),
        ("o.tar", LocationKind.IMAGE, "o.tar"),
        ("file", LocationKind.IMAGE, "file"),
        ("config.json", LocationKind.DOCUMENT, "config.json"),
        ("./config.json", LocationKind.DOCUMENT, "./config.json"),
        ("listed.json", LocationKind.DOCUMENT, "listed.json"),
        ("folder", LocationKind.DIRECTORY, "folder"),
        ("folder:tag", LocationKind.STORAGE, "folder:tag"),
    ],
)
def test_what_a_reference_names(here, text, place, name):
    assert locate(text) == (place, name)


@pytest.mark.parametrize("text", ["", "./absent", "/absent/x", "dir:folder", "docker-daemon:x:1"])
def test_references_to_nothing(here, text):
    with pytest.raises(UsageError):
        locate(text)


@pytest.mark.parametrize(
    "reference", ["layout", "oci:layout", "o.tar", "oci-archive:o.tar", "config.json", "listed.json"]
)
def test_documents_of_files(here, reference):
    found = image_documents(reference)
    assert found.name == reference
    assert len(found.layers) == 1
    assert (found.digest is None) == reference.endswith(".json")
    assert found.config.architecture == "amd64"


@pytest.mark.parametrize(
    ("reference", "error"),
    [
        ("oci:absent", MissingImageError),
        ("./absent", MissingImageError),
        ("oci:layout:other", UsageError),
        ("oci:folder", UsageError),
        ("./folder", UsageError),
        ("file", ImageError),
        ("docker://Not/Lower", UsageError),
        ("Not/Lower", UsageError),
    ],
)
def test_what_is_no_image(here, reference, error):
    with pytest.raises(error):
        image_documents(reference)


@pytest.mark.parametrize(
    "reference", ["oci:absent", "./absent.json", "oci:layout:other", "oci:folder", "file", "broken.json"]
)
def test_a_previous_image_that_is_not_there_is_a_warning(here, warnings, reference):
    (here / "broken.json").write_text('{"architecture": 7}')
    assert previous_documents(reference) is None
    assert len(warnings) == 2
    assert warnings[0].startswith("no previous image: ")
    assert "without memory" in warnings[1]


@pytest.mark.parametrize(
    "reference", ["", "docker://", "docker://Not/Lower", "Not/Lower", "oci:", "dir:folder", "./folder", "a b"]
)
def test_a_previous_image_that_cannot_be_meant_is_an_error(here, reference):
    with pytest.raises(UsageError):
        previous_documents(reference)


AMD64 = {"os": "linux", "architecture": "amd64"}


def index(*platforms):
    digests = ["sha256:" + f"{number:x}" * 64 for number in range(len(platforms))]
    entries = [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": d, "size": 1}
        | ({"platform": p} if p else {})
        for d, p in zip(digests, platforms, strict=True)
    ]
    return json.dumps({"schemaVersion": 2, "manifests": entries}).encode(), digests


def test_the_image_of_a_platform():
    v7 = {"os": "linux", "architecture": "arm", "variant": "v7"}
    v6 = {"os": "linux", "architecture": "arm", "variant": "v6"}
    attestation = {"os": "unknown", "architecture": "unknown"}
    data, digests = index(attestation, AMD64, v6, v7)
    assert choose_platform(data, "x", "amd64") == digests[1]
    assert choose_platform(data, "x", "x86_64") == digests[1]
    assert choose_platform(data, "x", "arm/v7") == digests[3]
    assert choose_platform(data, "x", "arm/v6") == digests[2]
    with pytest.raises(UsageError, match="no image for linux/s390x"):
        choose_platform(data, "x", "s390x")
    with pytest.raises(ImageError):
        choose_platform(b"{}", "x")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("reading manifest 1 in REPO: manifest unknown: manifest unknown", MissingImageError),
        ("reading manifest 1 in REPO: name unknown: repository name not known", MissingImageError),
        ('reading manifest 1 in REPO: StatusCode: 404, \\"page not found\\"', MissingImageError),
        ("reading manifest 1 in REPO: unauthorized: authentication required", DeniedError),
        ("reading manifest 1 in REPO: denied: requested access to the resource is denied", DeniedError),
        ("unable to retrieve auth token: invalid username/password: unauthorized", DeniedError),
        (
            "pinging container registry HOST: dial tcp 1.2.3.4:443: connect: connection refused",
            UnreachableError,
        ),
        ("pinging container registry HOST: lookup HOST on 1.1.1.1:53: no such host", UnreachableError),
        ("pinging container registry HOST: context deadline exceeded", UnreachableError),
        (
            "pinging container registry HOST: http: server gave HTTP response to HTTPS client",
            UnreachableError,
        ),
        (
            "pinging container registry HOST: tls: failed to verify certificate: x509: unknown",
            UnreachableError,
        ),
        ("received unexpected HTTP status: 503 Service Unavailable", UnreachableError),
        (
            "Error fetching blob: invalid status code from registry 503 (Service Unavailable)",
            UnreachableError,
        ),
        ("reading manifest 1 in REPO: StatusCode: 429, ", UnreachableError),
        ("reading manifest 1 in REPO: 500 (Internal Server Error)", UnreachableError),
    ],
)
def test_what_registries_say(said, kind):
    """The texts are those of skopeo; a name that contains the word of a failure is no failure."""
    repository = "example.org/denied/certificate-timeout"
    text = said.replace("REPO", repository).replace("HOST", "example.org")
    message = f'Error parsing image name \\"docker://{repository}:1\\": {text}'
    line = f'time="2026-01-01T00:00:00Z" level=fatal msg="{message}"'
    error = CommandError(
        "skopeo failed with status 1", 1, context=(line, "command: skopeo inspect"), hint=None
    )
    found = explained(f"docker://{repository}:1", repository, error)
    assert type(found) is kind
    assert found.hint
    assert len(found.context) == 1


def test_a_failure_of_another_kind_stays_what_it_is():
    error = CommandError("skopeo was ended by signal 9", -9, context=("command: skopeo inspect",), hint=None)
    assert explained("docker://x", "x", error) is error


@pytest.mark.parametrize("creds", ["", ":", "sesame", ":sesame"])
def test_credentials_that_are_none(creds):
    with pytest.raises(UsageError) as caught:
        Registry(creds=creds)
    assert "sesame" not in caught.value.message + (caught.value.hint or "")


def test_credentials_go_by_a_private_file_and_are_never_shown():
    registry = Registry(creds="user:sesame", tls_verify=False)
    assert "sesame" not in repr(registry)
    with skopeo_options("example.org:5000/x", registry) as (options, secrets):
        assert "sesame" not in " ".join(options)
        assert {"user:sesame", "sesame"} <= set(secrets)
        assert "--tls-verify=false" in options
        path = next(option for option in options if option.startswith("--authfile=")).partition("=")[2]
        assert Path(path).stat().st_mode & 0o777 == 0o600
        assert list(json.loads(Path(path).read_text())["auths"]) == ["example.org:5000"]
    assert not Path(path).exists()
    with skopeo_options("library/debian", registry) as (options, _):
        path = next(option for option in options if option.startswith("--authfile=")).partition("=")[2]
        assert list(json.loads(Path(path).read_text())["auths"]) == ["docker.io"]


def test_credentials_are_for_one_registry():
    access = Access(authfile="/file", creds="u:p")
    registry = access.registry("oci:x", "docker://one.example/a", "docker://b/c")
    assert registry.host == "one.example"
    with skopeo_options("two.example/a", registry) as found:
        assert found == (["--authfile=/file"], [])
    with skopeo_options("one.example/b", registry) as (options, secrets):
        assert "u:p" in secrets
        assert options != ["--authfile=/file"]


def test_options_without_credentials():
    with skopeo_options("x", Registry(authfile="/a/file")) as (options, secrets):
        assert (options, secrets) == (["--authfile=/a/file"], [])
    with skopeo_options("x", Registry()) as (options, secrets):
        assert (options, secrets) == ([], [])


def told(text: str) -> CommandError:
    """Return the error of skopeo with this last line."""
    return CommandError("skopeo failed", 1, context=(f'level=fatal msg="{text}"',), hint=None)


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ("Error fetching blob: invalid status code from registry 503 (Service Unavailable)", True),
        ("received unexpected HTTP status: 500 Internal Server Error", True),
        ("StatusCode: 429, ", True),
        ("toomanyrequests: slow down", True),
        ("read tcp: connection reset by peer", True),
        ("dial tcp 1.2.3.4:443: connect: connection refused", False),
        ("reading manifest 1 in r.example:5001/eof/500: manifest unknown", False),
        ("unauthorized: authentication required", False),
    ],
)
def test_a_registry_that_is_busy(said, passes):
    """A missing document is not asked for again; a name in the message is no status."""
    assert is_busy(told(said), "r.example:5001/eof/500") == passes


def test_a_busy_registry_is_asked_again(tmp_path, monkeypatch, caplog):
    """A script in the place of skopeo fails twice."""
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    skopeo = tmp_path / "skopeo"
    skopeo.write_text(
        f"#!/bin/sh\necho x >> {tmp_path}/tries\n"
        f'[ $(wc -l < {tmp_path}/tries) -gt 2 ] && echo \'{{"Tags": ["1"]}}\' && exit\n'
        "echo 'level=fatal msg=\"StatusCode: 429, \"' >&2; exit 1\n"
    )
    skopeo.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    with caplog.at_level(logging.WARNING):
        assert list_tags("r.example/a", Registry(env=env)) == ["1"]
    assert caplog.text.count("trying again") == 2
    assert "attempt 1 of 4 to read docker://r.example/a failed: StatusCode: 429" in caplog.text
