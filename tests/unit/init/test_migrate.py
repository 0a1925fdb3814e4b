"""init --migrate: small repositories that call another rechunker, the patch for each, the result linted."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml
from typer.testing import CliRunner

from rechunk_podman.cli.app import application
from rechunk_podman.init.migrate import migrate
from rechunk_podman.init.shell import command_at, parse_options, split_words
from support import linters

WORKFLOW = ".github/workflows/build.yml"
HEAD = """\
---
name: Build
"on": push
concurrency:
  group: build
  cancel-in-progress: false
permissions: {}
env:
  IMAGE: desk
jobs:
  build:
    runs-on: ubuntu-24.04
    timeout-minutes: 60
    steps:
      - name: Build
        run: sudo podman build --tag "$IMAGE" .
"""

ACTION = (
    HEAD
    + """
      - name: Pull
        run: |
          sudo podman pull ghcr.io/hhd-dev/rechunk:v1.2.2
          sudo podman images

      - name: Rechunk
        id: rechunk
        uses: hhd-dev/rechunk@5fbe1d3a639615d2548d83bc888360de6267b1a2  # v1.2.4
        with:
          rechunk: "ghcr.io/hhd-dev/rechunk:v1.2.4"
          ref: localhost/desk:latest
          prev-ref: ghcr.io/acme/desk:latest
          version: 43.<date>

      - name: Look
        env:
          REF: ${{ steps.rechunk.outputs.ref }}
        run: skopeo inspect "$REF"
"""
)

OSTREE = (
    HEAD
    + """
      # Smaller updates.
      - name: Rechunk
        run: |
          if ! sudo podman run --rm --privileged --volume /var/lib/containers:/var/lib/containers \\
              localhost/desk \\
              rpm-ostree compose build-chunked-oci \\
              --bootc --max-layers 127 --format-version 2 \\
              --from "localhost/$IMAGE" --output containers-storage:localhost/chunked 1>&2; then
              exit 1
          fi
          sudo podman images
"""
)

SPLITTER = (
    HEAD
    + """
      - name: Rechunk
        run: |
          sudo buildah build --skip-unused-stages=false --from "localhost/$IMAGE" \\
              --build-arg "CHUNKAH=quay.io/coreos/chunkah:v0.5.0@sha256:352097f3d3218" \\
              --build-arg "CHUNKAH_CONFIG_STR=$(sudo podman inspect "localhost/$IMAGE")" \\
              --build-arg CHUNKAH_ARGS="--max-layers 128 --prune /sysroot/" \\
              --tag localhost/chunked --volume "$PWD:/run/src" --security-opt label=disable \\
              https://github.com/coreos/chunkah/releases/download/v0.5.0/Containerfile.splitter
"""
)

CALLS_JUST = (
    HEAD
    + """
      - name: Rechunk
        run: |
          sudo -E "$(command -v just)" \\
              chunked \\
              "$IMAGE"
"""
)

JUST_OSTREE = """\
image := "desk"

chunked $target=image $tag="latest": (rechunk target tag)

all:
    just rechunk

rechunk $target=image $tag="latest":
    #!/usr/bin/env bash
    graphroot=$(podman info --format '{{ '{{.Store.GraphRoot}}' }}')
    podman run --rm --pull=never --privileged \\
      --mount=type=image,src="{{ target }}:{{ tag }}",target=/rpm-ostree \\
      --mount=type=bind,src="${graphroot}",target=/run/host-container-storage,rw \\
      --entrypoint /usr/bin/rpm-ostree \\
      "localhost/{{ target }}:{{ tag }}" \\
      compose build-chunked-oci \\
      --max-layers 127 --format-version=2 --bootc \\
      --rootfs /rpm-ostree \\
      --output "containers-storage:[overlay@/run/a+/run/b]localhost/{{ target }}:{{ tag }}"
"""

JUST_SCRIPTS = """\
image := "localhost/desk"
tool := "ghcr.io/ublue-os/legacy-rechunk:v1.0.1-x86_64@sha256:2627cbf92ca60ab7"

