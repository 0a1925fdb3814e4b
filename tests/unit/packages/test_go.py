"""Programs that Go made: their build information, from real programs and from made ones."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from rechunk_podman.packages.go import buildinfo
from support.assigning import assigned, make
from support.embedded import SIZE, TEXT, program
from support.needs import require


def read(data):
    """Return the module, and the bytes that were read for it."""
    reads = [64]

    def read_at(length, offset):
        reads.append(length)
        return data[offset : offset + length]

    return buildinfo.module(data[:64], read_at), sum(reads)


@pytest.mark.parametrize("pointers", [False, True])
@pytest.mark.parametrize("section", [False, True])
@pytest.mark.parametrize(("order", "wide"), [("<", True), ("<", False), (">", True)])
def test_all_forms(pointers, section, order, wide):
    found, cost = read(program(pointers=pointers, section=section, order=order, wide=wide))
    assert found == ("example.com/saw", "v1.2.3")
    assert cost < 200 << 10


@pytest.mark.parametrize("text", ["", "path\tcommand-line-arguments\n", "mod\t\t\n", "mod\t a\tv1\n"])
def test_programs_without_a_module(text):
    assert read(program(text))[0] is None


def test_no_read_is_longer_than_a_mebibyte():
    """All sizes and offsets of the file are the largest numbers."""
    data = bytearray(program())
    for start, end in ((32, 64), (64, 120), (512, 640), (4096 + 32, 4096 + 64)):
        forged = data.copy()
        forged[start:end] = b"\xff" * (end - start)
        found, cost = read(bytes(forged))
        assert found in (None, ("example.com/saw", "v1.2.3"))
        assert cost < 2 << 20


def test_a_module_is_a_component(tmp_path):
    files = {"usr/local/bin/saw": program(), "srv/hammer": program(TEXT.replace("v1.2.3", "(devel)"))}
    make(tmp_path, {**files, "srv/text": program(), "srv/rust": b"\x7fELF" + bytes(SIZE), "srv/small": "x"})
    stanza = "Package: saw\nStatus: install ok installed\nVersion: 1\n"
    make(tmp_path, {"var/lib/dpkg/info/saw.list": "/usr/bin/saw\n", "usr/bin/saw": program()})
    make(tmp_path, {"var/lib/dpkg/status": stanza})
    for path in (*files, "srv/rust", "srv/small", "usr/bin/saw"):
        (tmp_path / path).chmod(0o755)
    os.mkfifo(tmp_path / "srv/fifo", 0o777)
    result = assigned(tmp_path)
    assert result.paths["go/example.com/saw"] == ["srv/hammer", "usr/local/bin/saw"]
    assert result["go/example.com/saw"].version == "v1.2.3"
    assert result.owner["usr/bin/saw"] == "dpkg/saw"


def test_real_programs(tmp_path):
    """skopeo and umoci; `go version -m` says the same where Go is installed."""
    require("skopeo", "umoci")
    expected = {}
    for name in ("skopeo", "umoci"):
        path = os.path.realpath(shutil.which(name))
        (tmp_path / "usr/local/bin").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "usr/local/bin" / name)
        with open(path, "rb") as file:
            expected[name] = read(file.read())[0]
    result = assigned(tmp_path)
    for name in expected:
        assert result.owner[f"usr/local/bin/{name}"].endswith(f"/{name}")
        assert result.owner[f"usr/local/bin/{name}"].startswith("go/github.com/")
    if shutil.which("go"):
        for name, module in expected.items():
            command = ["go", "version", "-m", str(tmp_path / "usr/local/bin" / name)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            fields = [line.split("\t")[1:] for line in done.stdout.splitlines()[1:]]
            known = {field[0]: field[1] for field in reversed(fields)}
            assert module.path == known.get("mod", known["path"])
