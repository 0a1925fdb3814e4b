"""The command line of build, in processes of their own: flags, environment, errors, exit codes."""

import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys

import pytest

from rechunk_podman.build.options import PROFILES, parse_max_layers
from rechunk_podman.cli.app import COMMANDS, application
from rechunk_podman.cli.inputs import find_rootfs, given_config
from rechunk_podman.errors import UsageError
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.validate.image import validate

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


def test_streams_by_their_names(top, tmp_path):
    expected = run("--rootfs", top).stdout
    assert run("--rootfs", top, "-o", "/dev/stdout").stdout == expected
    assert run("--rootfs", top, "-o", "/proc/self/fd/1").stdout == expected
    (tmp_path / "out.ociarchive").write_bytes(expected)
    validate(tmp_path / "out.ociarchive").check()


@pytest.mark.parametrize("arguments", [[], ["-o", "-"], ["-o", "/dev/stdout"]])
def test_a_terminal_is_refused(top, arguments):
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rechunk_podman", "build", "--rootfs", str(top), *arguments],
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
    monkeypatch.setenv("CHUNKAH_ROOTFS", "")
    with pytest.raises(UsageError, match="no root filesystem"):
        find_rootfs(None)
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
    written = json.loads(manifest.read_bytes())
    components = written.pop("components")
    assert written == json.loads(blob.read_bytes())
    app = components["unclaimed/opt/app"]
    assert 0 < app.pop("stability") <= 1
    assert app == {"file_count": 1, "size": 10_000, "files": ["/opt/app/data"]}
    assert {"unclaimed/etc", "filesystem/root"} <= components.keys()


def test_global_flags_of_chunkah_before_the_command(top, tmp_path):
    trace, peak = tmp_path / "trace.log", tmp_path / "peak"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "rechunk_podman", "-v", "--trace-logfile", str(trace), "build"),
            *("--rootfs", str(top), "-o", f"oci:{tmp_path / 'out'}", "--write-peak-mem-to", str(peak)),
        ],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"scan: " in done.stderr
    assert b"debug: " not in done.stderr
    assert "debug: layer 1/" in trace.read_text()
    assert int(peak.read_text()) > 1 << 20
    validate(tmp_path / "out").check()


def test_the_name_behind_the_path(top, tmp_path):
    for arguments in (["-o", "oci:out:v1"], ["-o", "oci:out2", "-t", "v1"], ["-o", "oci-archive:out3:v1"]):
        done = run("--rootfs", top, *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out2", "out3", "root"]
    for name in ("out", "out2", "out3"):
        validate(tmp_path / name).check()
    with open_image(f"oci:{tmp_path / 'out'}:v1") as image, open_image(f"{tmp_path / 'out2'}:v1") as other:
        assert image.record.config_bytes == other.record.config_bytes


@pytest.mark.parametrize("option", ["--write-manifest-to", "--write-peak-mem-to", "--trace-logfile"])
def test_a_side_file_that_cannot_be_written_is_refused_before_the_work(top, tmp_path, option):
    done = run("--rootfs", top, "-o", f"oci:{tmp_path / 'out'}", option, tmp_path / "nowhere" / "x")
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: " + option.encode())
    assert b"\nhint: " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("-o", "{}/x", "--write-manifest-to", "{}/x"),
        ("-o", "oci:{}/x", "--write-manifest-to", "{}/x/index.json"),
        ("-o", "oci-archive:{}/x", "--state", "{}/root/../x"),
        ("-o", "{}/x", "--trace-logfile", "{}/y", "--write-peak-mem-to", "{}/y"),
        ("--write-manifest-to", "{}/stdout"),
    ],
)
def test_two_outputs_at_one_place_are_refused_before_anything_is_written(top, tmp_path, arguments):
    words = [sys.executable, "-m", "rechunk_podman", "build", "--rootfs", str(top)]
    with (tmp_path / "stdout").open("wb") as stdout:
        done = subprocess.run(
            [*words, *(word.format(tmp_path) for word in arguments)],
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert b"name the same place" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "stdout"]
    assert (tmp_path / "stdout").read_bytes() == b""