rechunk $tag="latest":
    #!/usr/bin/env bash
    set -euo pipefail
    CREF=$(sudo podman create {{ image }}:"${tag}" bash)
    MOUNT=$(sudo podman mount "$CREF")
    OUT_NAME=desk_build
    LABELS="
        org.opencontainers.image.title=desk
    "
    tool="{{ tool }}"
    sudo podman run --rm --volume "$MOUNT":/var/tree --env TREE=/var/tree --user 0:0 \\
        "$tool" /sources/rechunk/1_prune.sh
    sudo podman run --rm --volume "$MOUNT":/var/tree --volume cache_ostree:/var/ostree \\
        --env TREE=/var/tree --env REPO=/var/ostree/repo "$tool" /sources/rechunk/2_create.sh
    sudo podman unmount "$CREF"
    sudo podman rm "$CREF"
    sudo podman run --rm --volume "$PWD:/workspace" --volume cache_ostree:/var/ostree \\
        --env REPO=/var/ostree/repo \\
        --env PREV_REF=ghcr.io/acme/desk:"${tag}" \\
        --env LABELS="$LABELS" \\
        --env "DESCRIPTION='A desk'" \\
        --env OUT_REF="oci:$OUT_NAME" \\
        "$tool" /sources/rechunk/3_chunk.sh
    sudo podman volume rm cache_ostree
    sudo podman pull "oci:$PWD/$OUT_NAME"
"""

CONTAINERFILE = """\
FROM quay.io/fedora/fedora-bootc:43 AS builder
RUN dnf -y install tmux

FROM quay.io/coreos/chunkah@sha256:352097f3d32186ac AS chunkah
ARG CHUNKAH_CONFIG_STR
RUN --mount=from=builder,src=/,target=/chunkah,ro \\
    --mount=type=bind,target=/run/src,rw \\
    chunkah build --prune /sysroot/ --max-layers 128 --label ostree.commit- > /run/src/out.ociarchive

FROM oci-archive:out.ociarchive
"""

MAKEFILE = """\
IMAGE ?= localhost/desk

