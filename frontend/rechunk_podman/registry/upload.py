"""Uploads of single blobs, and requests about manifests, by the distribution specification.

skopeo can only copy complete images.

Sources: distribution-spec ("Pushing blobs", "Checking if content exists in the registry"); distribution,
docs/content/spec/auth/token.md, for tokens; RFC 7235 for challenges.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

from rechunk_podman.oci.reference import host_of
from rechunk_podman.oci.spec import Digest
from rechunk_podman.oci.text import load_json
from rechunk_podman.registry.access import Registry
from rechunk_podman.registry.answers import DeniedError, UnreachableError
from rechunk_podman.registry.configured import require_direct, tls_context
from rechunk_podman.registry.credentials import OnlySkopeoError, credentials

_CHUNK = 1 << 18
_MAX_ANSWER = 1 << 22
_DOCKER_HUB = "registry-1.docker.io"
_EARLY = 30.0
"""Seconds before its end at which a token is renewed."""
_LONGEST = 3600.0
"""Seconds after which a token is renewed at the latest."""
_PARAMETER = re.compile(r'(?<!\w)(\w+)="([^"]*)"')
_PRINTABLE = re.compile(r"[!-~]*\Z")
"""The characters of addresses and tokens (RFC 3986, RFC 6750): no spaces, line ends, other scripts."""


class PassingError(UnreachableError):
    """The registry could not do it at that time."""


class Answer(NamedTuple):
    """An answer of a registry."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class _Challenge(NamedTuple):
    """An answer 401. scheme: `basic` or `bearer`, lower case."""

    scheme: str
    parameters: Mapping[str, str]


