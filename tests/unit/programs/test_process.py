"""Commands: what they said, how they fail, how they end."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rechunk_podman.errors import ToolError
from rechunk_podman.programs import process
from rechunk_podman.signals import signals_deferred
from rechunk_podman.temporary import dead, wait_for_holder


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_stdout_and_talk_are_kept_apart() -> None:
    lines: list[str] = []
    done = process.run(
        python("import sys; print('data'); print('talk', file=sys.stderr)"), on_line=lines.append
    )
    assert done.stdout == b"data\n"
    assert done.text == "data"
    assert lines == ["talk"]


def test_merged_keeps_the_order() -> None:
    lines: list[str] = []
    code = "import sys\nfor n in range(3): print(n, flush=True); print('e', n, file=sys.stderr, flush=True)"
    done = process.run(python(code), on_line=lines.append, merged=True)
    assert lines == ["0", "e 0", "1", "e 1", "2", "e 2"]
    assert done.stdout == b""


def test_large_outputs_do_not_block() -> None:
    code = "import sys; sys.stderr.write('e' * 300000); sys.stdout.write('o' * 300000)"
    assert len(process.run(python(code)).stdout) == 300000


def test_failure_tells_the_last_lines_and_the_hint() -> None:
    code = "import sys\nfor n in range(50): print('line', n, file=sys.stderr)\nsys.exit(3)"
    with pytest.raises(ToolError, match="failed with status 3") as caught:
        process.run(python(code), hint="do this")
    assert caught.value.context[-2] == "line 49"
    assert "line 30" not in caught.value.context
    assert caught.value.context[-1].startswith("command: ")
    assert caught.value.hint == "do this"


def test_failure_by_a_signal() -> None:
    with pytest.raises(ToolError, match="signal 9"):
        process.run(python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))


@pytest.mark.parametrize(
    "said",
    [
        "write /var/x: no space left on device",
        "OSError: [Errno 28] No space left on device",
        "write: disk quota exceeded",
    ],
)
def test_no_space_has_a_hint_of_its_own(said: str) -> None:
    with pytest.raises(ToolError, match="no space left") as caught:
        process.run(python(f"import sys; print({said!r}, file=sys.stderr); sys.exit(1)"), hint="other")
    assert caught.value.hint == process.SPACE_HINT


@pytest.mark.parametrize("tool", ["podman", "buildah", "skopeo"])
def test_missing_tool_says_what_to_install(tool: str, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=f"^{tool} is not installed$") as caught:
        process.run([tool, "--version"], env={"PATH": str(tmp_path)})
    assert caught.value.hint == f"install it: apt-get install {tool}, or dnf install {tool}"


def test_nothing_is_interpreted_by_a_shell(tmp_path: Path) -> None:
    argument = f"$(touch {tmp_path}/made); `id` *"
    done = process.run([*python("import sys; print(sys.argv[1])"), argument])
    assert done.text == argument
    assert list(tmp_path.iterdir()) == []


def test_environment_and_directory(tmp_path: Path) -> None:
    done = process.run(
        python("import os; print(os.getcwd(), sorted(os.environ))"), env={"ONE": "1"}, cwd=str(tmp_path)
    )
    assert str(tmp_path) in done.text
    assert "'ONE'" in done.text
    assert "HOME" not in done.text


def test_secrets_are_neither_logged_nor_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    code = "import sys; print('bad', sys.argv[1], sys.argv[2], file=sys.stderr); sys.exit(1)"
    with pytest.raises(ToolError) as caught:
        process.run([*python(code), "sesame open", "https://me:pass@example.org/x"], secrets=["sesame open"])
    for text in (caplog.text, "\n".join(caught.value.context)):
        assert "sesame" not in text
        assert "pass@" not in text
        assert "***" in text


def test_too_long_arguments_are_explained() -> None:
    with pytest.raises(ToolError, match="too long") as caught:
        process.run(["true", "x" * 200_000])
    assert caught.value.hint is not None
    assert "128 KiB" in caught.value.hint


def test_ticks_come_while_the_command_runs() -> None:
    # It ends only when it was ticked: its stdin is closed, it waits for a file that a tick makes.
    ticks: list[int] = []
    reader, writer = os.pipe()
    try:

        def tick() -> None:
            ticks.append(1)
            os.write(writer, b"x")

        process.run(
            ["dd", f"if=/proc/{os.getpid()}/fd/{reader}", "bs=1", "count=1", "of=/dev/null"], tick=tick
        )
    finally:
        os.close(reader)
        os.close(writer)
    assert ticks


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_child(way: signal.Signals) -> None:
    """A process that runs a command gets a signal, handled as cli/ does: the command is gone, too."""
    code = (
        "import signal, sys\n"
        "from rechunk_podman.programs import process\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "inner = 'import os, sys, signal; print(os.getpid(), file=sys.stderr, flush=True); signal.pause()'\n"
        "try: process.run([sys.executable, '-c', inner], on_line=lambda line: print(line, flush=True))\n"
        "except KeyboardInterrupt: print('interrupted', flush=True)\n"
    )
    outer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert outer.stdout is not None
    inner = int(outer.stdout.readline())
    outer.send_signal(way)
    assert outer.stdout.read() == b"interrupted\n"
    assert outer.wait(30) == 0
    outer.stdout.close()
    with pytest.raises(ProcessLookupError):
        os.kill(inner, 0)


def test_a_signal_while_a_child_starts_ends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It comes between fork and exec, when the parent does not know the child yet."""
    parent, known = os.getpid(), tmp_path / "child"

    def follow() -> None:
        known.write_text(str(os.getpid()))
        os.kill(parent, signal.SIGINT)

    monkeypatch.setattr(process, "following", lambda: follow)
    with pytest.raises(KeyboardInterrupt):
        process.run(python("import signal; signal.pause()"))
    with pytest.raises(ProcessLookupError):
        os.kill(int(known.read_text()), 0)


