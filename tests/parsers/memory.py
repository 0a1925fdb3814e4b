"""The parsers of our own documents, which travel through places that nobody guards."""

from __future__ import annotations

import json
import lzma
import random
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

from parsers.images import CONFIG_DOCUMENT
from rechunk_podman.build.image_ledger import LEDGER_CREATED_BY, remembered
from rechunk_podman.build.job import Failure, Job, Result
from rechunk_podman.errors import RechunkError
from rechunk_podman.explain.inspect import describe
from rechunk_podman.history.summary import Summary, write_summary
from rechunk_podman.model import Component, ComponentId
from rechunk_podman.oci.config import ImageConfig
from rechunk_podman.oci.documents import image_record
from rechunk_podman.oci.spec import DiffId
from rechunk_podman.planning.codec import seal, unseal
from rechunk_podman.planning.families import family
from rechunk_podman.planning.history import parse_history
from rechunk_podman.planning.ledger import FORMAT, Ledger, decode, encode
from rechunk_podman.planning.plan import plan
from rechunk_podman.planning.reputation import reputation
from rechunk_podman.planning.simulate import replay
from rechunk_podman.registry import state, verified
from support.fuzzing import Parser, damaged
from support.oci_material import make_tar, member

COMPONENTS = [
    Component(ComponentId(source, name), size, bytes([size] * 8), version=f"1.{size}")
    for size, (source, name) in enumerate([("rpm", "a"), ("rpm", "b"), ("dpkg", "c")], 1)
]
DIFF_IDS = [f"sha256:{number:064x}" for number in range(3)]
HISTORY = {
    "series": "small",
    "components": {
        "a": {"source": "a", "size": 100, "changelog": [5, 300]},
        "b": {"source": "b", "size": None},
    },
    "releases": [
        {"id": "1", "date": 100, "packages": {"a": "1", "b": "1"}},
        {"id": "2", "date": 200, "set": {"a": "2"}, "del": []},
        {"id": "3", "date": 300, "del": ["b"]},
    ],
}
DETAILS = {"size": 100, "packed": 50, "fingerprint": "00" * 8, "changes": [5], "interval": 7}
MEASURED = {
    "series": "measured",
    "components": {"rpm/a": {"source": "rpm/a", "size": 100, "size_from": "measured"}},
    "releases": [
        {
            "id": "1",
            "date": 9,
            "packages": {"rpm/a": "1"},
            "details": {"rpm/a": DETAILS},
            "layers": [["x", 5]],
        },
        {"id": "2", "date": 99, "set": {"rpm/a": "2"}, "details": {"rpm/a": {**DETAILS, "size": 101}}},
    ],
}


def ledger() -> str:
    """Return the text of a Ledger of two releases."""
    found: Ledger | None = None
    for date in (5, 9):
        planned = plan(COMPONENTS, found, max_layers=3, now=date)
        found = Ledger.advance(found, COMPONENTS, planned, DIFF_IDS[: len(planned.layers)], date=date)
    return encode(found)


def _ledger(data: bytes) -> None:
    """Decode a damaged text, and one whose checksum is right: the damaged columns of a sound Ledger.

    Plan with what was decoded.
    """
    _, raw, columns = unseal([FORMAT], LEDGER)
    chance = random.Random(zlib.crc32(data))
    chosen = chance.randrange(len(columns))
    columns[chosen] = damaged(columns[chosen], chance)
    if chance.randrange(4) == 0:
        raw = damaged(raw, chance)
    for text in (data.decode("latin-1"), seal(FORMAT, raw, columns)):
        with suppress(RechunkError):
            found = decode(text)
            planned = plan(COMPONENTS, found, max_layers=4, now=20)
            again = Ledger.advance(found, COMPONENTS, planned, _diff_ids(len(planned.layers)), date=20)
            decode(encode(again))


def _diff_ids(count: int) -> list[str]:
    return [f"sha256:{number:064x}" for number in range(count)]


def _config_with_ledger(data: bytes) -> None:
    config = ImageConfig.parse(data, name="the config")
    remembered(config, "image")
    describe(image_record("image", None, data))


def config_with_ledger() -> bytes:
    """Return an image config with a Ledger in its history."""
    entries = [{"created_by": "rechunk-podman", "comment": "rpm/a +1 [00000000]"}] * len(DIFF_IDS)
    history = [*entries, {"created_by": LEDGER_CREATED_BY, "comment": LEDGER, "empty_layer": True}]
    rootfs = {"type": "layers", "diff_ids": DIFF_IDS}
    return json.dumps({**CONFIG_DOCUMENT, "rootfs": rootfs, "history": history}).encode()


def _summary(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "layer.zip")
        path.write_bytes(data)
        with Summary(path) as summary:
            for _, content in summary.members(lambda _: None):
                if content is not None:
                    content.content()


def summary() -> bytes:
    """Return the summary of a layer."""
    with tempfile.TemporaryDirectory() as folder:
        tar, path = Path(folder, "layer.tar"), Path(folder, "layer.zip")
        contents = {
            "usr/bin/a": b"a",
            "var/lib/dpkg/status": b"Package: a\n",
            "a.pyc": b"\xa7\r\r\n" + bytes(12),
        }
        tar.write_bytes(make_tar([member(name, data=data) for name, data in contents.items()]))
        with tar.open("rb") as stream:
            write_summary(stream, "layer", path)
        return path.read_bytes()


def _pace(data: bytes) -> None:
    """Estimate the pace of a component by its name, in the forms that a Ledger and a part may have."""
    name = data.decode("utf-8", "surrogateescape")
    reputation(ComponentId("rpm", name))
    family(ComponentId("rpm", name))


def _verified(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        verified.load(Path(file.name))


LEDGER = ledger()
JOB = Job(
    "/rootfs",
    output="oci:x",
    config="{}",
    previous="a:b",
    held=(DiffId(DIFF_IDS[0]),),
    platform="linux/amd64",
).to_json()
RESULTS = [
    Result("{}", "{}", plan={"layers": []}).to_json(),
    Result(error=Failure("no", ("because",), "do", 1)).to_json(),
]
PUSHED = state.State({"quay.io/a/b": {"1": DIFF_IDS[0]}})
STATE = json.dumps({"version": state.VERSION, "repositories": PUSHED.repositories}).encode()

PARSERS: dict[str, Parser] = {
    "ledger": Parser(_ledger, [LEDGER.encode()]),
    "config with ledger": Parser(_config_with_ledger, [config_with_ledger()]),
    "history": Parser(
        lambda data: replay(parse_history(data), max_layers=2),
        [json.dumps(HISTORY).encode(), json.dumps(MEASURED).encode()],
    ),
    "history xz": Parser(parse_history, [lzma.compress(json.dumps(HISTORY).encode())]),
    "job": Parser(Job.from_json, [JOB]),
    "result": Parser(Result.from_json, RESULTS),
    "state": Parser(lambda data: state.parse(data, "state"), [STATE]),
    "paces": Parser(_pace, [b"python3-libfoo-1.2", b"gcc-12-base"]),
    "verified blobs": Parser(_verified, [f"{DIFF_IDS[0]} {DIFF_IDS[1]}\n".encode()]),
    "summary": Parser(_summary, [summary()]),
}
