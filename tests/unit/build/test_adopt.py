"""Adoption: layers of another tool stay where every entry is right, and the image is right in every case."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rechunk_podman.build import image_ledger
from rechunk_podman.build.job import Job
from rechunk_podman.build.known_layers import CACHE
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.build.run import run
from rechunk_podman.explain.run import verify
from rechunk_podman.oci.config import ImageConfig
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.oci.read.layers import read_layer, read_tree
from rechunk_podman.oci.spec import DiffId
from rechunk_podman.oci.validate.image import validate
from rechunk_podman.oci.write.compress import Compression
from support.oci_material import Layout, archive_of, directory, make_tar, member

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OPTIONS = BuildOptions(compression=Compression.parse("gzip", 1), max_layers=24)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of what was read of layers, empty at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rechunk-podman" / CACHE


def layout(path: Path, *layers: list[Any]) -> Path:
    """An image of layers made by another tool, compressed."""
    made = Layout(path)
    for members in layers:
        tar = make_tar(members)
        made.layer(tar, gzip.compress(tar, mtime=0), GZIP)
    return made.finish()


def manifest(path: Path) -> dict[str, Any]:
    """The manifest of the one image in a layout."""
    (entry,) = json.loads((path / "index.json").read_bytes())["manifests"]
    found = json.loads((path / "blobs" / entry["digest"].replace(":", "/")).read_bytes())
    assert isinstance(found, dict)
    return found


def config(path: Path) -> ImageConfig:
    digest = manifest(path)["config"]["digest"]
    return ImageConfig.parse((path / "blobs" / digest.replace(":", "/")).read_bytes())


def blobs(path: Path) -> list[str]:
    return [layer["digest"] for layer in manifest(path)["layers"]]


def updated(
    new: Path, previous: Path, output: Path, options: BuildOptions = OPTIONS, *, checked: bool | None = None
) -> Path:
    """Splits `new` into `output`, and adds the blobs that only the previous image has."""
    work = output.with_suffix(".work")
    work.mkdir()
    run(
        Job(
            rootfs=str(work),
            layers=f"oci:{new}",
            options=options,
            config="{}",
            previous=f"oci:{previous}",
            output=f"oci:{output}",
            verify=checked,
        )
    )
    work.rmdir()
    for digest in blobs(output):
        target = output / "blobs" / digest.replace(":", "/")
        if not target.exists():
            shutil.copy(previous / "blobs" / digest.replace(":", "/"), target)
    (output / "org.rechunk.sparse.json").unlink(missing_ok=True)
    return output


def paths_of(path: Path) -> list[str]:
    """Return the files in all layers, the lowest layer first."""
    with open_image(path) as image:
        layers = [read_layer(image, index) for index in range(len(image.record.layers))]
    return [path for layer in layers for path in layer.sha256]


def require_same(one: Path, two: Path) -> None:
    found = verify(f"oci:{one}", f"oci:{two}")
    assert found.same, found


def data(seed: object, size: int = 20_000) -> bytes:
    return random.Random(str(seed)).randbytes(size)


def parts(*numbers: int, **changed: int) -> list[Any]:
    """Members of components opt/partN; changed: partN=seed."""
    return [
        member(f"opt/part{number}/data", data=data((number, changed.get(f"part{number}", 0))), mtime=5)
        for number in numbers
    ]


def test_unchanged_layers_stay_and_the_rest_is_planned(tmp_path: Path, caplog: Any) -> None:
    """Other mtimes do not matter; the new Ledger describes every layer; the blobs are the old ones."""
    old = layout(tmp_path / "old", parts(1, 2), parts(3, 4), parts(5, 6))
    new = layout(tmp_path / "new", parts(1, 2, 3), parts(4, 5, 6, part4=1))
    with caplog.at_level(25, "rechunk_podman"):
        result = updated(new, old, tmp_path / "result")
    assert "2 of 3 layers that other tools made stay as they are" in caplog.text
    require_same(new, result)
    kept = [digest for digest in blobs(result) if digest in blobs(old)]
    assert kept == [blobs(old)[0], blobs(old)[2]]
    found = image_ledger.find_ledger(config(result))
    assert not found.derived
    assert [str(ident) for ident in found.ledger.layers[0].components] == [
        "unclaimed/opt/part1",
        "unclaimed/opt/part2",
    ]
    again = updated(new, result, tmp_path / "again")
    assert blobs(again) == blobs(result), "nothing changed, and nothing may move"


def test_a_component_in_several_layers(tmp_path: Path) -> None:
    """Its layers stay, each as long as it is right: the files of the others are planned anew."""
    files = [member("opt/tool/a", data=data("a")), member("opt/tool/b", data=data("b"))]
    old = layout(tmp_path / "old", files[:1], files[1:], parts(1))
    result = updated(layout(tmp_path / "new", files, parts(1, part1=1)), old, tmp_path / "result")
    assert set(blobs(result)) & set(blobs(old)) == set(blobs(old)[:2])
    changed = [*files[:1], member("opt/tool/b", data=data("c"))]
    new = layout(tmp_path / "newer", files, parts(1, part1=2))
    again = updated(new, result, tmp_path / "again")
    require_same(new, again)
    assert set(blobs(again)) & set(blobs(old)) == set(blobs(old)[:2])
    last = layout(tmp_path / "last", changed, parts(1, part1=2))
    end = updated(last, again, tmp_path / "end")
    require_same(last, end)
    assert set(blobs(end)) & set(blobs(old)) == {blobs(old)[0]}
    assert sorted(paths_of(end)) == ["opt/part1/data", "opt/tool/a", "opt/tool/b"]
    assert blobs(updated(last, end, tmp_path / "same")) == blobs(end)
    gone = layout(tmp_path / "gone", changed[1:], parts(1, part1=2))
    none = updated(gone, end, tmp_path / "none")
    require_same(gone, none)
    assert not set(blobs(none)) & set(blobs(old))
    sources = {ident.source for ident in image_ledger.find_ledger(config(none)).ledger.components}
    assert "kept" not in sources


@pytest.mark.parametrize(
    ("compression", "output"),
    [("gzip", "oci"), ("gzip", "oci-archive"), ("none", "oci"), ("none", "docker-archive")],
)
def test_layers_of_an_archive_are_copied(tmp_path: Path, compression: str, output: str) -> None:
    """The new image holds all blobs; a kept one is the old blob, or its tar if nothing is compressed."""
    old = layout(tmp_path / "old", parts(1, 2), parts(3, 4), parts(5, 6))
    archive = archive_of(old, tmp_path / "old.tar")
    new = layout(tmp_path / "new", parts(1, 2, 3), parts(4, 5, 6, part4=1))
    work, result = tmp_path / "work", f"{output}:{tmp_path / 'result'}"
    work.mkdir()
    run(
        Job(
            rootfs=str(work),
            layers=f"oci:{new}",
            options=replace(OPTIONS, compression=Compression.parse(compression, None)),
            config="{}",
            previous=f"oci-archive:{archive}",
            output=result,
        )
    )
    found = verify(f"oci:{new}", result)
    assert found.same, found
    validate(result, strict=False).check()
    with open_image(result) as image:
        layers = {layer.diff_id: layer.descriptor for layer in image.record.layers}
    kept = [diff_id for diff_id in config(old).diff_ids if diff_id in layers]
    assert kept == [config(old).diff_ids[0], config(old).diff_ids[2]]
    if compression == "gzip":
        descriptors = [layers[DiffId(diff_id)] for diff_id in kept]
        assert [one.digest for one in descriptors if one] == [blobs(old)[0], blobs(old)[2]]


@pytest.mark.parametrize("damage", ["no cache", "damaged cache"])
def test_kept_layers_are_read_once(tmp_path: Path, cache: Path, damage: str) -> None:
    """The second update reads none: it keeps a layer whose blob is damaged since. Without a cache it goes."""
    old = layout(tmp_path / "old", parts(1, 2), parts(3, 4))
    result = updated(layout(tmp_path / "new", parts(1, 2, 3, 4, part4=1)), old, tmp_path / "result")
    (kept,) = set(blobs(old)) & set(blobs(result))
    blob = result / "blobs" / kept.replace(":", "/")
    assert len(list(cache.iterdir())) == 2
    blob.write_bytes(bytes(blob.stat().st_size))
    new = layout(tmp_path / "newer", parts(1, 2, 3, 4, part4=2))
    assert kept in blobs(updated(new, result, tmp_path / "again", checked=False))
    for file in cache.iterdir():
        file.unlink() if damage == "no cache" else file.write_bytes(file.read_bytes()[:-3])
    assert kept not in blobs(updated(new, result, tmp_path / "read", checked=False))


@pytest.mark.parametrize("left", [None, 100])
def test_a_layer_that_was_read_and_is_lost_since(tmp_path: Path, left: int | None) -> None:
    """The cache still knows it: it does not stay, since it cannot be copied."""
    old = layout(tmp_path / "old", parts(1), parts(2))
    new = layout(tmp_path / "new", parts(1, 2))
    options = replace(OPTIONS, compression=Compression.parse("none"))
    assert len(paths_of(updated(new, old, tmp_path / "first", options))) == 2
    blob = old / "blobs" / blobs(old)[0].replace(":", "/")
    if left is None:
        blob.unlink()
    else:
        blob.write_bytes(blob.read_bytes()[:left])
    require_same(new, updated(new, old, tmp_path / "second", options))


def test_adopt_no_and_fresh_plan_all_anew(tmp_path: Path) -> None:
    old = layout(tmp_path / "old", parts(1, 2), parts(3, 4))
    for number, options in enumerate(
        (BuildOptions(compression=OPTIONS.compression, adopt=False), BuildOptions(fresh=True))
    ):
        result = updated(old, old, tmp_path / f"result{number}", options)
        assert not set(blobs(result)) & set(blobs(old))
        require_same(old, result)


def test_why_no_layer_stays_is_said(tmp_path: Path, caplog: Any) -> None:
    """Clients know a layer by its blob, and a compressed image takes no plain tar."""
    made = Layout(tmp_path / "old")
    for number in (1, 2):
        made.layer(make_tar(parts(number)))
    old = made.finish()
    with caplog.at_level(25, "rechunk_podman"):
        result = updated(old, old, tmp_path / "result")
    assert "stays: this output cannot hold their blobs" in caplog.text
    assert not set(blobs(result)) & set(blobs(old))
    require_same(old, result)


def test_layers_that_became_dirty_are_replaced(tmp_path: Path) -> None:
    """Every update changes a part; in the end no layer of the other tool is left, and none came back."""
    old = previous = layout(tmp_path / "old", *(parts(2 * n, 2 * n + 1) for n in range(5)))
    changed: dict[str, int] = {}
    left = [len(blobs(old))]
    for step in range(5):
        changed[f"part{2 * step + step % 2}"] = step + 1
        new = layout(tmp_path / f"new{step}", parts(*range(10), **changed))
        previous = updated(new, previous, tmp_path / f"result{step}")
        require_same(new, previous)
        left.append(len(set(blobs(previous)) & set(blobs(old))))
    assert left == [5, 4, 3, 2, 1, 0]


def test_a_series_that_began_elsewhere_ends_like_one_of_ours(tmp_path: Path) -> None:
    """The first update is smaller, and the next ten together hardly larger than without adoption."""
    chance = random.Random(7)
    hot = [chance.choice(range(12)) for _ in range(3)]
    changed: dict[str, int] = {}
    old = layout(tmp_path / "old", *(parts(*range(n, 36, 9)) for n in range(9)))
    first = tmp_path / "first"
    series = {"elsewhere": old, "ours": updated(old, old, first, replace(OPTIONS, adopt=False))}
    shares: list[int] = []
    downloads: dict[str, list[int]] = {name: [] for name in series}
    for step in range(11):
        for number in (*hot, chance.randrange(36)):
            changed[f"part{number}"] = step + 1
        new = layout(tmp_path / f"new{step}", parts(*range(36), **changed))
        for name, previous in series.items():
            result = updated(new, previous, tmp_path / f"{name}{step}")
            had = set(blobs(previous))
            downloads[name].append(
                sum(layer["size"] for layer in manifest(result)["layers"] if layer["digest"] not in had)
            )
            series[name] = result
        require_same(new, series["elsewhere"])
        shares.append(len(set(blobs(series["elsewhere"])) & set(blobs(old))))
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < shares[0] < 9
    assert downloads["elsewhere"][0] < 0.8 * downloads["ours"][0]
    assert sum(downloads["elsewhere"][1:]) <= 1.1 * sum(downloads["ours"][1:])


COMPILED = member(
    "opt/m/__pycache__/a.cpython-311.pyc",
    data=b"\xa7\r\r\n" + bytes(4) + (9).to_bytes(4, "little") + bytes(4),
)
"""The byte code of a.py as it was at the time 9."""

CASES: dict[str, tuple[list[list[Any]], list[Any], int]] = {
    "removed": ([parts(1, 2), parts(3)], parts(1, 3), 1),
    "overwritten above": ([parts(1, 2), parts(2, part2=7)], parts(1, 2, part2=7), 1),
    "deleted above": (
        [[*parts(1, 2), member("opt/part1/doc", data=b"doc")], [member("opt/part1/.wh.doc"), *parts(3)]],
        parts(1, 2, 3),
        1,
    ),
    "deleted above, and its directory is gone": (
        [parts(1, 2), [member("opt/part1/.wh.data"), *parts(3)]],
        parts(2, 3),
        0,
    ),
    "deleted above in a directory that no other layer needs": (
        [parts(1, 2), [directory("opt/part1"), member("opt/part1/.wh.data"), *parts(3)]],
        [directory("opt/part1"), *parts(2, 3)],
        0,
    ),
    "deleted above and there again": (
        [parts(1, 2), [member("opt/part1/.wh.data"), *parts(3)]],
        parts(1, 2, 3),
        1,
    ),
    "hidden by an opaque directory": (
        [parts(1, 2), [member("opt/part1/.wh..wh..opq"), *parts(3)]],
        parts(1, 2, 3),
        1,
    ),
    "a hard link became a copy": (
        [[*parts(1), member("opt/part1/link", tarfile.LNKTYPE, linkname="opt/part1/data")], parts(2)],
        [*parts(1, 2), member("opt/part1/link", data=data((1, 0)), mtime=5)],
        1,
    ),
    "a copy became a hard link": (
        [[*parts(1), member("opt/part1/link", data=data((1, 0)), mtime=5)], parts(2)],
        [*parts(1, 2), member("opt/part1/link", tarfile.LNKTYPE, linkname="opt/part1/data", mtime=5)],
        1,
    ),
    "another owner": (
        [parts(1), parts(2)],
        [member("opt/part1/data", data=data((1, 0)), uid=1), *parts(2)],
        1,
    ),
    "a directory of another mode": (
        [[directory("opt", mode=0o700), *parts(1)], [directory("opt", mode=0o700), *parts(2)]],
        [directory("opt", mode=0o750), *parts(1, 2)],
        0,
    ),
    "a directory that a layer leaves out": (
        [[directory("opt", mode=0o700), *parts(1)], parts(2)],
        [directory("opt", mode=0o700), *parts(1, 2)],
        1,
    ),
    "an attribute": (
        [[member("opt/part1/data", data=data((1, 0)), pax={"SCHILY.xattr.user.x": "1"})], parts(2)],
        parts(1, 2),
        1,
    ),
    "of the same size": ([parts(1), parts(2)], parts(1, 2, part1=3), 1),
    "below a symlink": (
        [[member("lib", tarfile.SYMTYPE, linkname="opt"), member("lib2/x", data=data(1))], parts(2)],
        [directory("lib"), member("lib/y", data=b"y"), member("lib2/x", data=data(1)), *parts(2)],
        1,
    ),
    "a whiteout in a directory that its layer leaves out": (
        [
            [directory("opt", mode=0o700), *parts(1)],
            [directory("opt", mode=0o700), *parts(2)],
            [member("opt/part1/.wh.gone"), member("srv/data", data=data("srv"))],
        ],
        [directory("opt", mode=0o700), *parts(1, 2), member("srv/data", data=data("srv"))],
        2,
    ),
    "a file where a layer deletes below a directory": (
        [[member("a", data=data("a"))], [member("a/.wh.b"), *parts(1)]],
        [member("a", data=data("a")), *parts(1)],
        1,
    ),
    "a time that the attribute of its directory keeps": (
        [
            [directory("opt/part1", pax={"SCHILY.xattr.user.mtime": "keep"}), *parts(1)],
            parts(2),
        ],
        [
            directory("opt/part1", pax={"SCHILY.xattr.user.mtime": "keep"}),
            member("opt/part1/data", data=data((1, 0)), mtime=6),
            *parts(2),
        ],
        1,
    ),
    "a Python file whose time a .pyc records": (
        [[member("opt/m/a.py", data=b"pass", mtime=8), COMPILED], parts(2)],
        [member("opt/m/a.py", data=b"pass", mtime=9), COMPILED, *parts(2)],
        1,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_an_old_layer_holds_never_comes_back(tmp_path: Path, case: str) -> None:
    layers, files, kept = CASES[case]
    old = layout(tmp_path / "old", *layers)
    new = layout(tmp_path / "new", files)
    result = updated(new, old, tmp_path / "result")
    require_same(new, result)
    assert len(set(blobs(result)) & set(blobs(old))) == kept


def test_times_that_are_kept(tmp_path: Path) -> None:
    """--keep-mtime: a layer with another time of such a file does not stay."""
    old = layout(tmp_path / "old", parts(1, 3), parts(2))
    changed = [member("opt/part1/data", data=data((1, 0)), mtime=6)]
    new = layout(tmp_path / "new", [*changed, *parts(2, 3)])
    options = replace(OPTIONS, keep_mtime=("/opt/part1",))
    result = updated(new, old, tmp_path / "result", options)
    assert len(set(blobs(result)) & set(blobs(old))) == 1
    with open_image(result) as image:
        found = read_tree(image).tree
        assert found["opt/part1/data"].mtime == 6
    same = layout(tmp_path / "same", parts(1, 2, 3))
    assert set(blobs(updated(same, old, tmp_path / "again", options))) > set(blobs(old))


def test_labels_that_are_kept(tmp_path: Path) -> None:
    """--selinux keep: a layer without the labels does not stay."""
    old = layout(tmp_path / "old", parts(1), parts(2))
    label = {"SCHILY.xattr.security.selinux": "system_u:object_r:usr_t:s0"}
    new = layout(tmp_path / "new", [member("opt/part1/data", data=data((1, 0)), pax=label), *parts(2)])
    result = updated(new, old, tmp_path / "result", replace(OPTIONS, selinux="keep"))
    assert len(set(blobs(result)) & set(blobs(old))) == 1
    with open_image(result) as image:
        found = read_tree(image).tree
        assert dict(found["opt/part1/data"].xattrs) == {"security.selinux": b"system_u:object_r:usr_t:s0"}


def random_layers(chance: random.Random) -> list[list[Any]]:
    """Three layers over few names, with deletions, links and directories of several modes."""
    found = []
    for _ in range(3):
        members = []
        names = [f"opt/{chance.choice('abcd')}/{chance.choice('xyz')}" for _ in range(chance.randint(1, 5))]
        for name in dict.fromkeys(names):
            match chance.randint(0, 9):
                case 0:
                    head, _, base = name.rpartition("/")
                    members.append(member(f"{head}/.wh.{base}"))
                case 1:
                    members.append(directory(name.rpartition("/")[0], mode=chance.choice((0o755, 0o750))))
                case 2:
                    members.append(member(name, tarfile.SYMTYPE, linkname="target"))
                case 3:
                    members.append(member(name, data=b"linked", mtime=1))
                    members.append(member(f"{name}-link", tarfile.LNKTYPE, linkname=name, mtime=1))
                case _:
                    members.append(
                        member(name, data=data(chance.randint(0, 2), 2000), uid=chance.choice((0, 0, 1)))
                    )
        found.append(members)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_any_old_layers_under_any_new_files(tmp_path: Path, seed: int) -> None:
    """The new image is the old one with another layer above it, or something else altogether."""
    chance = random.Random(seed)
    layers = random_layers(chance)
    old = layout(tmp_path / "old", *layers)
    more = random_layers(chance)
    new = layout(tmp_path / "new", *(layers + more[:1] if seed % 4 else more))
    require_same(new, updated(new, old, tmp_path / "result"))
