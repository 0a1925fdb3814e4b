"""Fixtures of all tests. Any test can import `images` (builders of real images) and `support`."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# A shell that starts us in the background has us and all our children ignore it; some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """The command line sets up the log of its process; a test that runs it in ours leaves no trace."""
    logger = logging.getLogger("rechunk_podman")
    before = logger.handlers[:], logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate, level = before
    logger.setLevel(level)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the messages of warnings that the package logs while the test runs; the list grows."""
    found: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    monkeypatch.setattr(logging.getLogger("rechunk_podman"), "handlers", [Keep(logging.WARNING)])
    return found
