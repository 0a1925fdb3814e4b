"""What registries answer, in skopeo's words: told apart, and tried again where it may pass.

Sources: distribution-spec ("Error Codes"); docker/distribution, registry/client/errors.go, and
containers/image, docker/errors.go, for how they are put into words.
"""

from __future__ import annotations

import logging
import re
import time

from rechunk_podman.errors import RechunkError, ToolError, UsageError
from rechunk_podman.programs.process import CommandError

log = logging.getLogger(__name__)

ATTEMPTS = 4
"""How often something is asked for where its failure may pass."""

FIRST_WAIT = 1.0
"""Seconds before the second attempt; doubled for each further one."""

TLS_HINT = "--cert-dir DIR, with its authority as DIR/*.crt; --tls-verify=false where it has no certificate"

_STATUS = r"(?:status(?: ?code)?(?: from registry)?|HTTP):? ?"
_BUSY = (
    r"connection reset|broken pipe|\bEOF\b|too ?many ?requests|use of closed network connection"
    rf"|{_STATUS}(?:429|5\d\d)\b|\b(?:429|5\d\d) \([A-Z]"
)
BUSY = re.compile(_BUSY, re.IGNORECASE)
"""The registry is there, and could not answer now."""

PASSING = re.compile(
    rf"{_BUSY}|connection (?:refused|timed out)|i/o timeout|handshake timeout|timeout awaiting"
    r"|temporary failure|no route to host|network is unreachable|server misbehaving|deadline exceeded",
    re.IGNORECASE,
)
"""As BUSY, or it could not be reached."""

_MESSAGE = re.compile(r'level=(?:fatal|error) msg="(?P<text>(?:[^"\\]|\\.)*)"')
MISSING = re.compile(
    rf"(?:manifest|name|blob) unknown|not known to registry|not found|{_STATUS}404",
    re.IGNORECASE,
)
DENIED = re.compile(
    rf"unauthorized|authentication required|denied|invalid username/password|forbidden|{_STATUS}40[13]\b",
    re.IGNORECASE,
)
TLS = re.compile(r"x509|client certificate|server gave HTTP response to HTTPS client|\btls: ", re.IGNORECASE)
_UNREACHABLE = re.compile(rf"{PASSING.pattern}|no such host|timeout", re.IGNORECASE)


class MissingImageError(UsageError):
    """There is no image of that name."""


class DeniedError(ToolError):
    """The registry does not show the image to this user; many say so of what does not exist, too."""


class UnreachableError(ToolError):
    """The registry did not answer, or not in a way that can be trusted."""


def again(attempt: int, doing: str, reason: str, note: str = "") -> bool:
    """Whether there is another attempt after this one (counted from 1); waits for its time, and says so.

    Args:
        doing: what failed: `push …`. note: what to know while waiting.
    """
    if attempt >= ATTEMPTS:
        return False
    wait = FIRST_WAIT * 2 ** (attempt - 1)
    log.warning("attempt %d of %d to %s failed: %s", attempt, ATTEMPTS, doing, reason)
    log.warning("trying again in %.0f s%s", wait, note)
    time.sleep(wait)
    return True


def busy(error: CommandError, repository: str) -> str | None:
    """What a registry said that is there, and could not answer now; None for any other failure.

    Args:
        repository: its name is no part of what is said.
    """
    messages = _messages(error)
    found = messages and error.status > 0 and BUSY.search(messages[-1].replace(repository, ""))
    return messages[-1] if found else None


def explained(reference: str, repository: str, error: CommandError) -> RechunkError:
    """The error of `skopeo inspect`, told apart by what it said."""
    messages = _messages(error)
    if not messages:
        return error
    context, text = messages[-1:], messages[-1].replace(repository, "")
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
            hint="is its name right, and the network there? try again",
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


def _messages(error: CommandError) -> list[str]:
    said = "\n".join(error.context)
    return [re.sub(r'\\(["\\])', r"\1", match["text"]) for match in _MESSAGE.finditer(said)]
