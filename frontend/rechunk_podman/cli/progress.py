"""A progress bar on a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rechunk_podman.split.request import Progress


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a progress bar on a terminal, and nothing elsewhere, where the log tells the progress."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.progress import (
        Progress as Bars,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda stage, done, total: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("starting", total=None)

        def show(stage: str, done: int, total: int) -> None:
            bars.update(task, description=stage, completed=done, total=max(done, total) or None)

        # The bar replaces sys.stderr while it lives; the log has to go the same way.
        handlers = [
            h for h in logging.getLogger("rechunk_podman").handlers if isinstance(h, logging.StreamHandler)
        ]
        old = [handler.setStream(sys.stderr) for handler in handlers]
        try:
            yield show
        finally:
            for handler, stream in zip(handlers, old, strict=True):
                if stream is not None:
                    handler.setStream(stream)
