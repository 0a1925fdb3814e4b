"""Draws docs/terminal.svg: what `split` and `diff` print on a terminal, of a real run.

    python tools/picture.py            # as root; needs podman, buildah, skopeo and mmdebstrap

The images are two of the tests' series: Debian with some of its updates, and with the rest. Both are split
into a storage of this run alone. rich draws the picture from the bytes that a pseudo-terminal received. It
loads no font.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests"))

from images import debian  # noqa: E402
from support import tools  # noqa: E402

PICTURE = TOP / "docs/terminal.svg"
COLUMNS = 116
BUILT = "localhost/desktop:built"
OLD, NEW = "localhost/desktop:41", "localhost/desktop:42"
LAYERS = ("--max-layers", "24")
FONT = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def on_terminal(command: list[str], env: dict[str, str]) -> str:
    """Return what a command wrote to its terminal; its progress and notes go elsewhere."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=theirs, stderr=said)
        os.close(theirs)
        written = b""
        while part := _read(ours):
            written += part
        os.close(ours)
        if process.wait():
            said.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{said.read().decode()}")
    return written.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # EIO: the other end is closed
        return b""


def run() -> str:
    """Return the commands and what they printed."""
    shown = ""
    with (
        tempfile.TemporaryDirectory(prefix="picture-") as folder,
        tools.private_storage(Path(folder, "storage")) as storage,
    ):
        env = {**os.environ, **storage.env, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
        *_, before, after = debian.series()
        storage.import_tar(before, BUILT)
        on_terminal([*tools.RECHUNK, "split", BUILT, "-t", OLD, *LAYERS], env)
        storage.import_tar(after, BUILT)
        for arguments in (
            ("split", BUILT, "-t", NEW, "--previous", OLD, *LAYERS),
            ("diff", OLD, NEW),
        ):
            output = on_terminal([*tools.RECHUNK, *arguments], env)
            shown += f"\x1b[1;32m$\x1b[0m \x1b[1mrechunk-podman {' '.join(arguments)}\x1b[0m\n{output}\n"
    return shown.rstrip() + "\n"


def draw(shown: str) -> str:
    """Return the picture as SVG, with fonts that the reader has."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown))
    picture = console.export_svg(title="rechunk-podman", unique_id="terminal")
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    return picture.replace("Fira Code, monospace", FONT)


if __name__ == "__main__":
    PICTURE.write_text(draw(run()))
    print(f"{PICTURE.relative_to(TOP)}: {PICTURE.stat().st_size} bytes")
