"""Blobs of any image that skopeo can read, as streams, without a file: `skopeo experimental-image-proxy`.

Source: skopeo, cmd/skopeo/proxy.go (protocol 0.2.x). Each packet is one JSON document, over a SOCK_SEQPACKET
socket that is the proxy's standard input. A blob comes through a pipe whose reading end is passed along with
the reply. The proxy keeps the writing end open until FinishPipe, so this is sent at once; the reply comes
after the end of the data and says whether the blob matched its digest and size.
"""

from __future__ import annotations

import array
import io
import json
import os
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from rechunk_podman.errors import RechunkError, ToolError
from rechunk_podman.oci.spec import Descriptor
from rechunk_podman.programs.process import TAIL_LINES, child, end, failure, find, following, redact

MAX_PACKET = 32 * 1024
"""The most bytes of a request or reply (proxy.go)."""

PROTOCOL = "0.2."
SILENCE_SECONDS = 120.0
"""Seconds of silence after which the proxy counts as stuck, by default."""
LOOK_SECONDS = 1.0

OnSilence = Callable[[float], None]
"""A function called about once a second with the seconds of silence so far; its exception ends the wait."""


class BlobError(RechunkError):
    """The proxy could not give a blob: it is missing, or does not match its digest."""


class _Reply(NamedTuple):
    value: Any
    pipe: int
    fd: int | None


class ImageProxy:
    """A running proxy; made by proxy()."""

    def __init__(
        self, sock: socket.socket, secrets: Sequence[str], hint: str, on_silence: OnSilence | None
    ) -> None:
        self._socket = sock
        self._secrets = secrets
        self._on_silence = on_silence
        version = self._call("Initialize").value
        if not (isinstance(version, str) and version.startswith(PROTOCOL)):
            raise ToolError(
                f"skopeo's image proxy speaks version {version!r}, not {PROTOCOL}x",
                hint=hint,
            )

    def open(self, reference: str) -> int:
        """Open an image by skopeo's name for it, and return its handle.

        Raises:
            BlobError: skopeo cannot open it. ToolError: the proxy is broken.
        """
        handle = self._call("OpenImage", reference).value
        if type(handle) is not int:
            raise ToolError("skopeo's image proxy gave no handle of an image")
        return handle

    @contextmanager
    def blob(self, image: int, descriptor: Descriptor) -> Iterator[io.RawIOBase]:
        """Yield a blob as a stream; bytes that the caller does not read are not fetched.

        Raises:
            BlobError: the blob is missing; or the block read all of it, and it broke off or does not match
                its descriptor. It replaces a RechunkError that the block raised.
            ToolError: the proxy is broken.
        """
        reply = self._call("GetBlob", image, descriptor.digest, descriptor.size)
        if reply.fd is None:
            raise ToolError("skopeo's image proxy gave no pipe for a blob")
        with io.FileIO(reply.fd, "rb") as raw:
            self._send("FinishPipe", reply.pipe)
            stream = _Patient(raw, self._on_silence)
            try:
                yield stream
            except ToolError:
                raise  # the proxy is stuck or gone: there will be no reply
            except BaseException as raised:
                raw.close()
                error = self._finish()
                if error is not None and stream.ended and isinstance(raised, RechunkError):
                    raise error from raised
                raise
            complete = not stream.read(1)
        error = self._finish()
        if error is not None and complete:
            raise error

    def close_image(self, handle: int) -> None:
        """Release a handle."""
        self._call("CloseImage", handle)

    def shutdown(self) -> None:
        """Ask the proxy to end."""
        self._send("Shutdown")

    def _finish(self) -> BlobError | None:
        try:
            self._receive()
        except BlobError as error:
            return error
        return None

    def _call(self, method: str, *arguments: object) -> _Reply:
        self._send(method, *arguments)
        return self._receive()

    def _send(self, method: str, *arguments: object) -> None:
        try:
            self._socket.send(json.dumps({"method": method, "args": arguments}).encode())
        except OSError as error:
            raise ToolError("skopeo's image proxy does not answer", context=[str(error)]) from error

    def _receive(self) -> _Reply:
        _wait_for(self._socket, self._on_silence)
        try:
            data, ancillary, _, _ = self._socket.recvmsg(
                MAX_PACKET, socket.CMSG_LEN(array.array("i").itemsize)
            )
        except OSError as error:
            raise ToolError("skopeo's image proxy does not answer", context=[str(error)]) from error
        numbers = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
        fd = numbers[0] if numbers else None
        try:
            if not data:
                raise ToolError("skopeo's image proxy does not answer", context=["it has gone"])
            reply = _parse(data)
            if not reply.get("success"):
                raise BlobError(redact(str(reply.get("error") or "no reason given"), self._secrets))
            pipe = reply.get("pipeid", 0)
            if type(pipe) is not int:
                raise ToolError("skopeo's image proxy gave no number of a pipe")
        except BaseException:
            if fd is not None:
                os.close(fd)
            raise
        return _Reply(reply.get("value"), pipe, fd)


