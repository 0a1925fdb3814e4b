"""The parsers of answers: of registries, of tools, and of what stands in files of the container tools."""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
import socket
from contextlib import suppress

from parsers.images import CONFIG_BYTES, MANIFEST_BYTES
from rechunk_podman.errors import RechunkError
from rechunk_podman.oci.artifact import artifact_of, with_referrer
from rechunk_podman.oci.spec import MEDIA_MANIFEST, Descriptor, Digest
from rechunk_podman.programs import buildah
from rechunk_podman.programs.imageproxy import MAX_PACKET, ImageProxy
from rechunk_podman.programs.podman import Image
from rechunk_podman.programs.process import failure, redact
from rechunk_podman.registry.access import DEFAULT
from rechunk_podman.registry.answers import explained, is_busy, is_silence, may_pass
from rechunk_podman.registry.credentials import find
from rechunk_podman.registry.referrers import next_page
from rechunk_podman.registry.tags import natural_key, newest, parse_tags, series_of
from rechunk_podman.registry.upload import address, challenge_of, token_of
from rechunk_podman.split.chunker import parse_record
from rechunk_podman.split.run import _for_platform
from support.fuzzing import Parser

TAGS = {
    "Repository": "r/i",
    "Tags": ["40-20250131.1", "latest", "v1.2", "sha256-" + "0" * 64 + ".sig", "a_b"],
}
SAID = (
    b'time="2024-01-01T00:00:00Z" level=fatal msg="Error parsing image name \\"docker://r/i\\": '
    b'reading manifest: unexpected status code 500 Internal Server Error: {\\"errors\\":[]}"',
    b'pinging container registry r: Get "https://me:secret@r/v2/": dial tcp: i/o timeout',
    b"FATA[0000] x509: certificate signed by unknown authority",
)
HEAD = (
    b"Location: /v2/i/blobs/uploads/0123?_state=abc\r\n"
    b'Link: </v2/i/referrers/x?n=1>; rel="next"\r\n'
    b'WWW-Authenticate: Bearer realm="https://auth.example.org/token?x=1",service="r",scope="pull"\r\n'
    b'WWW-Authenticate: Basic realm="r"\r\n\r\n{"token": "abc", "expires_in": 300}'
)
SECRET = base64.b64encode(b"me:secret").decode()
AUTHS = {"auths": {"r/i": {"auth": SECRET}, "https://r/v1/": {"auth": SECRET}}, "credHelpers": {"x": "y"}}
ARTIFACT = artifact_of([], Descriptor(MEDIA_MANIFEST, Digest("sha256:" + "a" * 64), 5), {"a": "b"})
REFERRERS = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "manifests": [
        {"mediaType": MEDIA_MANIFEST, "digest": "sha256:" + "b" * 64, "size": 7, "annotations": {}}
    ],
}
PACKETS = b"\n".join(
    json.dumps({"success": True, "value": value, "pipeid": 0, "error": ""}).encode() for value in ("0.2.5", 7)
)


def _tags(data: bytes) -> None:
    tags = parse_tags(data)
    newest(tags, ".", created=lambda tag: len(tag))
    sorted(tags, key=natural_key)
    for tag in tags:
        for pattern in series_of(tag):
            assert re.search(pattern, tag)


def _said(data: bytes) -> None:
    line = redact(data.decode("utf-8", "backslashreplace"))
    error = failure("skopeo", "skopeo inspect", 1, (line,))
    explained("docker://r/i", "r/i", error)
    for meaning in (is_busy, may_pass, is_silence):
        meaning(error)


def _answer(data: bytes) -> None:
    """Read it as an answer of HTTP, without the first line."""
    head, _, body = data.partition(b"\r\n\r\n")
    try:
        headers = http.client.parse_headers(io.BytesIO(head + b"\r\n\r\n"))
    except http.client.HTTPException:
        return
    realm = "https://r/token"
    with suppress(RechunkError):
        realm = challenge_of(headers).parameters.get("realm", "")
    following = next_page(headers) or ""
    for text, base in (
        (headers.get("Location", ""), "https://r/v2/"),
        (following, "https://r/v2/"),
        (realm, ""),
    ):
        with suppress(RechunkError):
            _encodes(address(text, base))
    token, seconds = token_of(body, realm)
    _encodes(token)
    assert seconds <= 3600


def _encodes(text: str) -> None:
    """Check that http.client sends the text as it is, in one line."""
    assert text.isascii()
    assert text.isprintable()


def _auths(data: bytes) -> None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    secret = find(document, "r/i")
    _encodes(f"Basic {secret}")


def _proxy(data: bytes) -> None:
    """Answer as skopeo's image proxy does: a packet for each line."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for packet in data.split(b"\n")[:8]:
            theirs.send(packet[:MAX_PACKET])
        theirs.shutdown(socket.SHUT_WR)
        connection = ImageProxy(ours, (), "", None)
        assert isinstance(connection.open("docker://r/i"), int)


def _referrers(data: bytes) -> None:
    """Add an artifact to a list that a registry has under a tag."""
    added = with_referrer(data, ARTIFACT.manifest, "the list")
    assert added is not None
    assert with_referrer(added, ARTIFACT.manifest, "the list") is None


def _in_storage(data: bytes) -> None:
    """Read the documents of an image that podman pulled: the config, then the manifest."""
    config, _, manifest = data.partition(b"\n")
    image = Image("ab" * 32, (), config, manifest, 0)
    with suppress(RechunkError):
        image.document()
    _for_platform(DEFAULT, image, None)


PARSERS: dict[str, Parser] = {
    "tags": Parser(_tags, [json.dumps(TAGS).encode()]),
    "messages": Parser(_said, SAID),
    "answers": Parser(_answer, [HEAD]),
    "referrers": Parser(_referrers, [json.dumps(REFERRERS).encode()]),
    "auth files": Parser(_auths, [json.dumps(AUTHS).encode()]),
    "image proxy": Parser(_proxy, [PACKETS]),
    "image in storage": Parser(_in_storage, [CONFIG_BYTES + b"\n" + MANIFEST_BYTES]),
    "version of buildah": Parser(
        lambda data: buildah.parse_version(data.decode("utf-8", "replace")), [b"buildah version 1.28.2 (x)\n"]
    ),
    "log of the chunker": Parser(
        parse_record,
        [
            b'{"level": 20, "message": "x", "phase": "reading", "total": 5}',
            b'{"level": 10, "message": "", "blob": "a"}',
        ],
    ),
}
