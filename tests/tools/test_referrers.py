"""Artifacts attached in a real registry: the list under a tag, and a front with the referrers API."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rechunk_podman.errors import ImageError, ToolError
from rechunk_podman.oci.artifact import REPORT, Artifact, File, artifact_of, referrers_tag, with_referrer
from rechunk_podman.oci.reference import Pinned
from rechunk_podman.oci.spec import Descriptor, Digest
from rechunk_podman.publish.attach import attach
from rechunk_podman.registry import referrers
from rechunk_podman.registry.access import Registry
from rechunk_podman.registry.referrers import PAUSE, ROUNDS, is_listed, keep_under_tag
from rechunk_podman.registry.upload import Repository
from support import tools
from support.front import front_of
from support.needs import require, unavailable

PLAIN = Registry(tls_verify=False)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tools.Registry]:
    require("docker-registry", "skopeo")
    with tools.loopback_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


def subject_of(number: int) -> Descriptor:
    """A manifest that need not exist: a registry takes what refers to it all the same."""
    return Descriptor(MANIFEST, Digest("sha256:" + hashlib.sha256(b"%d" % number).hexdigest()), 100)


def artifact(subject: Descriptor, text: str) -> Artifact:
    return artifact_of([File("diff.json", "application/json", text.encode())], subject, {"text": text})


def ask(
    address: str, method: str, place: str, kind: str = "", data: bytes | None = None
) -> tuple[int, bytes]:
    """Another client sends a request: the status and the body of the answer."""
    connection = http.client.HTTPConnection(address, timeout=60)
    headers = {"Content-Type": kind} if kind else {"Accept": f"{INDEX}, {MANIFEST}"}
    connection.request(method, f"/v2/{place}", data, headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def get(address: str, place: str) -> bytes:
    """A document of a registry."""
    status, data = ask(address, "GET", place)
    assert status == 200, data
    return data


def put(address: str, name: str, tag: str, data: bytes, kind: str = INDEX) -> None:
    """Another client writes a manifest."""
    status, said = ask(address, "PUT", f"{name}/manifests/{tag}", kind, data)
    assert status == 201, said


def entries(address: str, name: str, subject: Descriptor) -> list[Any]:
    """The list under the tag of a subject."""
    found = json.loads(get(address, f"{name}/manifests/{referrers_tag(subject.digest)}"))["manifests"]
    assert isinstance(found, list)
    return found


def push_artifact(address: str, name: str, made: Artifact) -> None:
    """Store an artifact without a list."""
    repository = Repository(f"{address}/{name}", PLAIN)
    for data in made.blobs.values():
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        place = repository.ask("POST", "blobs/uploads/", (202,)).headers["Location"]
        repository.ask("PUT", f"{place}&digest={digest}", (201,), body=data)
    put(address, name, made.digest, made.manifest, MANIFEST)


def test_a_registry_without_the_api(registry: tools.Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two artifacts, the second one twice: both are in the list under the tag, once, and can be fetched."""
    monkeypatch.setattr(referrers, "PAUSE", 0.0)
    subject = subject_of(1)
    place = Pinned(f"{registry.address}/refer/tag", subject.digest)
    made = [artifact(subject, text) for text in ("[1]", "[2]", "[2]")]
    references = [attach(one, place, PLAIN) for one in made]
    assert [reference.digest for reference in references] == [one.digest for one in made]
    listed = entries(registry.address, "refer/tag", subject)
    assert [entry["digest"] for entry in listed] == [made[0].digest, made[1].digest]
    assert [entry["annotations"] for entry in listed] == [{"text": "[1]"}, {"text": "[2]"}]
    assert {entry["artifactType"] for entry in listed} == {REPORT}
    for one in made:
        assert get(registry.address, f"refer/tag/manifests/{one.digest}") == one.manifest
        for digest, data in one.blobs.items():
            assert get(registry.address, f"refer/tag/blobs/{digest}") == data


def test_another_client_fetches_the_files(registry: tools.Registry, tmp_path: Path) -> None:
    """oras finds the file by its title in the artifact."""
    try:
        from oras.client import OrasClient
    except ImportError:
        unavailable("oras is not installed")
    subject = subject_of(11)
    made = artifact(subject, "[11]")
    push_artifact(registry.address, "refer/oras", made)
    client = OrasClient(hostname=registry.address, insecure=True)
    (file,) = client.pull(target=f"{registry.address}/refer/oras@{made.digest}", outdir=str(tmp_path))
    assert file == str(tmp_path / "diff.json")
    assert Path(file).read_text() == "[11]"


def test_a_registry_with_the_api(registry: tools.Registry) -> None:
    """It lists the artifact by itself, on any page of its list: no tag is written."""
    subject = subject_of(2)
    with front_of(registry.address) as front:
        front.page = 2
        place = Pinned(f"{front.address}/refer/api", subject.digest)
        made = [artifact(subject, f"[{number}]") for number in range(5)]
        for one in made:
            attach(one, place, PLAIN)
        assert [entry["digest"] for entry in front.referrers[subject.digest]] == [one.digest for one in made]
        assert sum("last=4" in path for _, path in front.asked) == 1  # the fifth is on the third page
        assert not any(referrers_tag(subject.digest) in path for _, path in front.asked)
    tag = referrers_tag(subject.digest)
    assert ask(registry.address, "GET", f"refer/api/manifests/{tag}")[0] == 404


