"""One image as a name, layout, archive, docker archive and registry reference: the same bytes come out."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from images.storage import oci_layout
from support import tools
from support.documents import check_document
from support.pushing import small_tar

NAME = "localhost/layered:test"


def upper(path: Path) -> Path:
    """A layer that deletes, replaces and hides files of the layer below it.

    Overlay storage refuses hard links to files of lower layers, and two entries of one name.
    """
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:

        def add(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: Any) -> None:
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, len(data)
            member.mode, member.mtime = (0o755 if kind == tarfile.DIRTYPE else 0o644), 1_500_000_000
            for key, value in fields.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(data))

        add("below/.wh.deleted")
        add("below/opaque", kind=tarfile.DIRTYPE, mode=0o1770, uid=12)
        add("below/opaque/.wh..wh..opq")
        add("below/opaque/new", b"new")
        add("below/target", b"a new target", uid=3)
        add("below/linked", kind=tarfile.LNKTYPE, linkname="below/target", uid=9, mtime=1_400_000_000)
        add("below/owned", b"owned", uid=70_000)
        add("below/file-now", b"it was a directory")
        add("below/directory-now/inside", b"its directory was a file")
        add("below/symlink-now", kind=tarfile.SYMTYPE, linkname="/below/target")
    return path


def lower(path: Path) -> Path:
    """The layer below that one, which leaves out the directory that all of its entries are in."""
    with tarfile.open(path, "w") as archive:
        directory = tarfile.TarInfo("below")
        directory.type, directory.mode, directory.uid = tarfile.DIRTYPE, 0o1770, 7
        archive.addfile(directory)
        names = ("deleted", "opaque/old", "target", "file-now/a", "file-now/b/c", "directory-now")
        for name in (*names, "symlink-now/x"):
            member = tarfile.TarInfo(f"below/{name}")
            member.size, member.mode, member.mtime, member.gid = len(name), 0o600, 1_300_000_000, 3
            archive.addfile(member, io.BytesIO(name.encode()))
    return path


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout of three layers: everything rare, and two whose entries meet."""
    from conftest import built

    folder = tmp_path_factory.mktemp("layered")
    return oci_layout(
        [built("oddities"), lower(folder / "lower.tar"), upper(folder / "upper.tar")], folder / "layout"
    )


def digest(layout: Path) -> str:
    """The digest of the one image in a layout."""
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    assert isinstance(entry["digest"], str)
    return entry["digest"]


def split(storage: tools.Storage, source: str, output: Path) -> str:
    """Splits an image into a layout; the digest of the result."""
    done = storage.rechunk("split", source, "--output", f"oci:{output}", "--tls-verify=false", "--json")
    assert check_document("split", done.out)["source"]
    return digest(output)


def test_every_input_gives_the_same_bytes(
    storage: tools.Storage, layered: Path, registry: tools.Registry, tmp_path: Path
) -> None:
    """The layers are read in place where they lie; the mounted image in storage says what they hold."""
    storage.copy(f"oci:{layered}", f"containers-storage:{NAME}")
    expected = split(storage, NAME, tmp_path / "of-storage")
    storage.rechunk("validate", "--strict", f"oci:{tmp_path / 'of-storage'}")
    storage.rechunk("verify", NAME, f"oci:{tmp_path / 'of-storage'}")
    storage.copy(f"oci:{layered}", f"oci-archive:{tmp_path / 'a.tar'}")
    storage.copy(f"oci:{layered}", f"docker-archive:{tmp_path / 'd.tar'}:{NAME}")
    reference = f"docker://{registry.address}/inputs/layered:1"
    storage.run(
        *("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"),
        *(f"oci:{layered}", reference),
    )
    images = len(storage.run("podman", "images", "--quiet", "--all").out.splitlines())
    sources = (f"oci:{layered}", f"oci-archive:{tmp_path / 'a.tar'}", str(tmp_path / "d.tar"), reference)
    found = {source: split(storage, source, tmp_path / f"{n}") for n, source in enumerate(sources)}
    assert found == dict.fromkeys(sources, expected)
    assert len(storage.run("podman", "images", "--quiet", "--all").out.splitlines()) == images


def test_a_layout_needs_neither_root_nor_subordinate_ids(
    storage: tools.Storage, ordinary_user: tools.OrdinaryUser, layered: Path, tmp_path: Path
) -> None:
    """Owners, devices and attributes are those of the layers, whoever unpacks them."""
    expected = split(storage, f"oci:{layered}", tmp_path / "of-root")
    ordinary_user.home.chmod(0o755)
    folder = ordinary_user.home.parent / "nobody"
    shutil.copytree(layered, folder / "layout", symlinks=False)
    tools.run("chown", "--recursive", "nobody", folder)
    env = {**ordinary_user.env, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "TMPDIR": str(folder)}
    assert not any(line.startswith("nobody:") for line in Path("/etc/subuid").read_text().splitlines())
    settings = [f"{key}={value}" for key, value in env.items()]
    done = tools.run(
        *("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", "-i", *settings),
        *(ordinary_user.python, "-m", "rechunk_podman", "split", f"oci:{folder / 'layout'}"),
        *("--output", f"oci:{folder / 'out'}"),
        cwd=folder,
    )
    assert "error" not in done.err
    assert digest(folder / "out") == expected
    assert {path.name for path in folder.iterdir()} >= {"layout", "out"}
    assert not list(folder.glob("rechunk-podman*")), "the unpacked files are left behind"


def test_packages_are_found_in_a_layout(storage: tools.Storage, debian_image: str, tmp_path: Path) -> None:
    """A layout of a real system: its package database is read, and the bytes are those from storage."""
    from conftest import built

    layout = oci_layout([built("debian")], tmp_path / "layout")
    expected = split(storage, debian_image, tmp_path / "of-storage")
    assert split(storage, f"oci:{layout}", tmp_path / "of-layout") == expected
    done = storage.rechunk("inspect", f"oci:{tmp_path / 'of-layout'}", "--json")
    assert '"dpkg/glibc"' in done.out


def test_a_directory_with_a_config_and_results_in_storage(storage: tools.Storage, tmp_path: Path) -> None:
    """--rootfs DIR --config FILE is what build does; a layout goes into storage under the name of -t."""
    (tmp_path / "root/opt").mkdir(parents=True)
    (tmp_path / "root/opt/file").write_text("content")
    (tmp_path / "config.json").write_text('[{"Os": "linux", "Config": {"Cmd": ["/opt/file"]}}]')
    words = ["--rootfs", tmp_path / "root", "--config", tmp_path / "config.json"]
    storage.rechunk("split", *words, "--output", f"oci:{tmp_path / 'split'}")
    storage.rechunk("build", *words, "--output", f"oci:{tmp_path / 'build'}")
    assert digest(tmp_path / "split") == digest(tmp_path / "build")
    layout = oci_layout([small_tar(tmp_path / "small.tar", 1)], tmp_path / "layout")
    done = storage.rechunk("split", f"oci:{layout}", check=False)
    assert done.code == 2
    assert "needs a name in local storage" in done.err
    storage.rechunk("split", f"oci:{layout}", "-t", "localhost/from-layout:1")
    storage.rechunk("verify", f"oci:{layout}", "localhost/from-layout:1")