def test_a_stubborn_child_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.2)
    code = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); signal.pause()"
    )
    child = subprocess.Popen(python(code), stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    process.end(child)
    child.stdout.close()
    assert child.returncode == -signal.SIGKILL


def test_a_grandchild_that_stays_does_not_hold_us_up() -> None:
    """It keeps the pipes open; the command itself has ended."""
    code = "import subprocess; print(subprocess.Popen(['tail', '-f', '/dev/null']).pid)"
    finished: list[process.Result] = []
    worker = threading.Thread(target=lambda: finished.append(process.run(python(code))), daemon=True)
    worker.start()
    worker.join(20)
    assert finished
    os.kill(int(finished[0].text), signal.SIGKILL)


@pytest.mark.parametrize(("number", "what"), [(errno.ENOSPC, "no space"), (errno.EROFS, "cannot write")])
def test_space_errors(number: int, what: str) -> None:
    with pytest.raises(ToolError, match=what) as caught, process.space_errors("/there"):
        raise OSError(number, os.strerror(number))
    assert "/there" in caught.value.message
    assert "--workdir" in str(caught.value.hint)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(OSError, match="Interrupted"), process.space_errors("/there"):
        raise OSError(errno.EINTR, os.strerror(errno.EINTR))


def test_shorten() -> None:
    assert process.shorten("abc") == "abc"
    assert process.shorten("a" * 1000, 10) == "aaaaa … aaaaa"


def test_a_child_ends_with_a_parent_that_is_killed() -> None:
    """A child ends, too, if its parent dies before prctl(2) is called."""
    late = (
        "import os, sys\n"
        "from rechunk_podman.programs.process import following\n"
        "follow, (reader, writer) = following(), os.pipe()\n"
        "if os.fork(): os._exit(0)\n"  # the child has another parent when it asks
        "while os.getppid() == int(sys.argv[1]): pass\n"
        "follow()\n"
        "print('goes on')\n"
    )
    outer = f"import os, sys; os.execv(sys.executable, [sys.executable, '-c', {late!r}, str(os.getpid())])"
    done = subprocess.run(python(outer), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_command_with_a_lock_goes_on_to_its_end(tmp_path: Path) -> None:
    """Its caller is killed; the directory counts as in use until the command has ended, too."""
    inner = "import sys; print('x', file=sys.stderr, flush=True); open(sys.argv[1]).read()"
    code = (
        "import sys\n"
        "from rechunk_podman.programs.process import run\n"
        "from rechunk_podman.temporary import private_directory\n"
        "with private_directory(sys.argv[1]) as held:\n"
        f"    run([sys.executable, '-c', {inner!r}, sys.argv[2]], lock=held.lock,"
        " on_line=lambda line: print(line, flush=True))\n"
    )
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    outer = subprocess.Popen([*python(code), tmp_path, fifo], stdout=subprocess.PIPE)
    assert outer.stdout is not None
    assert outer.stdout.readline() == b"x\n"
    outer.kill()
    outer.wait()
    outer.stdout.close()
    assert list(dead(str(tmp_path))) == []
    (folder,) = tmp_path.glob("rechunk-podman.*")
    fifo.write_bytes(b"x")
    wait_for_holder(str(folder))
    assert list(dead(str(tmp_path))) == [str(folder)]


def test_signals_wait_for_a_short_block() -> None:
    seen = []

    def interrupted() -> None:
        with signals_deferred():
            signal.raise_signal(signal.SIGINT)
            seen.append("the rest of the block")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert seen
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_no_secret_in_the_environment_of_tools_for_storage() -> None:
    assert process.local_environment({"RECHUNK_CREDS": "user:secret", "A": "b"}) == {"A": "b"}
