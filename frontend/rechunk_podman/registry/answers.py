"""Answers of registries, in skopeo's words: their meaning, and which failures may pass.

Sources: distribution-spec ("Error Codes"); docker/distribution, registry/client/errors.go, and
containers/image, docker/errors.go, for the wording.
"""

from __future__ import annotations

import re

from rechunk_podman.errors import ImageError, MissingImageError, RechunkError, ToolError
from rechunk_podman.patterns import compile_later
from rechunk_podman.programs.process import CommandError

TLS_HINT = "--cert-dir DIR, with its authority as DIR/*.crt; --tls-verify=false where it has no certificate"

_STATUS = r"(?:status(?: ?code)?(?: from registry)?|HTTP):? ?"
_BUSY = (
    r"connection reset|broken pipe|\bEOF\b|too ?many ?requests|use of closed network connection"
    rf"|{_STATUS}(?:429|5\d\d)\b|\b(?:429|5\d\d) \([A-Z]"
)
BUSY = compile_later(_BUSY, re.IGNORECASE)
"""Messages of a registry that was reached and cannot answer now."""

_SILENCE = r"connection timed out|i/o timeout|handshake timeout|timeout awaiting|deadline exceeded"
PASSING = compile_later(
    rf"{_BUSY}|{_SILENCE}|connection refused"
    r"|temporary failure|no route to host|network is unreachable|server misbehaving",
    re.IGNORECASE,
)
"""Messages like BUSY, or of a registry that cannot be reached."""

MISSING = compile_later(
    rf"(?:manifest|name|blob) unknown|not known to registry|not found|{_STATUS}404",
    re.IGNORECASE,
)
DENIED = compile_later(
    rf"unauthorized|authentication required|denied|invalid username/password|forbidden|{_STATUS}40[13]\b",
    re.IGNORECASE,
)
TLS = compile_later(
    r"x509|client certificate|server gave HTTP response to HTTPS client|\btls: ", re.IGNORECASE
)
_UNREACHABLE = compile_later(rf"{PASSING.pattern}|no such host|timeout", re.IGNORECASE)


class DeniedError(ToolError):
    """The registry does not show the image to this user; it may also not exist."""


class UnreachableError(ToolError):
    """The registry did not answer, or its answer cannot be trusted."""


class SilentError(UnreachableError):
    """A registry was silent for too long."""


_LOGGED = compile_later(r'^(?:time="[^"]*" )?level=(?P<level>\S+) msg="(?P<text>(?:[^"\\]|\\.)*)"')


def messages_of(error: RechunkError) -> list[str]:
    """Return the last lines of a tool that failed, without time, level and quotes; else the message."""
    lines = [line for line in error.context if not line.startswith("command: ")]
    return [_unquoted(line) for line in lines] or [error.message]


def reason_of(error: RechunkError) -> str:
    """Return the last line that a tool printed before it failed, else the error's message."""
    return messages_of(error)[-1]


def _unquoted(line: str) -> str:
    match = _LOGGED.match(line)
    return line if match is None else re.sub(r'\\(["\\])', r"\1", match["text"])


def is_busy(error: RechunkError, repository: str = "") -> bool:
    """Return True if a registry was reached and could not answer at that time.

    Args:
        repository: its name is ignored in the message.
    """
    return _has_ended(error) and BUSY.search(reason_of(error).replace(repository, "")) is not None


def may_pass(error: RechunkError, repository: str = "") -> bool:
    """Return True if is_busy() does, or if the registry was not reached at that time."""
    return _has_ended(error) and PASSING.search(reason_of(error).replace(repository, "")) is not None


def is_silence(error: RechunkError) -> bool:
    """Return True if the registry was waited for, in vain, until a time limit."""
    return isinstance(error, SilentError) or re.search(_SILENCE, reason_of(error), re.IGNORECASE) is not None


def _has_ended(error: RechunkError) -> bool:
    """Return False if a signal ended the tool, so that the registry did not fail."""
    return not isinstance(error, CommandError) or error.status > 0


def explained(reference: str, repository: str, error: CommandError) -> RechunkError:
    """Return the error that a failure of `skopeo inspect` or `list-tags` means; `error` itself if unknown."""
    if not _has_ended(error):
        return error
    context = [reason_of(error)]
    text = context[0].replace(repository, "")
    if TLS.search(text) and not BUSY.search(text):
        return UnreachableError(
            f"no trusted connection to the registry of {reference}",
            context=context,
            hint=TLS_HINT,
        )
    if _UNREACHABLE.search(text):
        return UnreachableError(
            f"the registry of {reference} cannot be reached",
            context=context,
            hint="is its name right, and the network there? try again; --timeout SECONDS waits longer",
        )
    if MISSING.search(text):
        return MissingImageError(
            f"no image {reference} in its registry", context=context, hint="check its name and tag"
        )
    if DENIED.search(text):
        return DeniedError(
            f"the registry does not show {reference}",
            context=context,
            hint="log in (podman login) or give --creds; it may also not exist",
        )
    return error


def explained_blob(image: str, digest: str, error: RechunkError) -> RechunkError:
    """Return the error that a failure to fetch a blob of an image means.

    An ImageError if the registry has lost the blob, or has other bytes under its digest.
    """
    context = [error.message]
    if _UNREACHABLE.search(error.message):
        return UnreachableError(
            f"{digest} of {image} cannot be fetched", context=context, hint="run the same command again"
        )
    if MISSING.search(error.message):
        return ImageError(f"the registry has lost {digest} of {image}", context=context)
    if DENIED.search(error.message):
        return DeniedError(
            f"the registry does not give {digest} of {image}",
            context=context,
            hint="log in (podman login) or give --creds",
        )
    return ImageError(f"{digest} of {image} is damaged in the registry", context=context)