class Repository:
    """A repository of a registry. Several threads may use it at once.

    Args:
        name: with the registry.
        on_bytes: called with the number of bytes of each part of a blob that was sent.
    """

    def __init__(
        self, name: str, registry: Registry, on_bytes: Callable[[int], object] = lambda _: None
    ) -> None:
        host = host_of(name)
        self.name = name
        self._path = name.removeprefix(f"{host}/")
        self._authority = _DOCKER_HUB if host == "docker.io" else host
        self._registry = registry
        self._on_bytes = on_bytes
        self._lock = threading.Lock()
        self._own = threading.local()
        self._base: str | None = None
        self._challenge: _Challenge | None = None
        self._secret: str | None = None
        self._authorization: str | None = None
        self._valid_until = 0.0
        self._tls: ssl.SSLContext | None = None

    def upload(self, fd: int, size: int, digest: Digest) -> bool:
        """Upload a blob; return False if the repository has it already.

        Args:
            fd: of a file with its bytes.

        Raises:
            PassingError: another attempt may succeed.
            DeniedError: the registry does not let this user push.
            OnlySkopeoError: the registry, or the way to it, is of a kind that only skopeo supports.
            UnreachableError: the registry is silent, has no trusted certificate, or gave another answer.
        """
        self._connect()
        blobs = f"{self._base}/v2/{self._path}/blobs"
        if self._ask("HEAD", f"{blobs}/{digest}", (200, 404)).status == 200:
            return False
        place = self._location(self._ask("POST", f"{blobs}/uploads/", (202,)), blobs)
        place = self._location(self._ask("PATCH", place, (202, 204), fd, size), place)
        separator = "&" if urlsplit(place).query else "?"
        self._ask("PUT", place + separator + urlencode({"digest": digest}), (201, 204))
        return True

    def ask(
        self,
        method: str,
        place: str,
        expected: tuple[int, ...],
        headers: Mapping[str, str] = MappingProxyType({}),
        body: bytes | None = None,
    ) -> Answer:
        """Send a request, and return the answer.

        Args:
            place: below `/v2/NAME/`, or an address that the registry gave.
            expected: the statuses that are no errors.

        Raises:
            RechunkError: as upload().
        """
        self._connect()
        top = f"{self._base}/v2/{self._path}/"
        url = self._same_host(address(place, top), top)
        if body is None:
            return self._ask(method, url, expected, extra=headers)
        with open(os.memfd_create("body"), "r+b", buffering=0) as file:
            file.write(body)
            return self._ask(method, url, expected, file.fileno(), len(body), headers)

    def _connect(self) -> None:
        """Find out, once, how the registry is reached, and what it wants to see."""
        with self._lock:
            if self._base is not None:
                return
            require_direct(self._registry)
            schemes = ["https", "http"] if self._registry.tls_verify is False else ["https"]
            proxies = urllib.request.getproxies()
            if any(scheme in proxies for scheme in schemes) and not urllib.request.proxy_bypass(
                self._authority
            ):
                raise OnlySkopeoError("a proxy is configured")
            self._secret = credentials(self.name, self._registry)
            self._tls = tls_context(self.name, self._registry)
            for scheme in schemes:
                base = f"{scheme}://{self._authority}"
                try:
                    answer = self._send("GET", f"{base}/v2/", {})
                except UnreachableError:
                    if scheme == schemes[-1]:
                        raise
                    continue
                if answer.status == 401:
                    self._challenge = challenge_of(answer.headers)
                elif answer.status != 200:
                    raise _unexpected("GET /v2/", answer)
                self._base = base
                return

    def _location(self, answer: Answer, base: str) -> str:
        """Return the address at which an upload goes on.

        Raises:
            OnlySkopeoError: it is on another host, which credentials must not be sent to.
            UnreachableError: it is no address.
        """
        return self._same_host(address(answer.headers.get("Location", ""), base), base)

    def _same_host(self, place: str, base: str) -> str:
        if urlsplit(place)[:2] != urlsplit(base)[:2]:
            raise OnlySkopeoError(f"{self._authority} sends requests to another address")
        return place

    def _ask(
        self,
        method: str,
        url: str,
        expected: tuple[int, ...],
        fd: int = -1,
        size: int = 0,
        extra: Mapping[str, str] = MappingProxyType({}),
    ) -> Answer:
        """Send a request with the credentials that the registry wants; return the answer."""
        for fresh in (False, True):
            headers = {"Content-Length": str(size)} if method in ("POST", "PATCH", "PUT") else {}
            if fd >= 0:
                headers["Content-Type"] = "application/octet-stream"
            headers.update(extra)
            if authorization := self._authorize(fresh=fresh):
                headers["Authorization"] = authorization
            answer = self._send(method, url, headers, fd, size)
            if answer.status != 401 or self._challenge is None or self._challenge.scheme != "bearer":
                break
        if answer.status in expected:
            return answer
        raise _unexpected(f"{method} {urlsplit(url).path}", answer)

    def _authorize(self, *, fresh: bool = False) -> str | None:
        """Return the header Authorization.

        Args:
            fresh: do not use the token that is there.
        """
        challenge = self._challenge
        if challenge is None:
            return None
        if challenge.scheme == "basic":
            return f"Basic {self._secret}" if self._secret else None
        with self._lock:
            if fresh or time.monotonic() > self._valid_until:
                self._authorization, self._valid_until = self._token(challenge.parameters)
            return self._authorization

    def _token(self, parameters: Mapping[str, str]) -> tuple[str, float]:
        """Return a header with a new token, and when it has to be renewed."""
        realm = address(parameters.get("realm", ""))
        if not realm.startswith(("https://", "http://" if self._base is None else self._base)):
            raise OnlySkopeoError(f"{self._authority} wants tokens of {realm}")
        query = {"scope": f"repository:{self._path}:pull,push"}
        if "service" in parameters:
            query["service"] = parameters["service"]
        headers = {"Authorization": f"Basic {self._secret}"} if self._secret else {}
        separator = "&" if urlsplit(realm).query else "?"
        started = time.monotonic()
        answer = self._send("GET", realm + separator + urlencode(query), headers)
        if answer.status != 200:
            raise _unexpected("GET a token", answer)
        token, seconds = token_of(answer.body, realm)
        return f"Bearer {token}", started + max(seconds - _EARLY, seconds / 2)

    def _send(self, method: str, url: str, headers: Mapping[str, str], fd: int = -1, size: int = 0) -> Answer:
        """Send one request by this thread's connection to the host, and return the answer.

        Raises:
            PassingError: the connection broke. UnreachableError: there is none, or the registry is silent.
        """
        parts = urlsplit(url)
        key = f"{parts.scheme}://{parts.netloc}"
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        kept: dict[str, http.client.HTTPConnection] = self._own.__dict__
        connection = kept.get(key)
        try:
            if connection is not None and fd < 0:
                # the registry may have closed it meanwhile
                with suppress(ConnectionError, http.client.HTTPException):
                    return _exchange(connection, method, target, headers, fd, size, self._on_bytes)
            if connection is None:
                connection = kept[key] = self._open(parts.scheme, parts.netloc)
            return _exchange(connection, method, target, headers, fd, size, self._on_bytes)
        except ssl.SSLError as error:
            raise UnreachableError(f"no trusted connection to {key}", context=[str(error)]) from error
        except TimeoutError as error:
            raise UnreachableError(f"{key} is silent", context=[str(error)]) from error
        except (ConnectionError, http.client.HTTPException) as error:
            raise PassingError(str(error) or type(error).__name__) from error
        except OSError as error:
            raise UnreachableError(f"cannot reach {key}", context=[str(error)]) from error

    def _open(self, scheme: str, authority: str) -> http.client.HTTPConnection:
        seconds = self._registry.timeout
        if scheme == "https":
            return http.client.HTTPSConnection(authority, timeout=seconds, context=self._tls)
        return http.client.HTTPConnection(authority, timeout=seconds)


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    headers: Mapping[str, str],
    fd: int,
    size: int,
    on_bytes: Callable[[int], object],
) -> Answer:
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        connection.putheader("User-Agent", "rechunk-podman")
        for key, value in headers.items():
            connection.putheader(key, value)
        connection.endheaders()
        # a registry that refuses a blob may answer and close before it has read all
        with suppress(ConnectionError):
            for offset in range(0, size if fd >= 0 else 0, _CHUNK):
                data = os.pread(fd, min(_CHUNK, size - offset), offset)
                connection.send(data)
                on_bytes(len(data))
        response = connection.getresponse()
        body = response.read(_MAX_ANSWER)
        if not response.isclosed():
            connection.close()
        return Answer(response.status, response.headers, body)
    except BaseException:
        connection.close()
        raise