@pytest.mark.parametrize(
    "option", ["--output", "--write-manifest-to", "--write-peak-mem-to", "--trace-logfile"]
)
@pytest.mark.parametrize("kind", ["a socket", "a block device"])
def test_a_device_is_not_written_over(top, tmp_path, option, kind):
    path = tmp_path / "there"
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "a socket":
            server.bind(str(path))
        else:
            try:
                os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 255))
            except PermissionError:
                pytest.skip("needs root, to make a device")
        done = run("--rootfs", top, *(["-o", tmp_path / "out"] if option != "--output" else []), option, path)
    assert done.returncode == 2
    assert f"error: {option} {path} is {kind}" in done.stderr.decode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "there"]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.touch()])
def test_a_layout_where_there_is_no_directory(top, tmp_path, make):
    make(tmp_path / "out")
    done = run("--rootfs", top, "-o", f"oci:{tmp_path / 'out'}")
    assert done.returncode == 2
    assert b"is no directory" in done.stderr


@pytest.mark.parametrize("option", ["--label", "--annotation"])
def test_bytes_that_are_not_utf_8(top, tmp_path, option):
    done = run("--rootfs", top, "-o", tmp_path / "out", option, b"key=\xff".decode(errors="surrogateescape"))
    assert done.returncode == 2
    assert f"error: this {option[2:]} is not UTF-8: 'key=\\udcff'" in done.stderr.decode()
    assert not (tmp_path / "out").exists()


def test_an_output_within_the_root_filesystem_is_said(top):
    done = run("--rootfs", top, "-o", top / "out")
    assert done.returncode == 0
    assert b"lies in the root filesystem" in done.stderr
    validate(top / "out").check()
    assert b"warning" not in run("--rootfs", top, "-o", f"{top}-out").stderr


def test_an_ostree_repository_is_said(top):
    (top / "sysroot" / "ostree" / "repo").mkdir(parents=True)
    assert b"--prune /sysroot/" in run("--rootfs", top, "--plan-only").stderr
    for arguments in (["--prune", "/sysroot/"], ["--bootc"]):
        done = run("--rootfs", top, "--plan-only", *arguments)
        assert done.returncode == 0
        assert b"ostree" not in done.stderr


def test_no_place_for_the_output(top, tmp_path):
    done = run("--rootfs", top, "-o", "/proc/out")
    assert done.returncode == 1
    assert b"--output" in done.stderr
    assert b"--workdir" not in done.stderr


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_leaves_nothing(top, tmp_path, way):
    os.mkfifo(tmp_path / "out")
    command = [sys.executable, "-m", "rechunk_podman", "build", "-v", "--rootfs", str(top)]
    with subprocess.Popen(
        [*command, "--compressed", "-o", str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        # under a runner that ignores them, they would stay ignored
        preexec_fn=lambda: [signal.signal(kind, signal.SIG_DFL) for kind in (signal.SIGINT, signal.SIGHUP)],
    ) as process:
        assert process.stderr is not None
        # It waits for a reader of the FIFO.
        while b"plan: " not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(way)
        assert process.stderr.read().splitlines()[-1] == b"error: interrupted"
    assert process.returncode == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "root"]


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
        (["--output", "oci:out:"], "colon"),
        (["--output", "oci:out:a", "--tag", "b"], "two names"),
        (["--output", "docker://example.com/name"], "docker://"),
        (["--output", "containers-storage:name"], "containers-storage:"),
        (["--output", "dir:name"], "dir:"),
        (["--tag", "two words"], "two words"),
        (["--tag", "Example:1"], "example:1"),
        (["--output", "docker-archive:x", "--tag", "Upper"], "upper"),
        (["--write-manifest-to", "/"], "directory"),
        (["--no-such-flag"], "--no-such-flag"),
        (["--threads", "-1"], "--threads"),
        (["--source-date-epoch", "soon"], "--source-date-epoch"),
        (["superfluous"], "superfluous"),
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
    assert what in done.stderr.decode()
    lines = done.stderr.decode().splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[:1]
    assert len([line for line in lines if line.startswith("hint: ")]) == 1
    assert b"Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


