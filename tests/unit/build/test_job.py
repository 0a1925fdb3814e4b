"""job.json and result.json: everything comes back, and nothing but what belongs there is read."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rechunk_podman.build.job import FORMAT, LOG, RESULT, Failure, Job, Result
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.run import run, run_file
from rechunk_podman.errors import RechunkError, UsageError
from rechunk_podman.oci.spec import DiffId, Digest
from rechunk_podman.oci.validate.image import validate
from rechunk_podman.oci.write.compress import Compression
from rechunk_podman.oci.write.output import Format
from rechunk_podman.registry.access import Registry

TEXT = st.text() | st.sampled_from(["é\udcff", "", "two\nlines", '"'])
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
DIGEST = Digest("sha256:" + "a" * 64)

OPTIONS = st.builds(
    BuildOptions,
    max_layers=st.integers(1, 500),
    labels=TEXTS,
    arch=st.none() | TEXT,
    created=st.none() | st.integers(0, 2**40),
    compression=st.sampled_from([Compression(), Compression("gzip", 0), Compression("zstd", 22)]),
    format=st.sampled_from([None, Format.OCI]),
    prune=TEXTS,
    root_mode=st.integers(0, 0o7777),
    bootc=st.booleans(),
    tag=st.none() | TEXT,
)
JOBS = st.builds(
    Job,
    rootfs=TEXT,
    options=OPTIONS,
    config=st.none() | TEXT,
    previous=st.none() | TEXT,
    verify=st.none() | st.booleans(),
    registry=st.builds(Registry, tls_verify=st.none() | st.booleans(), authfile=st.none() | TEXT),
    held=st.lists(st.just(DiffId(DIGEST))).map(tuple),
    lost=st.lists(st.just(DIGEST)).map(tuple),
)


@given(JOBS)
def test_a_job_reads_back(job: Job) -> None:
    assert Job.from_json(job.to_json()) == job


@given(st.builds(Result, manifest=st.none() | TEXT, error=st.none() | st.builds(Failure, TEXT, TEXTS)))
def test_a_result_reads_back(result: Result) -> None:
    assert Result.from_json(result.to_json()) == result


def test_defaults_are_left_out() -> None:
    assert json.loads(Job("/r").to_json()) == {"format": FORMAT, "rootfs": "/r"}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"rootfs": "/r", "held_blobs": []}, "unknown key 'held_blobs'"),
        ({"rootfs": "/r", "options": {"max_layer": 3}}, "job.json: options: unknown key 'max_layer'"),
        ({"rootfs": "/r", "options": {"max_layers": "3"}}, "job.json: options: max_layers is of the wrong"),
        ({"rootfs": "/r", "options": {"max_layers": True}}, "max_layers is of the wrong type"),
        ({"rootfs": "/r", "options": {"max_layers": 0}}, "max_layers is out of range: 0"),
        ({"rootfs": "/r", "options": {"root_mode": 0o10000}}, "root_mode is out of range"),
        ({"rootfs": "/r", "options": {"labels": ["a", 1]}}, "labels[1] is of the wrong type: 1"),
        ({"rootfs": "/r", "options": {"labels": "a"}}, "labels is of the wrong type"),
        ({"rootfs": "/r", "options": {"compression": {"kind": "lz4"}}}, "lz4"),
        ({"rootfs": "/r", "registry": {"creds": "u:p"}}, "unknown key 'creds'"),
        ({"rootfs": None}, "rootfs is of the wrong type"),
        ({}, "the key 'rootfs' is missing"),
        ([], "not a JSON object"),
    ],
)
def test_what_is_no_job(document: object, said: str) -> None:
    if isinstance(document, dict):
        document = {"format": FORMAT, **document}
    with pytest.raises(UsageError) as caught:
        Job.from_json(json.dumps(document).encode())
    assert said in caught.value.message


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 99999])
def test_what_is_no_json(text: bytes) -> None:
    with pytest.raises(UsageError, match="not JSON"):
        Job.from_json(text)


def test_another_format_is_another_version() -> None:
    with pytest.raises(UsageError, match="format number 2, not 1") as caught:
        Job.from_json(b'{"format": 2, "rootfs": "/r", "something": "new"}')
    assert "chunker image" in str(caught.value.hint)


def test_credentials_are_never_written() -> None:
    with pytest.raises(ValueError, match="secret"):
        Job("/r", registry=Registry(creds="me:secret")).to_json()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root filesystem of a few files."""
    root = tmp_path / "root"
    for name, size in (("etc/one", 10), ("opt/app/two", 5000)):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(b"x" * size)
    return root


def test_a_plan_predicts_layers_that_a_ledger_knows(root: Path, tmp_path: Path) -> None:
    """A layer of the Ledger has a diff_id; a layer of a first image has none."""
    first = run(Job(str(root), plan_only=True)).plan
    assert all("diff_id" not in layer for layer in first["layers"])
    built = run(Job(str(root), output=f"oci:{tmp_path / 'out'}"))
    assert built.image is not None
    validate(tmp_path / "out").check()
    again = run(Job(str(root), previous=f"oci:{tmp_path / 'out'}", plan_only=True)).plan
    assert [layer["diff_id"] for layer in again["layers"]] == [layer.diff_id for layer in built.image.layers]
    (root / "opt/app/two").write_bytes(b"y" * 5000)
    changed = run(Job(str(root), previous=f"oci:{tmp_path / 'out'}", plan_only=True)).plan
    assert 0 < sum("diff_id" in layer for layer in changed["layers"]) < len(changed["layers"])


def test_a_job_of_a_file(root: Path, tmp_path: Path) -> None:
    """The documents are those of the image; the log has what was asked for."""
    job = Job(str(root), output=f"oci:{tmp_path / 'out'}", log_level=logging.INFO)
    (tmp_path / "job.json").write_bytes(job.to_json())
    run_file(tmp_path / "job.json")
    validate(tmp_path / "out").check()
    result = Result.from_json((tmp_path / RESULT).read_bytes())
    (entry,) = json.loads((tmp_path / "out/index.json").read_text())["manifests"]
    name = entry["digest"].removeprefix("sha256:")
    assert result.manifest == (tmp_path / "out/blobs/sha256" / name).read_text()
    records = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert any(record["message"].startswith("scan: ") for record in records)
    begun, *others = records
    assert begun["level"] == logging.DEBUG
    phases = [record for record in others if "phase" in record]
    assert [record["phase"] for record in phases][:2] == ["scanning", "reading"]
    blobs = [record for record in others if "blob" in record]
    layers = [layer["digest"].removeprefix("sha256:") for layer in json.loads(result.manifest)["layers"]]
    assert sorted(Path(record["blob"]).name for record in blobs) == sorted(layers)
    assert all(record["level"] >= logging.INFO for record in others if record not in phases + blobs)


@pytest.mark.parametrize(
    ("job", "code"),
    [
        (b"{", 2),
        (Job("/none/there").to_json(), 1),
        (Job("/", BuildOptions(labels=("nothing",)), output="oci:x").to_json(), 2),
    ],
)
def test_an_error_is_the_result(tmp_path: Path, job: bytes, code: int) -> None:
    (tmp_path / "job.json").write_bytes(job)
    with pytest.raises(RechunkError) as caught:
        run_file(tmp_path / "job.json")
    error = Result.from_json((tmp_path / RESULT).read_bytes()).error
    assert error is not None
    assert (error.message, error.context, error.hint) == (
        caught.value.message,
        caught.value.context,
        caught.value.hint,
    )
    assert error.exit_code == caught.value.exit_code == code
