"""A verify that is interrupted reads nothing more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from faults.odd_tars import base256, header
from support.oci_material import Layout

SIZE = 1 << 40
"""Bytes of the file, which is a hole on the disk: nothing reads them in less than minutes."""


def opened(process):
    return {os.path.realpath(found) for found in Path(f"/proc/{process.pid}/fd").iterdir()}


def test_an_interrupt_within_a_large_file(tmp_path):
    layout = Layout(tmp_path / "image")
    layout.layer(header(b"large", size=base256(SIZE, 12)))
    descriptor = layout.manifest["layers"][0]
    blob = layout.file(descriptor["digest"])
    os.truncate(blob, 512 + SIZE)
    descriptor["size"] = 512 + SIZE
    reference = f"oci:{layout.finish()}"
    command = [sys.executable, "-m", "rechunk_podman", "verify", reference, reference]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            while str(blob) not in opened(process):
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60) == (None, b"error: interrupted\n")
        finally:
            process.kill()
    assert process.returncode == 130