def _parse(data: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ToolError("skopeo's image proxy does not speak JSON", context=[str(error)]) from error
    if not isinstance(reply, dict):
        raise ToolError("skopeo's image proxy sent something else than a reply")
    return reply


class _Patient(io.RawIOBase):
    """The reading end of a pipe; each read waits with `_wait_for()`. ended: True at the end of the data."""

    def __init__(self, raw: io.FileIO, on_silence: OnSilence | None) -> None:
        self.ended = False
        self._raw = raw
        self._on_silence = on_silence

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        _wait_for(self._raw, self._on_silence)
        count = self._raw.readinto(buffer) or 0
        self.ended = self.ended or not count
        return count


def _wait_for(source: io.FileIO | socket.socket, on_silence: OnSilence | None) -> None:
    """Wait until there is something to read."""
    start = time.monotonic()
    while not select.select([source], [], [], LOOK_SECONDS)[0]:
        seconds = time.monotonic() - start
        if on_silence is not None:
            on_silence(seconds)
        elif seconds >= SILENCE_SECONDS:
            raise ToolError(
                f"no data from skopeo's image proxy for {SILENCE_SECONDS:.0f} s",
                hint="is the registry there?",
            )


@contextmanager
def proxy(
    options: Sequence[str] = (),
    *,
    env: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    hint: str = "skopeo 1.6 or newer has an image proxy",
    on_silence: OnSilence | None = None,
) -> Iterator[ImageProxy]:
    """Start a proxy, and end it when the context ends.

    Args:
        options: of `skopeo experimental-image-proxy`: --authfile=, --tls-verify=, --cert-dir=.
        env: the whole environment; this process's own by default.
        secrets: strings that are shown as *** in errors.
        hint: advice for the user if skopeo is too old or too new.
        on_silence: decides how long the proxy may be silent; None: SILENCE_SECONDS.

    Raises:
        ToolError: skopeo is not installed, too old, or the proxy did not start.
    """
    command = [find("skopeo", env), "--insecure-policy", "experimental-image-proxy", *options]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, tempfile.TemporaryFile() as talk:
        ours.settimeout(SILENCE_SECONDS)

        def start() -> subprocess.Popen[bytes]:
            with theirs:
                return subprocess.Popen(
                    command,
                    env=None if env is None else dict(env),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=talk,
                    preexec_fn=following(),
                )

        with child(start) as process:
            try:
                connection = ImageProxy(ours, secrets, hint, on_silence)
            except ToolError as error:
                end(process)
                raise _explained(process.returncode, talk, secrets, hint) or error from error
            yield connection
            if process.poll() is None:
                connection.shutdown()


def _explained(status: int, talk: IO[bytes], secrets: Sequence[str], hint: str) -> ToolError | None:
    """Return the error of a proxy that ended by itself before its first reply."""
    talk.seek(0)
    lines = redact(talk.read().decode("utf-8", "backslashreplace"), secrets).splitlines()
    tail = tuple(line for line in lines if line.strip())[-TAIL_LINES:]
    if not tail:
        return None
    return failure("skopeo", "skopeo experimental-image-proxy", status, tail, hint)