@pytest.mark.parametrize("option", ["--max-layers=3", "--rootfs=/", "--plan-only", "--creds=a:b"])
def test_a_job_decides_alone(tmp_path, option):
    (tmp_path / "job.json").write_text("{}")
    done = run("--job", tmp_path / "job.json", option)
    assert done.returncode == 2
    assert f"error: {option.partition('=')[0]} does not go with --job" in done.stderr.decode()
    assert [path.name for path in tmp_path.iterdir()] == ["job.json"]


def test_a_job(top, tmp_path):
    """Whatever the variables of the options say, an odd one included."""
    (tmp_path / "job.json").write_text(json.dumps({"format": 1, "rootfs": str(top), "output": "oci:out"}))
    environment = {"RECHUNK_PREVIOUS": "docker://", "RECHUNK_ROOTFS": "/none"}
    done = run("--job", "job.json", "-v", cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    validate(tmp_path / "out").check()
    assert json.loads((tmp_path / "result.json").read_text())["manifest"]
    (tmp_path / "job.json").write_text(json.dumps({"format": 1, "rootfs": "/none", "output": "oci:out2"}))
    done = run("--job", "job.json", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: ")
    assert "error" in json.loads((tmp_path / "result.json").read_text())


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
    assert given_config(None, None) == "{}"
    assert given_config(None, "{ }") == "{ }"
    with pytest.raises(UsageError):
        given_config("{}", "{}")


def test_every_command_has_its_function():
    app = application()
    assert [command.name for command in app.registered_commands] == list(COMMANDS)
    for name in COMMANDS:
        (command,) = application([name, "--help"]).registered_commands
        assert command.callback is not None
        assert command.callback.__name__ == name
        assert str(command.callback.__doc__).startswith(f"{COMMANDS[name]}\n") or (
            command.callback.__doc__ == COMMANDS[name]
        )


@pytest.mark.parametrize("option", ["--help", "-h", "--version"])
def test_an_option_alone_loads_no_command(option):
    code = (
        "import sys; from rechunk_podman.cli.app import application; print(application(['{}'])(['{}'], "
        + ("standalone_mode=False)); print(*sys.modules, file=sys.stderr)")
    )
    done = subprocess.run(
        [sys.executable, "-c", code.format(option, option)], capture_output=True, timeout=60, check=True
    )
    loaded = done.stderr.decode().split()
    assert "typer" in loaded
    assert not [
        name for name in loaded if name.startswith(("numpy", "jinja2", "rechunk_podman.cli.commands"))
    ]
    shown = " ".join(done.stdout.decode().split())
    assert ("rechunk-podman" if option == "--version" else "Prove that A and B") in shown


def test_an_unknown_command_is_a_wrong_call():
    done = subprocess.run(
        [sys.executable, "-m", "rechunk_podman", "splitt"], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2
    first, second = done.stderr.decode().splitlines()
    assert first.startswith("error: no such command 'splitt'")
    assert second.startswith("hint: ")


def test_a_standard_output_that_is_full_or_closed(tmp_path):
    (tmp_path / "root").mkdir()
    command = [sys.executable, "-m", "rechunk_podman"]
    plan = [*command, "build", "--rootfs", tmp_path / "root", "--plan-only", "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(plan, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: cannot write to standard output: No space left on device",
        "hint: send it elsewhere",
    ]
    closed = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *command, "--version"], stderr=subprocess.PIPE, timeout=60, check=False
    )
    assert (closed.returncode, closed.stderr) == (0, b"")


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "typer.Abort", "typer.Exit(130)"])
def test_whatever_typer_makes_of_an_interrupt(raised):
    text = f"""
import typer
from rechunk_podman.cli.console import guarded
app = typer.Typer()
@app.command()
def work():
    raise {raised}
guarded(lambda: app([], standalone_mode=False))
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, b"error: interrupted\n")
