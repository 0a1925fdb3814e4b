"""The splitter's Containerfile: in step with its template, quoted, and its script does what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from rechunk_podman.errors import UsageError
from rechunk_podman.split.containerfile import render, templates


def test_the_checked_in_file_is_the_rendered_default(repository: Path) -> None:
    """render() prints the one that belongs there."""
    assert (repository / "Containerfile.splitter").read_text() == render()


def test_the_template_is_found(repository: Path) -> None:
    assert (templates() / "Containerfile.splitter.j2").is_file()


def stages(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("FROM ")]


def test_the_target_is_the_first_stage_and_the_last_is_bare() -> None:
    text = render()
    assert stages(text) == [
        "FROM scratch AS target",
        "FROM ${CHUNKER} AS chunker",
        "FROM oci-archive:out.ociarchive",
    ]
    assert text.endswith("\nFROM oci-archive:out.ociarchive\n")


def test_newer_buildah_is_told_the_order() -> None:
    assert stages(render(after=True))[-1] == "FROM --after=chunker oci-archive:out.ociarchive"


def test_an_image_by_id_is_mounted_as_it_is() -> None:
    text = render(image="ab" * 32, job="/run/src/job.json")
    assert stages(text) == ["FROM ${CHUNKER} AS chunker", "FROM oci-archive:out.ociarchive"]
    assert f"RUN --mount=type=bind,from={'ab' * 32},source=/,target=/rootfs \\\n" in text
    assert text.count("RUN ") == 1
    assert "    exec rechunk-podman build --job /run/src/job.json\n" in text
    with pytest.raises(UsageError):
        render(image="ab\nRUN evil")


def test_the_chunker_can_be_named() -> None:
    assert "ARG CHUNKER=example.org/chunker:1\n" in render(chunker="example.org/chunker:1")


@pytest.mark.parametrize("name", ["a b", "x\nRUN evil", "", "$(id)"])
def test_the_chunker_has_to_be_a_name(name: str) -> None:
    with pytest.raises(UsageError):
        render(chunker=name)


def chunker_script() -> str:
    """The shell part of the RUN instruction, as the builder hands it to sh -c."""
    run = re.search(r"^RUN (.*?[^\\])\n\n", render(), re.MULTILINE | re.DOTALL)
    assert run is not None
    words = run[1].replace("\\\n", "").strip()
    return re.sub(r"^(--mount=\S+\s+)+", "", words)


def call(
    tmp_path: Path,
    *,
    args: str | None = None,
    config_str: str | None = None,
    previous: str | None = None,
    **files: str,
) -> list[str]:
    """Runs that script with a stand-in chunker that tells its arguments."""
    context = tmp_path / "context"
    context.mkdir(exist_ok=True)
    for name, content in files.items():
        (context / name.replace("__", "-").replace("_json", ".json")).write_text(content)
    tool = tmp_path / "rechunk-podman"
    tool.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done\n')
    tool.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    if args is not None:
        env["RECHUNK_ARGS"] = args
    if config_str is not None:
        env["RECHUNK_CONFIG_STR"] = config_str
    if previous is not None:
        env["RECHUNK_PREVIOUS"] = previous
    script = chunker_script().replace("/run/src", str(context))
    done = subprocess.run(["/bin/sh", "-c", script], env=env, cwd=context, capture_output=True, check=True)
    return [
        word.replace(str(context), "/run/src")
        for word in done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]
    ]


FIXED = ["build", "--rootfs", "/rootfs", "--output", "oci-archive:/run/src/out.ociarchive"]
FROM_FILE = ["--config", "/run/src/rechunk-config.json"]


def test_script_without_arguments(tmp_path: Path) -> None:
    assert call(tmp_path) == FIXED


def test_script_removes_the_archive_of_an_earlier_build(tmp_path: Path) -> None:
    """If the chunker fails, the last stage must not get an older image; and there may be no room for two."""
    (tmp_path / "context").mkdir()
    (tmp_path / "context/out.ociarchive").write_text("old")
    assert call(tmp_path) == FIXED
    assert not (tmp_path / "context/out.ociarchive").exists()


def test_script_splits_arguments_and_does_not_glob(tmp_path: Path) -> None:
    found = call(tmp_path, args="--prune /x/*  --label a=*", rechunk__config_json="{}")
    assert found == [*FIXED, *FROM_FILE, "--prune", "/x/*", "--label", "a=*"]


def test_script_prefers_the_argument_to_the_file(tmp_path: Path) -> None:
    assert call(tmp_path, config_str="{}", rechunk__config_json="{}") == FIXED


def test_script_takes_the_previous_image_from_a_file_unless_one_is_named(tmp_path: Path) -> None:
    files = {"rechunk__previous_json": "{}"}
    assert call(tmp_path, **files) == [*FIXED, "--previous", "/run/src/rechunk-previous.json"]
    assert call(tmp_path, previous="docker://x", **files) == FIXED
    assert call(tmp_path, args="--previous y", **files)[-2:] == ["--previous", "y"]


def test_paths_are_those_of_the_context(tmp_path: Path) -> None:
    """--previous FILE finds a file of the context."""
    tool = "rechunk-podman build --rootfs /rootfs --output oci-archive:/run/src/out.ociarchive"
    assert f"cd /run/src; rm -f out.ociarchive; exec {tool}" in " ".join(chunker_script().split())


ODD = ['--label=a=it\'s "$HOME" `id` \\', "--prune=/a b/*", "--label=x=two\nlines", "", "--label=é\udcff"]


def test_script_takes_quoted_arguments_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context/rechunk-args").write_bytes(shlex.join(ODD).encode("utf-8", "surrogateescape"))
    assert call(tmp_path, args="-v") == [*FIXED, "-v", *ODD]
