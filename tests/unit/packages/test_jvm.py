"""Java archives: artifacts by pom.properties, manifest and name; versions."""

from __future__ import annotations

import subprocess
import zipfile
from functools import cmp_to_key
from itertools import pairwise
from pathlib import Path

import pytest

from rechunk_podman.packages.jvm import archive
from rechunk_podman.packages.jvm.version import compare
from support.assigning import assigned, make
from support.embedded import jar
from support.moments import unclaimed
from support.needs import require


def pom(group, artifact, version):
    """Return the entry of Maven for an artifact."""
    text = f"#comment\nartifactId={artifact}\ngroupId={group}\nversion={version}\n"
    return {f"META-INF/maven/{group}/{artifact}/pom.properties": text}


MANIFEST = {"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\r\nImplementation-Version: 7.1\r\n"}


@pytest.mark.parametrize(
    ("name", "data", "component", "version"),
    [
        ("x.jar", jar(pom("org.own", "saw", "1.2")), "org.own:saw", "1.2"),
        ("saw-9.jar", jar(pom("org.own", "saw", "1.2"), b"c" * 60_000), "org.own:saw", "1.2"),
        ("saw-9.jar", jar(pom("org.own", "saw", "1.2"), method=zipfile.ZIP_STORED), "org.own:saw", "1.2"),
        ("saw-9.jar", jar(pom("o", "in", "1") | pom("o", "saw", "2")), "o:saw", "2"),
        ("all-9.1.jar", jar(pom("o", "in", "1") | pom("o", "saw", "2")), "all", "9.1"),
        ("spring-core-6.1.0-M1.jar", jar({"x": "x"}), "spring-core", "6.1.0-M1"),
        ("own.war", jar(MANIFEST), "own", "7.1"),
        ("not-1.jar", b"text", "not", "1"),
        ("empty-1.jar", b"", "empty", "1"),
        ("cut-1.jar", jar(MANIFEST)[:-30], "cut", "1"),
        ("bad-1.jar", b"\xff" * 20 + jar(MANIFEST)[20:], "bad", "1"),
    ],
)
def test_an_archive_is_an_artifact(name, data, component, version, tmp_path):
    result = assigned(make(tmp_path, {f"app/lib/{name}": data}))
    assert result.paths[f"jvm/{component}"] == [f"app/lib/{name}"]
    assert result[f"jvm/{component}"].version == version


def test_the_archive_of_another_package_is_not_opened(tmp_path):
    stanza = "Package: libsaw-java\nStatus: install ok installed\nVersion: 1\n"
    files = {"usr/share/java/saw.jar": jar(pom("o", "saw", "1")), "var/lib/dpkg/status": stanza}
    make(tmp_path, {**files, "var/lib/dpkg/info/libsaw-java.list": "/usr/share/java/saw.jar\n"})
    result = assigned(tmp_path)
    assert result.owner["usr/share/java/saw.jar"] == "dpkg/libsaw-java"
    assert unclaimed(result) == []


def test_a_central_directory_that_claims_too_much_is_not_read():
    tail = b"PK\5\6" + b"\0" * 8 + b"\xff\xff\xff\x7f" + b"\0" * 6
    with pytest.raises(ValueError, match="too large"):
        archive.directory(tail, 1 << 40)


VERSIONS = [
    "1-alpha-1",
    "1-beta1",
    "1-m2",
    "1-rc1",
    "1-SNAPSHOT",
    "1",
    "1-sp1",
    "1-abc",
    "1-1",
    "1.0.1",
    "1.2",
]
VERSIONS += ["1.10", "2.0.0.Beta1", "2.0.0.Final", "2.0.0.Final-redhat-1"]


def test_versions():
    assert sorted(sorted(VERSIONS, key=lambda text: text[::-1]), key=cmp_to_key(compare)) == VERSIONS
    for a, b in (
        ("1", "1.0.0"),
        ("1.0-ga", "1-final"),
        ("1-a1", "1-alpha-1"),
        ("1.0-cr2", "1-rc-2"),
        ("", "0"),
    ):
        assert compare(a, b) == 0


def test_maven_orders_versions_alike():
    """By the library of Debian's maven, which prints `A < B` for neighbours."""
    require("java")
    libraries = [
        Path("/usr/share/java/maven3-artifact.jar"),
        *Path("/usr/share/java").glob("commons-lang3.jar"),
    ]
    if len(libraries) < 2 or not libraries[0].exists():
        pytest.skip("Debian's maven is not installed")
    program = "org.apache.maven.artifact.versioning.ComparableVersion"
    odd = ["1.a", "1-1.foo", "1.0.RC2", "1.0-RC3", "1x1", "1.0.0-x", "01.2", "1..3", "1-x.0.y", "1_2"]
    mixed = [*VERSIONS, *odd, *VERSIONS[::-2], *odd[::2]]
    command = ["java", "-cp", ":".join(map(str, libraries)), program, *mixed]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    signs = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("   ")]
    assert len(signs) == len(mixed) - 1
    ours = ["<=>"[compare(a, b) + 1].replace("=", "==") for a, b in pairwise(mixed)]
    pairs = list(pairwise(mixed))
    assert [*zip(pairs, ours, strict=True)] == [*zip(pairs, signs, strict=True)]
