"""The extension in C under compilers' warnings, sanitizers and a filter of system calls.

Each run repeats the tests of the folders that use the extension, in a process of its own.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import rechunk_podman
from support.needs import unavailable

UNIT = Path(__file__).parents[1]
PACKAGE = Path(rechunk_podman.__file__).parent
SOURCES = sorted((PACKAGE / "native").glob("*.c"))
CHOSEN = (
    "native/test_threads.py",
    "native/test_native.py",
    "native/test_search.py",
    "rootfs/test_root.py",
    "rootfs/test_scan.py",
    "oci/test_plain_entries.py",
    "oci/test_tar.py",
    "oci/test_write.py",
    "components/test_assign.py",
)
STRICT = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{sysconfig.get_paths()['include']}")
DEBUG = ("-g", "-O1", "-fno-omit-frame-pointer", "-fPIC", "-shared")
OPENAT2, LISTXATTRAT = "437", "465"


def library(name: str) -> str:
    """The compiler's runtime library of a sanitizer."""
    command = ["cc", f"-print-file-name={name}"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    if not Path(found).is_absolute():
        unavailable(f"{name} is not installed")
    return found


def copy_with(tmp_path: Path, *flags: str) -> Path:
    """A folder to import the package from, whose extension is compiled with these flags."""
    copy = tmp_path / "rechunk_podman"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    target = copy / "native/_native.abi3.so"
    subprocess.run(["cc", *STRICT, *DEBUG, *flags, *SOURCES, "-o", target], check=True)
    return tmp_path


def run_tests(folder: Path, *before: str, chosen: tuple[str, ...] = CHOSEN, **variables: str) -> str:
    """Run these tests on the package in a folder, and return their stderr."""
    command = [*before, sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(str(UNIT / name) for name in chosen)],
        env={**os.environ, "PYTHONPATH": str(folder), **variables},
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stderr


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_no_compiler_warns(tmp_path, compiler, level):
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    command = [compiler, *STRICT, level, "-Wshadow", "-Wstrict-prototypes", "-c", *SOURCES]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_memory(tmp_path):
    """AddressSanitizer and UBSan watch every access; LeakSanitizer reports what the extension did not free.

    It also reports objects that CPython itself leaves behind at its end; what the extension makes CPython
    leave behind is counted in test_native.py.
    """
    folder = copy_with(tmp_path, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    variables = {"LD_PRELOAD": library("libasan.so"), "PYTHONMALLOC": "malloc"}
    said = run_tests(folder, **variables, ASAN_OPTIONS="detect_leaks=1", LSAN_OPTIONS="exitcode=0")
    leaks = [block for block in said.split("\n\n") if "leak of" in block and "/native/" in block]
    assert not leaks, leaks


def test_threads(tmp_path):
    """ThreadSanitizer: no two threads touch the same memory without an order."""
    folder = copy_with(tmp_path, "-fsanitize=thread")
    # ThreadSanitizer does not know every way in which kernels lay out memory
    straight = ("setarch", platform.machine(), "-R")
    works = subprocess.run([*straight, "true"], check=False, capture_output=True).returncode == 0
    filtered = (sys.executable, str(UNIT.parent / "support/seccomp.py"), str(errno.ENOSYS))
    before = (*filtered, f"{OPENAT2},{LISTXATTRAT}", *(straight if works else ()))
    variables = {"LD_PRELOAD": library("libtsan.so"), "TSAN_OPTIONS": "die_after_fork=0 exitcode=66"}
    run_tests(folder, *before, "env", *(f"{name}={value}" for name, value in variables.items()))


def test_filters_of_system_calls():
    """The walk and the scan work without openat2(2) and listxattrat(2), as test_threads() does."""
    filtered = (sys.executable, str(UNIT.parent / "support/seccomp.py"), str(errno.EPERM))
    run_tests(PACKAGE.parent, *filtered, f"{OPENAT2},{LISTXATTRAT}", chosen=CHOSEN[:4])
