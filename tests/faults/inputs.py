"""Inputs that a parser once read wrongly, each with what it showed; test_parsers.py reads them."""

from __future__ import annotations

import json

_BEGIN = b"-----BEGIN PRIVATE KEY-----\n"

INPUTS: dict[str, tuple[str, bytes]] = {
    "a tag of a digit that is no decimal one, which int() refuses": ("tags", b'{"Tags": ["\xc2\xb2"]}'),
    "tags that are no list": ("tags", b'{"Tags": 5}'),
    "tags nested deeply": ("tags", b'{"Tags": ' + b"[" * 5000),
    "a directory of pacman's database with a zero byte": (
        "files of alpm",
        b"=== etc/pacman.conf\n[options]\nDBPath = /var/lib\0/x\n",
    ),
    "a record of `init` that is nested deeply": ("state of init", b'{"format": ' + b"[" * 5000),
    "a list of pages without an end": (
        "answers",
        b"".join(b"Link: " + b"<>;" * 20_000 + b"\r\n" for _ in range(4)) + b"\r\n",
    ),
    "a parameter of a challenge with a name of very many letters": (
        "answers",
        b"WWW-Authenticate: Bearer " + b"a" * 60_000 + b"\r\n\r\n",
    ),
    "a directory of pacman's database with very many spaces in its name": (
        "alpm texts",
        b"DBPath = /" + b" " * 250_000 + b"x\t!\n",
    ),
    "a path of a Go package with very many dots and slashes": (
        "go build info text",
        b"path\t" + b"./" * 20_000 + b"\t\n",
    ),
    "an os-release of spaces": ("os-release", b"VERSION=" + b" " * 60_000 + b"x1\n"),
    "a component whose name has very many digits": ("paces", b"lib" + b"1" * 60_000 + b"x"),
    "a member of an initramfs with a negative mode": (
        "initramfs",
        b"070701" + b"00000001" + b"-0000001" + b"00000001" * 11 + b"a\0",
    ),
    "a config in storage that is nested deeply, and that podman pulls": (
        "image in storage",
        b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}\n{}",
    ),
    "a config in storage that is no object": ("image in storage", b"[]\n{}"),
    "a manifest in storage whose annotations are a list": ("image in storage", b'{}\n{"annotations": ["a"]}'),
    "an address that urlsplit() refuses": ("answers", b"Location: https://[\r\n\r\n"),
    "an address with a letter of another script, which HTTP cannot send": (
        "answers",
        b"Location: /v2/\xe9\r\n\r\n",
    ),
    "a realm that urlsplit() refuses": ("answers", b'WWW-Authenticate: Bearer realm="https://["\r\n\r\n'),
    "a token with a line end, which HTTP cannot send": ("answers", b'\r\n\r\n{"token": "a\\nb"}'),
    "a token that is an object": ("answers", b'\r\n\r\n{"token": {}}'),
    "credentials with a line end": ("auth files", json.dumps({"auths": {"r/i": {"auth": "a\nb"}}}).encode()),
    "a version of very many digits": ("version of buildah", b"buildah version " + b"9" * 5000),
    "a line of the chunker's log that is no record": ("log of the chunker", b'{"level": "x"}'),
    "a key whose header lines end in \\r\\n, and match in two ways each": (
        "contents",
        b"etc/key\n" + _BEGIN + b"A: b\r\n" * 60 + b"!",
    ),
    "a login whose many empty lines are spaces, too, before each of them": (
        "contents",
        b"root/.pypirc\n" + b"\n" * 65_000,
    ),
    "a login of very many addresses without an end": (
        "contents",
        b"root/.git-credentials\n" + b"://a:" * 13_000,
    ),
    "a gem's specification of empty lines": ("ruby gemspec", b"# stub: a 1 ruby lib\n" + b"\n" * 250_000),
    "an expression whose alternatives are the same": ("file_contexts", b"/usr/share/man/man1/(a|a)*b\tx\n"),
    "an expression of many optional parts": (
        "file_contexts",
        b"/usr/share/man/man1/" + b"a?" * 40 + b"a" * 40 + b"b\tx\n",
    ),
    "an expression of repetitions in groups in groups": (
        "file_contexts",
        b"/usr/share/man/man1/((a*))*b\tx\n",
    ),
    "an expression of many repetitions": ("file_contexts", b"/usr/share/man/man1/" + b"a*" * 20 + b"b\tx\n"),
}
"""Small inputs that were once read wrongly: what an input shows -> (the name of its parser, the input)."""
