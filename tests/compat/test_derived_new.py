"""The Containerfile of `init --template containerfile` with a new buildah, in both of its forms."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from rechunk_podman.init.templates import render
from rechunk_podman.split.containerfile import templates
from support.machine import Machine

ANSWERS = {
    "image": "trick",
    "kind": "app",
    "base": "localhost/debian:latest",
    "registry": "localhost",
    "tag": "latest",
    "layers": "20",
}


@pytest.mark.parametrize("image", ["debian"], indirect=True)
def test_the_trick(machine: Machine, image: str, chunker_image: str) -> None:
    """The last stages in the form for every buildah give the layers."""
    assert image == ANSWERS["base"]
    trick(machine, "any", chunker_image)


def test_the_trick_with_ordered_stages(newest_machine: Machine, newest_images: tuple[str, str]) -> None:
    """The last stages in the form of buildah 1.44 and newer need no option."""
    image, chunker_image = newest_images
    assert image == ANSWERS["base"]
    version = re.search(r"version (\d+)\.(\d+)", newest_machine.run("buildah", "--version").out)
    assert version
    assert (int(version[1]), int(version[2])) >= (1, 44)
    trick(newest_machine, "1.44", chunker_image)


def trick(machine: Machine, buildah: str, chunker_image: str) -> None:
    """Built twice, the second time with another file and the first as the previous image."""
    context = machine.share / "trick"
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir()
    files = render("containerfile", {**ANSWERS, "buildah": buildah}, version="0", source=templates())
    options = ["--build-arg", f"CHUNKER={chunker_image}"]
    if buildah == "any":
        options += [
            "--skip-unused-stages=false",
            "-v",
            "/mnt/trick:/run/src",
            "--security-opt",
            "label=disable",
        ]
    target = "localhost/trick:latest"
    layers = []
    for message in ("one", "two"):
        text = files["Containerfile"].replace("# COPY files/ /\n", f"RUN echo {message} > /opt/message\n")
        assert "/opt/message" in text
        (context / "Containerfile").write_text(text)
        (context / ".rechunk").mkdir(exist_ok=True)
        machine.run("buildah", "build", *options, "--tag", target, ".", cwd="/mnt/trick")
        document = json.loads(machine.run("podman", "image", "inspect", target).out)[0]
        assert document["Labels"]["org.opencontainers.image.title"] == "trick"
        layers.append(document["RootFS"]["Layers"])
        # LABEL makes an empty layer here.
        assert 10 < len(layers[-1]) <= 21
        config = machine.run("skopeo", "inspect", "--config", "--raw", f"containers-storage:{target}").out
        (context / ".rechunk/previous.json").write_text(config)
    assert len(set(layers[0]) & set(layers[1])) >= len(layers[1]) - 2
    # The empty layer does not hide the Ledger.
    assert len(json.loads(machine.rechunk("inspect", target, "--json").out)["ledger"]["releases"]) == 2
