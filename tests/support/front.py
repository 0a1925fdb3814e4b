"""A front of a registry that forwards everything, and can be told to fail: the registry behind it is real."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
HOP = {"connection", "transfer-encoding", "content-length"}

Fault = Callable[[str, str], int | None]
"""(method, path) -> the status to answer with, STALL, CUT, or None to forward."""

STALL = -1
CUT = -2
"""Forward, and close the connection in the middle of the answer."""


@dataclass
class Front:
    """address: host and port. asked: (method, path) of each request. stalled: set by the first that is.

    shown: the Authorization headers that came. closed: whether a request without one is answered by 401.
    no_mounts: a request to mount a blob begins an upload, as the specification allows.
    tokens: if not 0, requests need a token, of which /token gives one for so many requests.
    page: if not 0, the front has the referrers API (distribution-spec v1.1), with pages of so many entries.
    conditional: whether a manifest is replaced only if it is the one that If-Match or If-None-Match says.
    etag: the ETag of every answer, instead of the registry's.
    """

    address: str
    fault: Fault = lambda method, path: None
    asked: list[tuple[str, str]] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    shown: set[str] = field(default_factory=set)
    closed: bool = False
    no_mounts: bool = False
    tokens: int = 0
    page: int = 0
    conditional: bool = False
    etag: str = ""
    referrers: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    given: int = 0
    left: int = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    front: Front
    behind: str

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def forward(self) -> None:
        """Answers one request."""
        front = self.front
        front.asked.append((self.command, self.path))
        status = front.fault(self.command, self.path)
        shown = self.headers.get("Authorization")
        if shown is not None:
            front.shown.add(shown)
        elif front.closed:
            status = 401
        if front.tokens and self._lacks_token(shown):
            return
        if status == STALL:
            front.stalled.set()
            front.over.wait()
            self.close_connection = True
            return
        body = b"".join(self._body())
        if front.page and "/referrers/" in self.path:
            self._list()
            return
        if front.conditional and self.command == "PUT" and "/manifests/" in self.path and not self._fits():
            status = 412
        if status not in (None, CUT):
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="test"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        connection = http.client.HTTPConnection(self.behind, timeout=60)
        names = {key for key in self.headers if key.lower() not in HOP}
        headers = {key: ", ".join(self.headers.get_all(key, [])) for key in names}
        path = self.path.partition("?")[0] if front.no_mounts and "mount=" in self.path else self.path
        connection.request(self.command, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for key, value in answer.getheaders():
            if key.lower() == "etag" and front.etag:
                self.send_header(key, front.etag)
            elif key.lower() not in HOP:
                self.send_header(key, value)
        if front.page and self.command == "PUT" and "/manifests/" in self.path and answer.status == 201:
            self._refer(body)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        if status == CUT:
            data = data[: len(data) // 2]
            self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(data)
        connection.close()

    def _list(self) -> None:
        """Answers with one page of the manifests that refer to another ("Listing Referrers")."""
        front, place = self.front, urlsplit(self.path)
        query = dict(parse_qsl(place.query))
        found = front.referrers.get(place.path.rpartition("/")[2], [])
        found = [entry for entry in found if entry["artifactType"] == query["artifactType"]]
        start = int(query.get("last", "0"))
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": found[start : start + front.page]}
        body = json.dumps(index).encode()
        self.send_response(200)
        self.send_header("Content-Type", INDEX)
        self.send_header("OCI-Filters-Applied", "artifactType")
        if start + front.page < len(found):
            following = urlencode({**query, "last": start + front.page})
            self.send_header("Link", f'<{place.path}?{following}>; rel="next"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refer(self, manifest: bytes) -> None:
        """Lists a manifest that was stored, if it has a subject ("Pushing Manifests with Subject")."""
        document = json.loads(manifest)
        if "subject" in document:
            subject = document["subject"]["digest"]
            entry = {
                "mediaType": document["mediaType"],
                "digest": f"sha256:{hashlib.sha256(manifest).hexdigest()}",
                "size": len(manifest),
                "artifactType": document["artifactType"],
            }
            self.front.referrers.setdefault(subject, []).append(entry)
            self.send_header("OCI-Subject", subject)

    def _fits(self) -> bool:
        """Returns whether the manifest that would be replaced is as the request's conditions say."""
        connection = http.client.HTTPConnection(self.behind, timeout=60)
        connection.request("HEAD", self.path, headers={"Accept": f"{INDEX}, */*"})
        answer = connection.getresponse()
        answer.read()
        etag = answer.getheader("ETag") if answer.status == 200 else None
        connection.close()
        wanted, none = self.headers.get("If-Match"), self.headers.get("If-None-Match")
        return (wanted is None or wanted == etag) and (none is None or etag is None)

    def _lacks_token(self, shown: str | None) -> bool:
        """Gives a token, or refuses a request without a valid one; returns whether it answered."""
        front = self.front
        body = b""
        if self.path.startswith("/token?"):
            front.given, front.left = front.given + 1, front.tokens
            body = json.dumps({"token": f"token-{front.given}", "expires_in": 300}).encode()
            self.send_response(200)
        elif shown == f"Bearer token-{front.given}" and front.left:
            front.left -= 1
            return False
        else:
            b"".join(self._body())
            self.send_response(401)
            realm = f"http://{front.address}/token"
            self.send_header("WWW-Authenticate", f'Bearer realm="{realm}",service="front"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = forward

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            yield self.rfile.read(int(self.headers.get("Content-Length") or 0))


@contextmanager
def front_of(address: str) -> Iterator[Front]:
    """Runs a front of the registry at `address`, on a free port of 127.0.0.1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    front = Front(f"127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass = type("Handler", (_Handler,), {"front": front, "behind": address})
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield front
    finally:
        front.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