def test_an_api_that_fails(registry: tools.Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statuses that the specification does not name count like none: the list is kept, too."""
    monkeypatch.setattr(referrers, "PAUSE", 0.0)
    subject = subject_of(3)
    made = artifact(subject, "[1]")
    with front_of(registry.address) as front:
        front.fault = lambda method, path: 405 if "/referrers/" in path else None
        attach(made, Pinned(f"{front.address}/refer/fails", subject.digest), PLAIN)
    assert [entry["digest"] for entry in entries(registry.address, "refer/fails", subject)] == [made.digest]


def others(
    registry: tools.Registry, name: str, subject: Descriptor, count: int
) -> tuple[list[Artifact], Callable[[], None]]:
    """Artifacts of another client, and a function that puts the next one alone into the list.

    So writes a client that read the list before it had any entry.
    """
    made = [artifact(subject, f'["other {number}"]') for number in range(count)]
    for one in made:
        push_artifact(registry.address, name, one)
    waiting = list(made)

    def write() -> None:
        if waiting:
            alone = with_referrer(None, waiting.pop(0).manifest, "the list")
            assert alone is not None
            put(registry.address, name, referrers_tag(subject.digest), alone)

    return made, write


def test_another_client_that_replaces_the_list(registry: tools.Registry) -> None:
    """It read the list before our write, and writes it after: our entry is added again, and theirs stays."""
    subject, name = subject_of(4), "refer/replaced"
    own = artifact(subject, "[]")
    push_artifact(registry.address, name, own)
    made, write = others(registry, name, subject, 2)
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        write()

    repository = Repository(f"{registry.address}/{name}", PLAIN)
    keep_under_tag(repository, subject.digest, own.manifest, pause=pause)
    listed = {entry["digest"] for entry in entries(registry.address, name, subject)}
    assert listed == {made[-1].digest, own.digest}
    assert len(pauses) == 3
    assert min(pauses) >= PAUSE


def test_another_client_that_replaces_the_list_for_ever(registry: tools.Registry) -> None:
    subject, name = subject_of(5), "refer/for-ever"
    own = artifact(subject, "[]")
    push_artifact(registry.address, name, own)
    _, write = others(registry, name, subject, ROUNDS)
    repository = Repository(f"{registry.address}/{name}", PLAIN)
    with pytest.raises(ToolError, match="all the time"):
        keep_under_tag(repository, subject.digest, own.manifest, pause=lambda _: write())


def test_a_registry_with_conditional_requests(registry: tools.Registry) -> None:
    """The other client writes between our read and our write: ours is refused, and nothing is lost."""
    subject, name = subject_of(6), "refer/conditional"
    own = artifact(subject, "[]")
    push_artifact(registry.address, name, own)
    made, write = others(registry, name, subject, 2)
    with front_of(registry.address) as front:
        front.conditional = True

        def fault(method: str, path: str) -> None:
            if method == "PUT":
                write()

        front.fault = fault
        repository = Repository(f"{front.address}/{name}", PLAIN)
        keep_under_tag(repository, subject.digest, own.manifest, pause=lambda _: None)
        assert sum(method == "PUT" for method, _ in front.asked) == 3
    listed = [entry["digest"] for entry in entries(registry.address, name, subject)]
    assert listed == [made[-1].digest, own.digest]


def test_conditions_that_are_never_met(registry: tools.Registry) -> None:
    """A cache answers 412 to each: the last writes are without."""
    subject, name = subject_of(12), "refer/never"
    own = artifact(subject, "[]")
    push_artifact(registry.address, name, own)
    put(
        registry.address,
        name,
        referrers_tag(subject.digest),
        json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode(),
    )
    with front_of(registry.address) as front:
        front.conditional, front.etag = True, '"of-the-cache"'
        repository = Repository(f"{front.address}/{name}", PLAIN)
        keep_under_tag(repository, subject.digest, own.manifest, pause=lambda _: None)
        assert sum(method == "PUT" for method, _ in front.asked) == 6
    assert [entry["digest"] for entry in entries(registry.address, name, subject)] == [own.digest]


def test_a_tag_that_names_something_else(registry: tools.Registry) -> None:
    """It is not replaced (distribution-spec: report a failure)."""
    subject, name = subject_of(7), "refer/else"
    own = artifact(subject, "[]")
    push_artifact(registry.address, name, own)
    tag = referrers_tag(subject.digest)
    put(registry.address, name, tag, own.manifest, MANIFEST)
    repository = Repository(f"{registry.address}/{name}", PLAIN)
    with pytest.raises(ImageError, match="is not a list of referrers"):
        keep_under_tag(repository, subject.digest, own.manifest)
    assert get(registry.address, f"{name}/manifests/{tag}") == own.manifest


def test_what_only_skopeo_can_reach(
    registry: tools.Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """There is an identity token: the artifact is pushed, and a warning says that no list could be kept."""
    subject = subject_of(8)
    made = artifact(subject, "[1]")
    authfile = tmp_path / "auth.json"
    authfile.write_text(json.dumps({"auths": {registry.address: {"identitytoken": "x", "auth": "YTpi"}}}))
    access = Registry(tls_verify=False, authfile=str(authfile))
    reference = attach(made, Pinned(f"{registry.address}/refer/skopeo", subject.digest), access)
    assert get(registry.address, f"refer/skopeo/manifests/{reference.digest}") == made.manifest
    assert "has the referrers API" in caplog.text


def test_it_is_not_listed_for_another_subject(registry: tools.Registry) -> None:
    with front_of(registry.address) as front:
        front.page = 10
        made = artifact(subject_of(9), "[1]")
        attach(made, Pinned(f"{front.address}/refer/two", subject_of(9).digest), PLAIN)
        repository = Repository(f"{front.address}/refer/two", PLAIN)
        assert is_listed(repository, subject_of(9).digest, made.digest, REPORT)
        assert not is_listed(repository, subject_of(10).digest, made.digest, REPORT)
