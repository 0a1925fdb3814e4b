"""Show the progress of long work: a bar with a clock on a terminal, else lines in the log (-v)."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rechunk_podman.units import human_size

if TYPE_CHECKING:
    from rechunk_podman.split.request import Progress

log = logging.getLogger("rechunk_podman")

TICK_SECONDS = 0.2


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show phase, bytes and time on a terminal; elsewhere log each phase when it ends."""
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    # rich also assumes a terminal if some variables of CI are set.
    console = Console(stderr=True)
    if not (console.is_terminal and sys.stderr.isatty()):
        with _logged() as show_in_log:
            yield show_in_log
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[moved]}"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("starting", total=None, moved="")

        def show(phase: str, done: int, total: int) -> None:
            # Show each phase, even a very short one.
            bars.update(
                task,
                description=phase,
                completed=done,
                total=total or None,
                moved=moved_text(done, total),
                refresh=bars.tasks[0].description != phase,
            )

        # The bar replaces sys.stderr while it exists; the log must use the replacement, too.
        handlers = [h for h in log.handlers if isinstance(h, logging.StreamHandler)]
        old = [handler.setStream(sys.stderr) for handler in handlers]
        try:
            yield show
        finally:
            for handler, stream in zip(handlers, old, strict=True):
                if stream is not None:
                    handler.setStream(stream)


@contextmanager
def build_progress() -> Iterator[None]:
    """Show the progress of a build in this process on a terminal; elsewhere the log has its stages."""
    if not sys.stderr.isatty():
        yield
        return
    from rechunk_podman.log import phases_to
    from rechunk_podman.split.phases import Meter

    ended = threading.Event()
    with progress_bar() as progress:
        meter = Meter(progress)

        def tick() -> None:
            while not ended.wait(TICK_SECONDS):
                meter.tick()

        thread = threading.Thread(target=tick, name="progress", daemon=True)
        thread.start()
        try:
            with phases_to(meter.begin):
                yield
        finally:
            ended.set()
            thread.join()


def moved_text(done: int, total: int) -> str:
    """Return the bytes so far, and the total if it is known, as text; "" if there are none."""
    if total:
        return f"{human_size(done)} of {human_size(total)}"
    return human_size(done) if done else ""


@contextmanager
def _logged() -> Iterator[Progress]:
    phase, begun, moved = "", time.monotonic(), ""

    def end() -> None:
        if phase:
            seconds = f"{time.monotonic() - begun:.1f} s"
            log.info("%s: %s", phase, f"{moved}, {seconds}" if moved else seconds)

    def show(name: str, done: int, total: int) -> None:
        nonlocal phase, begun, moved
        if name != phase:
            end()
            phase, begun = name, time.monotonic()
        moved = moved_text(done, total)

    yield show
    end()
