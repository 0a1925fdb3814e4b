"""Image references: what they mean, and where a result goes."""

from __future__ import annotations

import pytest

from rechunk_podman.errors import UsageError
from rechunk_podman.oci.reference import Name, default_tag, normalised_tag, parse

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("debian", Name("debian", None, None)),
        ("debian:12", Name("debian", "12", None)),
        ("localhost/a/b-c_d.e:T.1", Name("localhost/a/b-c_d.e", "T.1", None)),
        ("example.org:5000/x", Name("example.org:5000/x", None, None)),
        ("example.org:5000/x:y", Name("example.org:5000/x", "y", None)),
        (f"example.org/x@{DIGEST}", Name("example.org/x", None, DIGEST)),
        (f"x:y@{DIGEST}", Name("x", "y", DIGEST)),
        ("[::1]:5000/x", Name("[::1]:5000/x", None, None)),
        ("Example.Org/x", Name("Example.Org/x", None, None)),
    ],
)
def test_parse(text: str, expected: Name) -> None:
    assert parse(text) == expected
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-x",
        "/x",
        "x/",
        "a b",
        "x:",
        "x:-y",
        "x@sha256:12",
        "x:y:z",
        "x//y",
        "x\n",
        "x:" + "y" * 129,
        "é",
    ],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_upper_case_is_a_hint() -> None:
    with pytest.raises(UsageError) as caught:
        parse("Debian:Stable")
    assert "debian" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x", "localhost/x:latest"),
        ("x/y:z", "localhost/x/y:z"),
        ("localhost/x", "localhost/x:latest"),
        ("example.org/x:z", "example.org/x:z"),
        ("host:5000/x", "host:5000/x:latest"),
    ],
)
def test_normalised_tag(text: str, expected: str) -> None:
    assert normalised_tag(text) == expected


def test_a_digest_is_no_tag() -> None:
    with pytest.raises(UsageError, match="digest"):
        normalised_tag(f"x@{DIGEST}")


@pytest.mark.parametrize(
    ("asked", "names", "expected"),
    [
        ("localhost/x:1", ["localhost/x:1"], "localhost/x:1-chunked"),
        ("x:1", ["localhost/y:1", "localhost/x:1"], "localhost/x:1-chunked"),
        ("x", ["docker.io/library/x:1", "docker.io/library/x:latest"], "docker.io/library/x:latest-chunked"),
        ("x", ["localhost/x:latest"], "localhost/x:latest-chunked"),
        (f"localhost/x@{DIGEST}", ["localhost/x:1", "localhost/x:2"], "localhost/x:chunked"),
        (f"localhost/x:2@{DIGEST}", ["localhost/x:1", "localhost/x:2"], "localhost/x:2-chunked"),
        (f"x@{DIGEST}", ["example.org/a/x:1"], "example.org/a/x:chunked"),
        (HEX[:12], ["localhost/x:1"], "localhost/x:1-chunked"),
        (DIGEST, ["localhost/x:1"], "localhost/x:1-chunked"),
        # A name that looks like an id, of another image.
        ("cafe", ["localhost/cafe:latest"], "localhost/cafe:latest-chunked"),
    ],
)
def test_default_tag(asked: str, names: list[str], expected: str) -> None:
    assert default_tag(asked, HEX, names) == expected


@pytest.mark.parametrize("names", [[], ["localhost/x:1", "localhost/y:1"]])
def test_an_id_without_one_name_needs_a_tag(names: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        default_tag(HEX[:12], HEX, names)
    assert "-t NAME" in str(caught.value.hint)


def test_a_tag_too_long_to_extend() -> None:
    name = "localhost/x:" + "y" * 125
    with pytest.raises(UsageError, match="too long"):
        default_tag(name, HEX, [name])
