"""Skip or fail a test if something that it needs is missing."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def require(*tools: str) -> None:
    """Skips the test, saying why, where a program is missing; under CI=true that is a failure."""
    for tool in tools:
        if shutil.which(tool) is None:
            unavailable(f"{tool} is not installed")


def unavailable(reason: str) -> NoReturn:
    """Skips the test for want of something; under CI=true it fails, since CI sets everything up."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes devices, owners or mounts")
"""Marks a test, or as `pytestmark` a module, of tests/tools."""
