"""The extension modules keep to their memory."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path


def test_they_keep_to_their_memory(repository, tmp_path):
    """The tests of scanning and writing, with modules that watch every access (AddressSanitizer, UBSan)."""
    package = repository / "frontend/rechunk_podman"
    copy = tmp_path / "rechunk_podman"
    subprocess.run(["cp", "-r", package, copy], check=True)
    flags = [
        "-g",
        "-O1",
        "-std=gnu11",
        "-fPIC",
        "-shared",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-cast-function-type",
    ]
    watch = [
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        f"-I{sysconfig.get_paths()['include']}",
    ]
    for module in ("native/_contents", "native/_listing", "native/_stream"):
        target = copy / f"{module}.abi3.so"
        target.unlink()
        subprocess.run(["cc", *flags, *watch, package / f"{module}.c", "-o", target], check=True)
    library = subprocess.run(
        ["cc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    ).stdout.strip()
    environment = {
        **os.environ,
        "LD_PRELOAD": library,
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": str(tmp_path),
    }
    chosen = [
        "native/test_extensions.py",
        "rootfs/test_scan.py",
        "oci/test_tar.py",
        "components/test_assign.py",
    ]
    here = Path(__file__).parents[1]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    command += [str(here / name) for name in chosen]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