def address(text: str, base: str = "") -> str:
    """Return an address that a registry names, which may be relative to `base`. Pure.

    Raises:
        UnreachableError: it is no address, or has characters that none has.
    """
    try:
        found = urljoin(base, text)
        urlsplit(found)
    except ValueError as error:
        raise UnreachableError(
            "the registry names no address", context=[f"{text!r:.200}: {error}"]
        ) from error
    if not _PRINTABLE.match(found):
        raise UnreachableError("the registry names no address", context=[f"{text!r:.200}"])
    return found


def token_of(body: bytes, realm: str) -> tuple[str, float]:
    """Return the token in an answer, and the seconds for which it is valid. Pure.

    Args:
        realm: the address that answered, for messages.

    Raises:
        UnreachableError: there is no token.
    """
    document = load_json(body, f"the answer of {realm}", UnreachableError)
    found = document if isinstance(document, dict) else {}
    token, seconds = found.get("token") or found.get("access_token"), found.get("expires_in") or 60
    if not (token and isinstance(token, str) and _PRINTABLE.match(token)):
        raise UnreachableError(f"{realm} gave no token")
    return token, float(seconds) if type(seconds) in (int, float) and seconds < _LONGEST else _LONGEST


def challenge_of(headers: http.client.HTTPMessage) -> _Challenge:
    """Return the challenge of an answer 401: a token if there is a choice. Pure.

    Raises:
        OnlySkopeoError: neither tokens nor passwords are wanted.
    """
    found: dict[str, _Challenge] = {}
    for line in headers.get_all("WWW-Authenticate", []):
        scheme, _, rest = line.partition(" ")
        parameters = {key.lower(): value for key, value in _PARAMETER.findall(rest)}
        found[scheme.lower()] = _Challenge(scheme.lower(), parameters)
    for scheme in ("bearer", "basic"):
        if scheme in found:
            return found[scheme]
    raise OnlySkopeoError("the registry wants an unknown kind of credentials")


def _unexpected(doing: str, answer: Answer) -> UnreachableError | DeniedError:
    text = f"HTTP {answer.status} ({doing})"
    said = [answer.body[:200].decode("utf-8", "replace")] if answer.body else []
    if answer.status in (401, 403):
        return DeniedError(text, context=said)
    if answer.status == 429 or answer.status >= 500:
        return PassingError(text, context=said)
    return UnreachableError(text, context=said)
