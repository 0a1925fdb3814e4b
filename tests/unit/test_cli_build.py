"""The command line of build, in processes of their own: flags, environment, errors, exit codes."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from rechunk_podman.cli.app import COMMANDS, application
from rechunk_podman.cli.build import compression_of, config_text, find_rootfs
from rechunk_podman.cli.profiles import PROFILES, parse_max_layers
from rechunk_podman.errors import UsageError
from rechunk_podman.oci.read import open_image
from rechunk_podman.oci.validate import validate

NO_OWN = {"RECHUNK_ROOTFS", "CHUNKAH_ROOTFS", "RECHUNK_CONFIG_STR", "CHUNKAH_CONFIG_STR", "SOURCE_DATE_EPOCH"}


@pytest.fixture
def top(tmp_path):
    top = tmp_path / "root"
    (top / "etc").mkdir(parents=True)
    (top / "etc" / "os-release").write_text("ID=test\n")
    (top / "opt" / "app").mkdir(parents=True)
    (top / "opt" / "app" / "data").write_bytes(b"x" * 10_000)
    (top / "var" / "cache").mkdir(parents=True)
    (top / "var" / "cache" / "junk").write_text("junk")
    return top


def run(*arguments, env=None, **options):
    clean = {key: value for key, value in os.environ.items() if key not in NO_OWN}
    return subprocess.run(
        [sys.executable, "-m", "rechunk_podman", "build", *map(str, arguments)],
        env={**clean, **(env or {})},
        capture_output=True,
        timeout=120,
        check=False,
        **options,
    )


def config_of(path):
    with open_image(f"oci:{path}") as image:
        return json.loads(image.record.config_bytes)


def test_defaults_to_an_archive_on_standard_output(top, tmp_path):
    done = run("--rootfs", top)
    assert done.returncode == 0, done.stderr
    (tmp_path / "out.ociarchive").write_bytes(done.stdout)
    validate(tmp_path / "out.ociarchive").check()


def test_a_terminal_is_refused(top):
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rechunk_podman", "build", "--rootfs", str(top)],
            stdout=theirs,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2
    assert b"terminal" in done.stderr
    assert b"hint: " in done.stderr


@pytest.mark.parametrize("variable", ["RECHUNK_ROOTFS", "CHUNKAH_ROOTFS"])
def test_the_root_filesystem_from_the_environment(top, tmp_path, variable):
    done = run("-o", f"oci:{tmp_path / 'out'}", env={variable: str(top)})
    assert done.returncode == 0, done.stderr
    validate(tmp_path / "out").check()


def test_what_is_named_first_counts(top, tmp_path, monkeypatch):
    monkeypatch.setenv("RECHUNK_ROOTFS", str(top))
    monkeypatch.setenv("CHUNKAH_ROOTFS", str(tmp_path))
    assert find_rootfs(None) == str(top)
    assert find_rootfs(str(tmp_path)) == str(tmp_path)
    monkeypatch.delenv("RECHUNK_ROOTFS")
    assert find_rootfs(None) == str(tmp_path)
    with pytest.raises(UsageError):
        find_rootfs(str(tmp_path / "nothing"))


def test_every_flag_of_chunkah(top, tmp_path):
    config = {
        "Entrypoint": ["/bin/app"],
        "Labels": {"keep": "1", "drop": "1"},
        "Healthcheck": {"Test": ["CMD", "true"]},
    }
    manifest = tmp_path / "manifest.json"
    done = run(
        *("--rootfs", top, "--output", f"oci:{tmp_path / 'out'}", "--max-layers", "8"),
        *("--config-str", json.dumps(config), "--label", "new=a=b", "--label", "drop-"),
        *("--annotation", "org.example.note=hello", "--arch", "aarch64", "--source-date-epoch", "1700000000"),
        *("--compressed", "--compression-level", "9", "--prune", "/var/cache/", "--skip-special-files"),
        *("-T", "2", "-t", "localhost/example:1", "--write-manifest-to", manifest),
    )
    assert done.returncode == 0, done.stderr
    validate(tmp_path / "out").check()
    with open_image(f"oci:{tmp_path / 'out'}") as image:
        record = image.record
        assert record.annotations["org.example.note"] == "hello"
        assert all(layer.descriptor.media_type.endswith("+gzip") for layer in record.layers)
    document = config_of(tmp_path / "out")
    labels = document["config"]["Labels"]
    assert (labels["keep"], labels["new"]) == ("1", "a=b")
    assert "drop" not in labels
    assert document["architecture"] == "arm64"
    assert document["created"] == "2023-11-14T22:13:20Z"
    assert document["config"]["Entrypoint"] == ["/bin/app"]
    assert document["config"]["Healthcheck"] == {"Test": ["CMD", "true"]}
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    (entry,) = index["manifests"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "localhost/example:1"
    blob = tmp_path / "out" / "blobs" / "sha256" / entry["digest"].removeprefix("sha256:")
    assert manifest.read_bytes() == blob.read_bytes()


def test_the_config_from_the_environment(top, tmp_path):
    config = json.dumps({"config": {"Cmd": ["sh"]}, "architecture": "riscv64", "os": "linux"})
    for variable in ("RECHUNK_CONFIG_STR", "CHUNKAH_CONFIG_STR"):
        done = run("--rootfs", top, "-o", f"oci:{tmp_path / variable}", env={variable: config})
        assert done.returncode == 0, done.stderr
        assert config_of(tmp_path / variable)["config"]["Cmd"] == ["sh"]
        assert config_of(tmp_path / variable)["architecture"] == "riscv64"


def test_no_config_gives_the_same_image_on_any_day(top, tmp_path):
    first = run("--rootfs", top)
    again = run("--rootfs", top, "-T", "1", env={"TZ": "Asia/Tokyo", "LC_ALL": "C"})
    assert first.stdout == again.stdout


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--max-layers", "0"], "number of layers"),
        (["--max-layers", "501"], "501"),
        (["--max-layers", "many"], "many"),
        (["--compression", "lz4"], "lz4"),
        (["--compression", "zstd", "--compressed"], "gzip"),
        (["--compression", "zstd", "--compression-level", "99"], "99"),
        (["--output", "oci:"], "path"),
        (["--output", "docker-archive:x", "--compression", "gzip"], "docker-archive"),
        (["--config-str", "{"], "JSON"),
        (["--config-str", "{}", "--config", "x"], "--config"),
        (["--label", "nothing"], "nothing"),
        (["--prune", "relative"], "relative"),
        (["--root-mode", "9"], "octal"),
        (["--json"], "--plan-only"),
        (["--previous", "docker://"], "not an image name"),
    ],
)
def test_a_wrong_call(top, tmp_path, arguments, what):
    done = run("--rootfs", top, "-o", f"oci:{tmp_path / 'out'}", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert b"error: " in done.stderr
    assert what in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_tracebacks_are_for_those_who_ask(top):
    done = run("--rootfs", top, "--max-layers", "0", "-vv")
    assert done.returncode == 2
    assert b"Traceback" in done.stderr


def test_the_plan_alone(top, tmp_path):
    done = run("--rootfs", top, "--plan-only", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    ids = [component["id"] for layer in plan["layers"] for component in layer["components"]]
    assert len(ids) == len(set(ids))
    assert {"unclaimed/etc", "unclaimed/opt/app", "filesystem/root"} <= set(ids)
    assert plan["size"] == sum(layer["size"] for layer in plan["layers"])
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_profiles(caplog):
    assert {name: parse_max_layers(name) for name in PROFILES} == dict(PROFILES)
    assert parse_max_layers("120") == 120
    assert not caplog.records
    assert parse_max_layers("121") == 121
    assert "121 layers" in caplog.text


def test_an_empty_build_argument_is_none(monkeypatch):
    monkeypatch.setenv("RECHUNK_CONFIG_STR", "")
    monkeypatch.setenv("CHUNKAH_CONFIG_STR", "{}")
    assert config_text(None, None) == "{}"
    assert config_text(None, "{ }") == "{ }"
    with pytest.raises(UsageError):
        config_text(Path("does-not-exist"), None)


def test_compressed_means_gzip():
    assert compression_of(None, True) == "gzip"
    assert compression_of(None, False) == "none"
    assert compression_of("zstd", False) == "zstd"


def test_every_command_has_its_function():
    app = application()
    assert [command.name for command in app.registered_commands] == list(COMMANDS)
    for name in COMMANDS:
        (command,) = application([name, "--help"]).registered_commands
        assert command.callback is not None
        assert command.callback.__name__ == name


def test_an_unknown_command_is_a_wrong_call():
    done = subprocess.run(
        [sys.executable, "-m", "rechunk_podman", "splitt"], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert b"splitt" in done.stderr