chunk:
\tpodman run --rm "--mount=type=image,src=$(IMAGE),target=/chunkah" \\
\t\t-e CHUNKAH_CONFIG_STR="$$(podman inspect $(IMAGE))" \\
\t\tquay.io/coreos/chunkah build --compressed | podman load
"""


def repository(folder, files):
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def migrated(folder, files):
    """The files after `git apply` of the printed patch, each linted; what is said on stderr."""
    repository(folder, files)
    done = CliRunner().invoke(application(), ["init", "--migrate", str(folder)])
    assert done.exit_code == 0, done.output
    assert {path: (folder / path).read_text() for path in files} == files, "a dry run writes nothing"
    subprocess.run(["git", "apply", "-"], cwd=folder, input=done.stdout, text=True, check=True)
    lint(folder, files)
    again = migrate(folder, version="9")
    assert not again.steps
    return {path: (folder / path).read_text() for path in files}, done.stderr


def lint(folder, files):
    for path in files:
        if path == WORKFLOW:
            pinned = re.sub(r"(uses: \S+@)v\S+", rf"\g<1>{'0' * 40}", (folder / path).read_text())
            (folder / "pinned.yml").write_text(pinned)
            linters.actionlint(folder / "pinned.yml")
            linters.check("yamllint", "--strict", "-d", linters.YAML_RULES, folder / path)
        if path == "Justfile":
            dry = linters.run_both("just", "--justfile", folder / path, "--dry-run", "rechunk")
            linters.check("shellcheck", "--shell=bash", "--exclude=SC2034,SC2154", "-", text=dry)


def test_the_action(tmp_path):
    after, said = migrated(tmp_path, {WORKFLOW: ACTION})
    steps = {step["name"]: step for step in yaml.safe_load(after[WORKFLOW])["jobs"]["build"]["steps"]}
    assert list(steps) == ["Build", "Pull", "Rechunk", "Look"]
    assert steps["Rechunk"]["uses"].startswith("rechunk-podman/rechunk-podman@v")
    assert steps["Rechunk"]["with"] == {
        "ref": "localhost/desk:latest",
        "prev-ref": "ghcr.io/acme/desk:latest",
        "version": "43.<date>",
    }
    assert steps["Pull"]["run"] == "sudo podman images\n"
    assert "by hand" not in said


def test_rpm_ostree_in_a_workflow(tmp_path):
    after, said = migrated(tmp_path, {WORKFLOW: OSTREE})
    steps = yaml.safe_load(after[WORKFLOW])["jobs"]["build"]["steps"]
    assert [step["name"] for step in steps] == ["Build", "Install rechunk-podman", "Rechunk"]
    assert " ".join(steps[2]["run"].replace("\\\n", " ").split()) == (
        'if ! sudo rechunk-podman split "localhost/$IMAGE" --bootc --max-layers 127 -t localhost/chunked '
        "1>&2; then exit 1 fi sudo podman images"
    )
    assert "git+https://github.com/rechunk-podman/rechunk-podman@v" in steps[1]["run"]
    assert "has to be installed" not in said


def test_rpm_ostree_into_a_mounted_folder(tmp_path):
    """A file that the container writes below a volume lies at that place of the host."""
    command = (
        'sudo podman run --rm --mount=type=image,src=localhost/raw,target=/tree --volume "$DIR:/run/out:Z" '
        "--entrypoint /usr/bin/rpm-ostree localhost/raw compose build-chunked-oci --bootc "
        '"${label_args[@]}" --rootfs /tree --output oci-archive:/run/out/a.oci\n'
    )
    after, _ = migrated(tmp_path, {"build.sh": f"#!/bin/bash\n{command}"})
    assert after["build.sh"].splitlines()[1] == (
        'sudo rechunk-podman split localhost/raw --bootc "${label_args[@]}" --output oci-archive:"$DIR/a.oci"'
    )


def test_rpm_ostree_in_a_justfile(tmp_path):
    """The image that is mounted is the one to split; the workflow that calls the recipe installs the tool."""
    after, _ = migrated(tmp_path, {WORKFLOW: CALLS_JUST, "Justfile": JUST_OSTREE})
    assert after["Justfile"].endswith(
        '    rechunk-podman split "{{ target }}:{{ tag }}" \\\n        --max-layers 127 \\\n'.replace(
            " \\\n        --max", " \\\n        --bootc \\\n        --max"
        )
        + '        -t "localhost/{{ target }}:{{ tag }}"\n'
    )
    names = [step["name"] for step in yaml.safe_load(after[WORKFLOW])["jobs"]["build"]["steps"]]
    assert names == ["Build", "Install rechunk-podman", "Rechunk"]


def test_the_scripts_of_hhd(tmp_path):
    """A single split replaces three containers; the image still exists where the first of them ran."""
    after, said = migrated(tmp_path, {"Justfile": JUST_SCRIPTS})
    lines = after["Justfile"].splitlines()
    at = lines.index('    sudo rechunk-podman split {{ image }}:"${tag}" --bootc \\')
    assert lines[at + 1 :] == [
        '        --previous docker://ghcr.io/acme/desk:"${tag}" \\',
        '        --description "A desk" \\',
        '        --labels "$LABELS" \\',
        '        --output "oci:$OUT_NAME"',
        '    sudo podman unmount "$CREF"',
        '    sudo podman rm "$CREF"',
        '    sudo podman pull "oci:$PWD/$OUT_NAME"',
    ]
    assert "legacy-rechunk" not in after["Justfile"]
    assert not re.search(r"\btool\b", after["Justfile"])
    assert "has to be installed" in said


def test_chunkah_by_its_splitter(tmp_path):
    after, _ = migrated(tmp_path, {WORKFLOW: SPLITTER})
    run = yaml.safe_load(after[WORKFLOW])["jobs"]["build"]["steps"][1]["run"]
    assert '"CHUNKER=ghcr.io/rechunk-podman/rechunk-podman:v' in run
    assert '"RECHUNK_CONFIG_STR=$(sudo podman inspect' in run
    assert 'RECHUNK_ARGS="--max-layers 128 --prune /sysroot/"' in run
    assert "/rechunk-podman/v" in run
    assert run.endswith("/Containerfile.splitter\n")
    assert "chunkah" not in run.lower()


def test_chunkah_in_a_containerfile_and_a_makefile(tmp_path):
    after, _ = migrated(tmp_path, {"Containerfile": CONTAINERFILE, "Makefile": MAKEFILE})
    stage, argument, run = after["Containerfile"].splitlines()[3:6]
    assert stage.startswith("FROM ghcr.io/rechunk-podman/rechunk-podman:v")
    assert stage.endswith(" AS chunkah")
    assert (argument, run) == tuple(CONTAINERFILE.splitlines()[4:6])
    assert "    rechunk-podman build --prune /sysroot/" in after["Containerfile"]
    assert "ghcr.io/rechunk-podman/rechunk-podman:v" in after["Makefile"]
    assert after["Makefile"].count("\n") == MAKEFILE.count("\n")


CHUNKED = "          build_chunked_oci: 'true'\n"


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("Justfile", 'x := "quay.io/coreos/chunkah@" + digest\n', "quay.io/coreos/chunkah@"),
        ("a.sh", "rpm-ostree compose build-chunked-oci --odd x --from a --output b\n", "--odd"),
        ("a.sh", "podman run x rpm-ostree compose build-chunked-oci --rootfs /a --output oci:/b\n", "oci:/b"),
        ("a.sh", "podman run --rm x /sources/rechunk/3_chunk.sh\n", "3_chunk"),
        (WORKFLOW, HEAD + "      - uses: example/bootc-build/rechunk@v1\n", "bootc-build/rechunk"),
        ("images.yml", "images:\n  - name: chunkah\n    image: quay.io/coreos/chunkah\n", "quay.io/coreos"),
        (
            WORKFLOW,
            f"{HEAD}      - uses: blue-build/github-action@v1\n        with:\n{CHUNKED}",
            "chunked_oci",
        ),
        (WORKFLOW, HEAD + "        with:\n          rechunk: ${{ inputs.rechunk }}\n", "rechunk: "),
        ("build.sh", "bluebuild build --push --rechunk recipes/recipe.yml\n", "bluebuild build"),
        ("build.sh", "export BB_BUILD_RECHUNK=true\n", "BB_BUILD_RECHUNK"),
        ("build.sh", "bluebuild build --chunkah recipes/recipe.yml\n", "--chunkah"),
        (WORKFLOW, HEAD + "        with:\n          chunkah: true\n", "chunkah: "),
    ],
)
def test_lines_that_are_left_are_named(path, text, said, tmp_path):
    migration = migrate(repository(tmp_path, {path: text}), version="1")
    assert migration.steps == ()
    assert [(left.path, left.line) for left in migration.left] == [(path, text.count("\n"))]
    assert said in migration.left[0].text


def test_comments_and_other_files_stay(tmp_path):
    files = {
        "Justfile": "# podman run quay.io/coreos/chunkah build\n#   rpm-ostree compose build-chunked-oci\n",
        "README.md": "chunkah build\n",
        "run.sh": 'echo "then rpm-ostree compose build-chunked-oci"\n',
    }
    migration = migrate(repository(tmp_path, files), version="1")
    assert (migration.steps, migration.left) == ((), ())
    done = CliRunner().invoke(application(), ["init", "--migrate", str(tmp_path)])
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no step of another rechunker found" in done.stderr


def test_apply_writes(tmp_path):
    repository(tmp_path, {"Containerfile": CONTAINERFILE})
    done = CliRunner().invoke(application(), ["init", "--migrate", "--apply", str(tmp_path)])
    assert (done.exit_code, done.stdout) == (0, "")
    assert "rechunk-podman build" in (tmp_path / "Containerfile").read_text()


def test_the_template_points_at_the_migration(tmp_path):
    repository(tmp_path, {WORKFLOW: ACTION})
    done = CliRunner().invoke(application(), ["init", "--template", "github", "--defaults", str(tmp_path)])
    assert (tmp_path / WORKFLOW).read_text() == ACTION
    assert "init --migrate" in done.stderr
    assert WORKFLOW in done.stderr
    (tmp_path / WORKFLOW).write_text(HEAD)
    done = CliRunner().invoke(application(), ["init", "--defaults", str(tmp_path)])
    assert "your workflow stays" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["--apply"], ["--migrate", "--force"], ["--migrate", "--template", "just"]]
)
def test_options_that_do_not_go_together(arguments, tmp_path):
    assert CliRunner().invoke(application(), ["init", *arguments, str(tmp_path)]).exit_code != 0


def test_words_of_commands():
    text = 'a && x "$(f "b c")" ${{ y.z }}\'q\' \\\n  --e={{ g }} 2>&1 | tail\n'
    command = command_at(text, text.index("y.z"))
    assert command is not None
    assert command.words == ("x", '"$(f "b c")"', "${{ y.z }}'q'", "--e={{ g }}")
    assert text[command.start : command.end].startswith('x "$')
    assert command_at("# a b", 3) is None
    options = parse_options(["-v", "a:b", "--bootc", '"--mount=type=image,src=$X"', "img"], ["--bootc"])
    assert options.values == (("-v", "a:b"), ("--mount", '"type=image,src=$X"'))
    assert (options.flags, options.operands) == ({"--bootc"}, ("img",))
    assert split_words('{{ a }}:"${b}" bash) x') == ['{{ a }}:"${b}"', "bash"]
