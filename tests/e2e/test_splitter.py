"""The chunker image, and the checked-in Containerfile.splitter with plain buildah."""

from __future__ import annotations

import functools
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support import chunker, compare, tools
from support.pushing import small_tar
from support.rules import check_rules, write_rules


@pytest.fixture(scope="session")
def chunker_image(storage: tools.Storage, repository: Path) -> str:
    """The chunker image, in `storage`: its name."""
    return chunker.provide(repository, storage)


def build(
    storage: tools.Storage, context: Path, source: str, target: str, *options: str, containerfile: Path
) -> tools.Done:
    """The call of the README, in `context`. The source stays; buildah 1.28 leaves two working containers."""
    before = set(storage.run("buildah", "containers", "--quiet").out.split())
    image = storage.inspect(source)["Id"]
    done = storage.run(
        *("buildah", "build", "--skip-unused-stages=false", "--from", source),
        *("-v", f"{context}:/run/src", "--security-opt", "label=disable", *options),
        *("-t", target, "-f", containerfile, "."),
        cwd=context,
    )
    assert storage.inspect(source)["Id"] == image
    left = set(storage.run("buildah", "containers", "--quiet").out.split()) - before
    assert len(left) <= 2
    if left:
        storage.run("buildah", "rm", *left)
    return done


def layers(storage: tools.Storage, name: str) -> list[str]:
    root = storage.inspect(name)["RootFS"]
    assert isinstance(root, dict)
    return list(root["Layers"])


def config(storage: tools.Storage, name: str) -> dict[str, object]:
    document = json.loads(
        storage.run("skopeo", "inspect", "--config", "--raw", f"containers-storage:{name}").out
    )
    return dict(document["config"])


def test_chunker_image_is_small_and_works(storage: tools.Storage, chunker_image: str) -> None:
    """No compiler came along, the templates did, and its entry point is the command."""
    with storage.mounted(chunker_image) as root:
        packages = next((root / "opt/rechunk-podman/lib").glob("python3*/site-packages"))
        assert (packages / "rechunk_podman/templates/Containerfile.splitter.j2").is_file()
        assert not (root / "usr/bin/gcc").exists()
        assert not list((root / "usr/lib").rglob("cc1"))
    version = storage.rechunk("--version").out
    assert storage.container(chunker_image, "--version").out == version
    assert config(storage, chunker_image)["Entrypoint"] == ["rechunk-podman"]


def test_plain_buildah(
    storage: tools.Storage, image: str, chunker_image: str, repository: Path, tmp_path: Path
) -> None:
    """Config and files are those of the source; the last stage adds nothing to what the chunker wrote."""
    target = "localhost/plain:latest"
    told = storage.run("podman", "image", "inspect", image).out
    build(
        storage,
        tmp_path,
        image,
        target,
        *("--build-arg", f"CHUNKER={chunker_image}", "--build-arg", f"RECHUNK_CONFIG_STR={told}"),
        *("--build-arg", "RECHUNK_ARGS=--max-layers 20   --label one=1"),
        containerfile=repository / "Containerfile.splitter",
    )
    assert (tmp_path / "out.ociarchive").is_file()
    archived = tools.run(
        "skopeo", "inspect", "--config", "--raw", f"oci-archive:{tmp_path}/out.ociarchive"
    ).out
    assert json.loads(archived)["rootfs"]["diff_ids"] == layers(storage, target)
    assert 1 < len(layers(storage, target)) <= 20
    before, after = config(storage, image), config(storage, target)
    labels = after.pop("Labels")
    assert isinstance(labels, dict)
    assert labels.pop("one") == "1"
    assert {key: value for key, value in labels.items() if not key.startswith("org.rechunk.")} == (
        before.pop("Labels", None) or {}
    )
    assert after == before
    storage.rechunk("verify", f"containers-storage:{image}", f"containers-storage:{target}")
    with storage.mounted(image) as one, storage.mounted(target) as other:
        assert compare.differences(one, other) == []


def test_config_options_and_rules_come_as_files(
    storage: tools.Storage, oddities_image: str, chunker_image: str, repository: Path, tmp_path: Path
) -> None:
    """A config that exceeds the 128 KiB of an argument, quoted options, a map, groups."""
    target = "localhost/plain:large"
    write_rules(tmp_path, "/xattrs", "/names")
    large = {"config": {"Env": ["PATH=/bin"], "Labels": {"large": "x" * 200_000}}, "os": "linux"}
    (tmp_path / "rechunk-config.json").write_text(json.dumps(large))
    (tmp_path / "rechunk-args").write_text("--label 'two words=it'\\''s \"$HOME\"' --max-layers=3\n")
    build(
        storage,
        tmp_path,
        oddities_image,
        target,
        *("--build-arg", f"CHUNKER={chunker_image}"),
        containerfile=repository / "Containerfile.splitter",
    )
    labels = config(storage, target)["Labels"]
    assert isinstance(labels, dict)
    assert labels["large"] == "x" * 200_000
    assert labels["two words"] == 'it\'s "$HOME"'
    assert len(layers(storage, target)) == 3
    check_rules(json.loads(storage.rechunk("inspect", target, "--json").out))


def test_inside_an_own_containerfile(
    storage: tools.Storage, debian_image: str, chunker_image: str, tmp_path: Path
) -> None:
    """The FROM oci-archive trick: a stage that builds, one that chunks, one that is the result.

    Nothing tells the chunker the config of the base, so it says that the result has none.
    """
    (tmp_path / "Containerfile").write_text(
        f"FROM {debian_image} AS builder\n"
        "RUN echo hello > /opt/greeting\n"
        f"FROM {chunker_image}\n"
        "RUN --mount=type=bind,from=builder,source=/,target=/chunkah"
        " --mount=type=bind,target=/run/src,rw"
        " rechunk-podman build > /run/src/out.ociarchive\n"
        "FROM oci-archive:out.ociarchive\n"
        'ENTRYPOINT ["cat", "/opt/greeting"]\n'
    )
    done = storage.run(
        *(
            "buildah",
            "build",
            "--skip-unused-stages=false",
            "-v",
            f"{tmp_path}:/run/src",
        ),
        *("--security-opt", "label=disable", "-t", "localhost/own:latest", "."),
        cwd=tmp_path,
    )
    assert "note: no image config is given" in done.out + done.err
    assert storage.container("localhost/own:latest").out == "hello\n"


def test_containerfile_of_the_release_needs_no_clone(
    storage: tools.Storage, chunker_image: str, repository: Path, tmp_path: Path
) -> None:
    """`buildah build --from IMG URL` reads the file of the release from an HTTP server."""
    pinned = f"{chunker_image.partition(':')[0]}@{storage.inspect(chunker_image)['Digest']}"
    served, empty = tmp_path / "served", tmp_path / "empty"
    served.mkdir()
    empty.mkdir()
    text = tools.run(repository / "tools/release", "containerfile", pinned).out
    (served / "Containerfile.splitter").write_text(text)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(served))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever).start()
    storage.import_tar(small_tar(tmp_path / "small.tar", 4), "localhost/served:latest")
    try:
        storage.run(
            *("buildah", "build", "--skip-unused-stages=false", "--from", "localhost/served:latest"),
            *("-v", f"{empty}:/run/src", "--security-opt", "label=disable"),
            *("-t", "localhost/served:chunked"),
            f"http://127.0.0.1:{server.server_port}/Containerfile.splitter",
            cwd=empty,
        )
    finally:
        server.shutdown()
        server.server_close()
    storage.rechunk("verify", "localhost/served:latest", "localhost/served:chunked")
