"""The phases of split, with the bytes that each reads."""

from __future__ import annotations

from collections.abc import Callable

from rechunk_podman.programs.traffic import bytes_read
from rechunk_podman.programs.work import size_below
from rechunk_podman.split.request import Progress

MOUNTING, FETCHING, IMPORTING, UPLOADING = "mounting", "fetching", "importing into storage", "uploading"
"""The phases beside those of the chunker (build/pipeline.py)."""

IMPORT_READS = 3
"""The number of times that skopeo reads a layer for storage: to copy it, to apply it, to hash it."""


class Meter:
    """Report the current phase, and the bytes that this process and its children have read in it.

    Attributes:
        aside: returns the bytes that were read so far for another purpose than the current phase.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.aside: Callable[[], int] = lambda: 0
        self.begin(MOUNTING)

    def begin(self, phase: str, total: int = 0, *, reads: int = 1) -> None:
        """Begin a phase.

        Args:
            total: bytes to read; 0 if unknown.
            reads: the number of times that each byte is read.
        """
        self._phase, self._total, self._reads = phase, total, reads
        self._before = self._read()
        self._progress(phase, 0, total)

    def tick(self) -> None:
        """Report the bytes so far, at most the total."""
        done = (self._read() - self._before) // self._reads
        self._progress(self._phase, min(done, self._total) if self._total else done, self._total)

    def _read(self) -> int:
        return bytes_read() - self.aside()

    def begin_import(self, folder: str) -> None:
        """Begin the import of the image in a folder, which is a layout or contains an archive."""
        self.begin(IMPORTING, size_below(folder), reads=IMPORT_READS)

    def begin_upload(self, layout: str) -> None:
        """Begin the upload of the blobs that a layout holds, but for the bytes that were uploaded aside."""
        sent = self.aside()
        self.aside = lambda: 0
        self.begin(UPLOADING, max(0, size_below(layout) - sent))
