"""write_image(): every form of output, the same for any number of threads, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from rechunk_podman.errors import ImageError, RechunkError, RootfsError, UsageError
from rechunk_podman.oci.sparse import SPARSE_FILE, parse_sparse
from rechunk_podman.oci.spec import ANNOTATION_REF_NAME, MEDIA_LAYER_ZSTD, Descriptor, Digest, Layer
from rechunk_podman.oci.validate.image import validate
from rechunk_podman.oci.write.compress import Compression
from rechunk_podman.oci.write.documents import ImageDocuments
from rechunk_podman.oci.write.image import write_image
from rechunk_podman.oci.write.layers import write_layer
from rechunk_podman.oci.write.output import Output, OutputKind
from rechunk_podman.rootfs.root import Root
from rechunk_podman.temporary import remove_own
from rechunk_podman.workers import Workers
from support.writing import finish, make_sizes, spec, specs, tar_source, write

MIB = 1 << 20


@pytest.fixture
def top(tmp_path):
    return make_sizes(tmp_path / "top")


@pytest.fixture
def place(tmp_path):
    """An empty directory for output."""
    place = tmp_path / "place"
    place.mkdir()
    return place


def sound(place, name):
    """The image at a place is the only thing there, and validates."""
    assert [path.name for path in place.iterdir()] == [name]
    return name


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_oci_outputs_validate(top, place, kind, compression, threads):
    image = write(
        top,
        f"{kind}:{place}/image",
        compression=Compression.parse(compression),
        threads=threads,
        tag="docker.io/a/b:c",
    )
    sound(place, "image")
    report = validate(f"{kind}:{place}/image").check()
    assert report.images
    assert len(image.layers) == 5
    assert {layer.descriptor.media_type for layer in image.layers} == {
        Compression.parse(compression).media_type
    }
    assert json.loads(image.index)["manifests"][0]["annotations"] == {ANNOTATION_REF_NAME: "docker.io/a/b:c"}
    assert json.loads(image.manifest)["annotations"] == {"org.example.note": "a test"}


@pytest.mark.parametrize("threads", [1, 3])
def test_a_docker_archive_validates(top, place, threads):
    write(top, f"docker-archive:{place}/image.tar", threads=threads, tag="docker.io/library/x:1")
    sound(place, "image.tar")
    validate(f"docker-archive:{place}/image.tar").check()
    with tarfile.open(place / "image.tar") as archive:
        (document,) = json.load(archive.extractfile("manifest.json"))
    assert document["RepoTags"] == ["docker.io/library/x:1"]
    with pytest.raises(UsageError, match="uncompressed"):
        write(top, f"docker-archive:{place}/other", compression=Compression.parse("gzip"))


def content(path):
    if path.is_file():
        return path.read_bytes()
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_threads_do_not_show(top, place, kind, compression):
    if kind == "docker-archive" and compression != "none":
        pytest.skip("uncompressed by definition")
    for threads in (1, 2, 5):
        write(top, f"{kind}:{place}/{threads}", threads=threads, compression=Compression.parse(compression))
    assert content(place / "1") == content(place / "2") == content(place / "5")


def test_without_a_tag_there_is_no_name(top, place):
    image = write(top, f"oci:{place}/image")
    assert "annotations" not in json.loads(image.index)["manifests"][0]


def test_members_have_their_ancestors_and_an_order(top, place):
    image = write(top, f"oci:{place}/image", count=3)
    seen = []
    for layer in image.layers:
        with tarfile.open(place / "image/blobs/sha256" / layer.diff_id.removeprefix("sha256:")) as archive:
            members = archive.getmembers()
        names = [member.name for member in members]
        assert names == sorted(names, key=os.fsencode)
        for member in members:
            parent = member.name.rpartition("/")[0]
            assert not parent or parent in names
            if member.name == "usr/share/closed":
                assert (member.mode, member.mtime) == (0o750, 0)
        seen += [name for name, member in zip(names, members, strict=True) if not member.isdir()]
    assert len(seen) == len(set(seen)) == 12


def one_layer(*paths):
    return lambda tree: [spec(tree, *paths)]


def read_layer(place, image, index=0):
    digest = image.layers[index].descriptor.digest.removeprefix("sha256:")
    with tarfile.open(place / "image/blobs/sha256" / digest) as archive:
        return {member.name: member for member in archive.getmembers()}


def test_the_root_is_written_once_and_is_no_ancestor(top, place):
    top.chmod(0o700)
    image = write(top, f"oci:{place}/image", layers=one_layer("", "größe"))
    root = read_layer(place, image)["."]
    assert (root.mode, root.uid, root.gid, root.mtime, root.pax_headers) == (0o755, 0, 0, 0, {})
    (place / "image").rename(place / "before")
    image = write(top, f"oci:{place}/image", layers=one_layer("größe"))
    assert list(read_layer(place, image)) == ["größe"]
    (place / "image").rename(place / "more")
    image = write(top, f"oci:{place}/image", layers=one_layer("", "größe"), root_mode=0o1711)
    assert read_layer(place, image)["."].mode == 0o1711


def test_an_empty_root_filesystem(place, tmp_path):
    (tmp_path / "empty").mkdir()
    image = write(tmp_path / "empty", f"oci:{place}/image", root_mode=0o555)
    assert [(name, member.mode) for name, member in read_layer(place, image).items()] == [(".", 0o555)]
    validate(place / "image").check()


def test_hard_links_come_after_their_target_in_their_layer(top, place):
    image = write(top, f"oci:{place}/image", layers=one_layer("usr/share/closed/file-3", "usr/hard"))
    members = read_layer(place, image)
    assert members["usr/hard"].isreg()
    assert members["usr/share/closed/file-3"].linkname == "usr/hard"
    assert members["usr/share/closed/file-3"].mtime == members["usr/hard"].mtime


def test_a_hard_link_whose_target_is_elsewhere_is_a_file(top, place):
    image = write(top, f"oci:{place}/image", layers=one_layer("usr/share/closed/file-3"))
    assert read_layer(place, image)["usr/share/closed/file-3"].isreg()
    validate(place / "image").check()


def test_mtimes(top, place):
    paths = ("größe", "usr/hard", "usr/share/closed/file-3", "usr/link")
    mtimes = {"größe": 17, "usr/hard": 4000, "usr/share/closed/file-3": 4000}
    image = write(top, f"oci:{place}/image", layers=one_layer(*paths), mtimes=mtimes)
    times = {name: member.mtime for name, member in read_layer(place, image).items()}
    assert times == {
        "größe": 17,
        "usr": 0,
        "usr/hard": 4000,
        "usr/link": 1,
        "usr/share": 0,
        "usr/share/closed": 0,
        "usr/share/closed/file-3": 4000,
    }


def test_the_time_of_the_build_does_not_show(top, place):
    write(top, f"{place}/a", mtimes={"größe": 1})
    for path in [*top.rglob("*"), top]:
        if not path.is_file() or path.name == "größe":
            os.utime(path, (1, 1), follow_symlinks=False)
    write(top, f"{place}/b", mtimes={"größe": 1})
    assert content(place / "a") == content(place / "b")


def test_sparse_files_are_expanded(top, place):
    with (top / "sparse").open("wb") as file:
        file.truncate(5 * MIB)
        file.seek(3 * MIB)
        file.write(b"x")
    write(top, f"{place}/image", layers=one_layer("sparse"))
    validate(place / "image").check()


def test_a_size_is_known_before_anything_is_read(top):
    with Root(top) as root:
        source = tar_source(root)
        for layer in specs(source.tree, 4):
            stream = source.stream(layer.positions)
            written = write_layer(root, stream, None, Compression.parse("zstd"))
            assert written == Layer.plain(written.diff_id, stream.size)


def test_progress_is_reported(top, place):
    for threads in (1, 2):
        told: list = []
        image = write(
            top,
            f"{place}/{threads}",
            threads=threads,
            on_layer=lambda *done, told=told: told.append(done),
        )
        assert sorted(told) == list(enumerate(image.layers))


def change_after_scan(top, place, change, threads):
    with Root(top) as root, Workers(threads) as workers:
        source = tar_source(root)
        change()
        with pytest.raises(RootfsError) as caught:
            write_image(
                source,
                specs(source.tree, 4),
                finish=finish,
                output=Output.parse(f"{place}/image"),
                workers=workers,
            )
    assert list(place.iterdir()) == []
    return caught.value


@pytest.mark.parametrize("threads", [1, 2])
def test_a_file_that_changed_or_vanished_is_named(top, place, threads):
    file = top / "usr/share/closed/file-5"
    for change in (
        lambda: file.write_bytes(file.read_bytes() + b"x"),
        lambda: file.write_bytes(b"less"),
        lambda: os.utime(file, (99, 99)),
        file.unlink,
    ):
        error = change_after_scan(top, place, change, threads)
        assert "/usr/share/closed/file-5" in error.message
        assert error.hint


def test_a_file_that_became_something_else_is_named(top, place):
    file = top / "usr/share/closed/file-5"

    def fifo():
        file.unlink()
        os.mkfifo(file)

    def link():
        file.unlink()
        file.symlink_to("/etc/passwd")

    assert "/usr/share/closed/file-5" in change_after_scan(top, place, fifo, 1).message
    file.unlink()
    file.write_text("again")
    assert "/usr/share/closed/file-5" in change_after_scan(top, place, link, 1).message


def refuse_documents(layers):
    raise RechunkError(f"no config for {len(layers)} layers")


def test_an_error_in_finish_leaves_nothing(top, place):
    for name in ("oci:image", "oci-archive:image", "docker-archive:image"):
        kind, _, path = name.partition(":")
        with pytest.raises(RechunkError, match="no config for 5 layers"):
            write(top, f"{kind}:{place}/{path}", finish=refuse_documents, threads=2)
        assert list(place.iterdir()) == []


def test_an_older_archive_is_replaced_only_by_a_whole_one(top, place):
    (place / "image").write_text("old")
    with pytest.raises(RechunkError):
        write(top, f"{place}/image", finish=refuse_documents)
    assert (place / "image").read_text() == "old"
    write(top, f"{place}/image")
    validate(place / "image").check()


def refuse(name):
    """Make a function of `os` fail as on a file system without unnamed files, or without names for them."""
    real = getattr(os, name)

    def call(*arguments, **options):
        if name == "link" or arguments[1] & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(*arguments, **options)

    return call


@pytest.mark.parametrize("missing", ["open", "link", None])
def test_an_archive_has_no_name_until_it_is_whole(top, place, monkeypatch, missing):
    if missing:
        monkeypatch.setattr(os, missing, refuse(missing))
    during = []
    write(top, f"{place}/image", on_layer=lambda *_: during.append(os.listdir(place)))
    assert os.listdir(place) == ["image"]
    sound(place, "image")
    names = {name for listed in during for name in listed}
    assert len(names) == bool(missing)
    assert "image" not in names
    assert (place / "image").stat().st_nlink == 1


def test_whoever_is_killed_leaves_nothing(repository, top, place):
    text = """
import os, signal, sys
from support.writing import write
write(sys.argv[1], sys.argv[2], on_layer=lambda *_: os.kill(os.getpid(), signal.SIGKILL))
"""
    environment = {**os.environ, "PYTHONPATH": f"{repository}/tests:{repository}/frontend"}
    command = [sys.executable, "-c", text, top, place / "image"]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert os.listdir(place) == []


RENAMES = """
import os, signal, sys
from pathlib import Path
from support.writing import write
step, rename = [int(sys.argv[3])], Path.rename
def counted(path, target):
    if Path(target).parent.samefile(sys.argv[4]):
        step[0] -= 1
        if step[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)
Path.rename = counted
write(sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("step", range(3))
def test_a_layout_that_was_cut_is_none_and_is_written_again(repository, top, place, step):
    """SIGKILL before each of the files that are moved into a directory that is there."""
    target = place / "there"
    target.mkdir()
    environment = {**os.environ, "PYTHONPATH": f"{repository}/tests:{repository}/frontend"}
    command = [sys.executable, "-c", RENAMES, top, f"oci:{target}", str(step), target]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert not (target / "index.json").exists()
    with pytest.raises(ImageError, match="half-made OCI layout"):
        validate(target)
    write(top, f"oci:{target}")
    assert sorted(os.listdir(target)) == ["blobs", "index.json", "oci-layout"]
    validate(target).check()


def test_files_that_came_after_a_killed_run_stay(repository, top, place):
    """It was killed before it moved anything; then somebody put a directory `blobs` there."""
    target = place / "there"
    target.mkdir()
    environment = {**os.environ, "PYTHONPATH": f"{repository}/tests:{repository}/frontend"}
    command = [sys.executable, "-c", RENAMES, top, f"oci:{target}", "0", target]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert len(os.listdir(target)) == 1
    (target / "blobs").mkdir()
    (target / "blobs/mine").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        write(top, f"oci:{target}")
    assert (target / "blobs/mine").read_text() == "precious"


WRITERS = tuple(f"/rechunk_podman/{name}.py" for name in ("files", "temporary", "oci/write/layout"))


@pytest.mark.parametrize("name", ["oci:image", "oci:there", "oci-archive:image", "docker-archive:image"])
def test_a_signal_at_any_moment(tmp_path, place, name):
    """At each call by the code that makes and removes files, one run for each: all is there, or nothing."""
    top = tmp_path / "few"
    top.mkdir()
    (top / "file").write_text("x")
    left = [0]

    def interrupt(frame, event, argument):
        if event != "return" and frame.f_code.co_filename.endswith(WRITERS):
            left[0] -= 1
            if not left[0]:
                signal.raise_signal(signal.SIGINT)

    kind, _, path = name.partition(":")
    compression = Compression.parse("none" if kind == "docker-archive" else "gzip")
    moments = 0
    while left[0] <= 0:
        moments += 1
        left[0] = moments
        if path == "there":
            (place / path).mkdir()
        interrupted = False
        sys.setprofile(interrupt)
        try:
            write(top, f"{kind}:{place}/{path}", compression=compression)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.setprofile(None)
        remove_own()  # as at the end of the process
        found = place / path
        if not interrupted or found.is_file() or (found.is_dir() and os.listdir(found)):
            validate(f"{kind}:{found}").check()
            shutil.rmtree(found) if found.is_dir() else found.unlink()
        if path == "there" and found.exists():
            found.rmdir()
        assert os.listdir(place) == []
    assert moments > 50


@pytest.mark.parametrize("name", ["oci:image", "oci-archive:image"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_the_next_run_removes_what_a_killed_one_left(repository, top, place, name, compression):
    text = """
import os, signal, sys
from rechunk_podman.oci.write.compress import Compression
from support.writing import write
kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write(sys.argv[1], sys.argv[2], on_layer=kill, compression=Compression.parse(sys.argv[3]))
"""
    environment = {**os.environ, "PYTHONPATH": f"{repository}/tests:{repository}/frontend"}
    kind, _, path = name.partition(":")
    command = [sys.executable, "-c", text, top, f"{kind}:{place}/{path}", compression]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    if kind == "oci" or compression == "gzip":
        assert os.listdir(place) != []
    write(top, f"{kind}:{place}/{path}", compression=Compression.parse(compression))
    assert os.listdir(place) == [path]


def test_a_symlink_to_an_archive_stays(top, place):
    (place / "real").write_text("old")
    (place / "link").symlink_to("real")
    write(top, f"{place}/link")
    assert (place / "link").is_symlink()
    validate(place / "real").check()


def test_layouts_want_an_empty_place(top, place):
    (place / "there").mkdir()
    write(top, f"oci:{place}/there")
    sound(place, "there")
    validate(f"oci:{place}/there").check()
    with pytest.raises(UsageError, match="not empty"):
        write(top, f"oci:{place}/there")
    validate(f"oci:{place}/there").check()
    with pytest.raises(RechunkError, match="nowhere") as caught:
        write(top, f"oci:{place}/nowhere/image")
    assert caught.value.hint
    with pytest.raises(UsageError, match="is a directory"):
        write(top, f"{place}/there")


def test_a_failed_layout_leaves_an_empty_directory_empty(top, place):
    with pytest.raises(RechunkError):
        write(top, f"oci:{place}", finish=refuse_documents)
    assert list(place.iterdir()) == []


def test_file_modes_follow_the_umask(top, place):
    before = os.umask(0o027)
    try:
        write(top, f"{place}/image")
        write(top, f"oci:{place}/layout")
    finally:
        os.umask(before)
    assert stat.S_IMODE((place / "image").stat().st_mode) == 0o640
    for path in (place / "layout").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640)


SCRIPT = """
import sys
from support.writing import write
write(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "-", threads=2, compression={compression!r})
"""


def script(repository, tmp_path, top, *arguments, compression="none", **options):
    """A process that writes the image of `top`; its TMPDIR has to be empty at the end."""
    (tmp_path / "spool").mkdir(exist_ok=True)
    text = SCRIPT.format(compression=compression).replace(
        f"compression={compression!r}", f"compression=Compression.parse({compression!r})"
    )
    text = "from rechunk_podman.oci.write.compress import Compression\n" + text
    environment = {
        **os.environ,
        "PYTHONPATH": f"{repository}/tests:{repository}/frontend",
        "TMPDIR": str(tmp_path / "spool"),
    }
    done = subprocess.run(
        [sys.executable, "-c", text, top, *arguments], env=environment, check=False, **options
    )
    assert list((tmp_path / "spool").iterdir()) == []
    return done


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_standard_output(repository, top, place, tmp_path, compression):
    expected = place / "expected"
    write(top, expected, compression=Compression.parse(compression))
    done = script(repository, tmp_path, top, compression=compression, stdout=subprocess.PIPE)
    assert done.stdout == expected.read_bytes()
    with (place / "plain").open("wb") as file:
        file.write(b"head")
        file.flush()
        script(repository, tmp_path, top, compression=compression, stdout=file)
    assert (place / "plain").read_bytes() == b"head" + expected.read_bytes()
    with (place / "appended").open("ab") as file:
        file.write(b"head")
        file.flush()
        script(repository, tmp_path, top, compression=compression, stdout=file)
    assert (place / "appended").read_bytes() == b"head" + expected.read_bytes()


def test_standard_output_that_is_longer_already(repository, top, place, tmp_path):
    write(top, f"{place}/expected")
    (place / "plain").write_bytes(b"x" * 20 * MIB)
    with (place / "plain").open("r+b") as file:
        script(repository, tmp_path, top, stdout=file)
    assert (place / "plain").read_bytes() == (place / "expected").read_bytes()


def test_a_failure_cuts_standard_output_off(repository, top, place, tmp_path):
    (top / ".wh.x").write_text("")
    with (place / "plain").open("wb") as file:
        done = script(repository, tmp_path, top, stdout=file, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert b"whiteout" in done.stderr
    assert (place / "plain").read_bytes() == b""


def test_a_fifo_as_output(repository, top, place, tmp_path):
    write(top, f"{place}/expected")
    os.mkfifo(place / "fifo")
    with (place / "copy").open("wb") as copy, subprocess.Popen(["cat", place / "fifo"], stdout=copy):
        script(repository, tmp_path, top, place / "fifo")
    assert (place / "copy").read_bytes() == (place / "expected").read_bytes()
    assert stat.S_ISFIFO((place / "fifo").stat().st_mode)


def test_a_closed_pipe_is_an_error(repository, top, tmp_path):
    with subprocess.Popen(["true"], stdin=subprocess.PIPE) as reader:
        reader.wait()
        done = script(repository, tmp_path, top, stdout=reader.stdin, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert b"standard output was closed" in done.stderr


@pytest.mark.parametrize(
    ("text", "kind", "path"),
    [
        (None, OutputKind.OCI_ARCHIVE, None),
        ("-", OutputKind.OCI_ARCHIVE, None),
        ("out.tar", OutputKind.OCI_ARCHIVE, "out.tar"),
        ("oci:dir", OutputKind.OCI, "dir"),
        ("a:b", OutputKind.OCI_ARCHIVE, "a:b"),
        ("docker-archive:-", OutputKind.DOCKER_ARCHIVE, None),
        ("other:x", OutputKind.OCI_ARCHIVE, "other:x"),
    ],
)
def test_outputs(text, kind, path):
    assert Output.parse(text) == Output(kind, path)


def test_a_name_behind_the_path():
    assert Output.parse("oci:dir:v1") == Output(OutputKind.OCI, "dir", "v1")
    assert Output.parse("oci-archive:a:b") == Output(OutputKind.OCI_ARCHIVE, "a", "b")
    given = Output.parse("docker-archive:a:localhost:5000/b:c")
    assert given == Output(OutputKind.DOCKER_ARCHIVE, "a", "localhost:5000/b:c")


@pytest.mark.parametrize(
    "text", ["", "oci:", "oci-archive:", "docker-archive:", "oci:-", "oci:a:", "docker://a/b", "dir:a"]
)
def test_outputs_that_are_none(text):
    with pytest.raises(UsageError):
        Output.parse(text)


def reusable(image):
    return {
        layer.diff_id: Descriptor(MEDIA_LAYER_ZSTD, Digest("sha256:" + "1" * 64), 4711, {"kept": "yes"})
        for layer in image.layers[1:3]
    }


def test_expected_layers_are_hashed_and_left_out(top, place):
    full = write(top, f"oci:{place}/full")
    reuse = reusable(full)

    def layers(tree):
        found = specs(tree, 5)
        return [
            replace(planned, expected=layer.diff_id)
            for planned, layer in zip(found, full.layers, strict=True)
        ]

    image = write(
        top, f"oci:{place}/sparse", layers=layers, reuse=reuse, reuse_from="docker://r/i", threads=2
    )
    assert [layer.diff_id for layer in image.layers] == [layer.diff_id for layer in full.layers]
    assert [layer.descriptor for layer in image.layers[1:3]] == list(reuse.values())
    assert image.layers[0] == full.layers[0]
    blobs = {path.name for path in (place / "sparse/blobs/sha256").iterdir()}
    assert len(blobs) == 3 + 2
    said = parse_sparse((place / "sparse" / SPARSE_FILE).read_bytes(), "it")
    assert said == (frozenset({"sha256:" + "1" * 64}), "docker://r/i")
    assert validate(f"oci:{place}/sparse").check().elsewhere == said.elsewhere
    (place / "sparse" / SPARSE_FILE).unlink()
    assert validate(f"oci:{place}/sparse").errors  # what is missing without a word is missed

    (top / "größe").write_text("another")
    image = write(top, f"oci:{place}/changed", layers=layers, reuse=reuse)
    assert sum(layer.descriptor.size == 4711 for layer in image.layers) in (1, 2)

    whole = write(top, f"oci-archive:{place}/archive", layers=layers, reuse=reuse)
    assert all(layer.descriptor.size != 4711 for layer in whole.layers)
    validate(place / "archive").check()


def test_known_layers_are_left_out_though_nobody_expected_them(top, place):
    full = write(top, f"oci:{place}/full", compression=Compression.parse("gzip"))
    reuse = reusable(full)
    place.joinpath("mount").mkdir()  # into a directory that is there, too
    image = write(top, f"oci:{place}/mount", reuse=reuse, compression=Compression.parse("gzip"), threads=2)
    assert [layer.descriptor for layer in image.layers[1:3]] == list(reuse.values())
    assert [layer.descriptor for layer in image.layers[3:]] == [layer.descriptor for layer in full.layers[3:]]
    assert len(list((place / "mount/blobs/sha256").iterdir())) == 3 + 2
    validate(f"oci:{place}/mount").check()


def test_annotations_that_were_lost_on_the_way_come_back(top, place):
    """docker's format has none; where the image before has some, these stand."""
    full = write(top, f"oci:{place}/full")
    reuse = {
        layer.diff_id: Descriptor(MEDIA_LAYER_ZSTD, Digest("sha256:" + "1" * 64), 4711, old)
        for layer, old in zip(full.layers, ({}, {"a": "old", "b": "2"}), strict=False)
    }

    def layers(tree):
        return [replace(planned, annotations={"a": "new"}) for planned in specs(tree, 5)]

    image = write(top, f"oci:{place}/sparse", layers=layers, reuse=reuse)
    assert [layer.descriptor.annotations for layer in image.layers[:3]] == [
        {"a": "new"},
        {"a": "old", "b": "2"},
        {"a": "new"},
    ]


@pytest.mark.parametrize(
    ("kind", "level", "other"), [("zstd", 3, 4), ("zstd", 22, 21), ("gzip", 9, 8), ("none", None, 0)]
)
def test_the_neighbour_of_a_level(kind, level, other):
    assert Compression.parse(kind, level).neighbour() == Compression(kind, other)


def test_uncompressed_layers_that_a_store_holds_need_no_descriptor(top, place):
    full = write(top, f"oci:{place}/full")
    held = {layer.diff_id: None for layer in full.layers}
    image = write(top, f"oci:{place}/sparse", reuse=held)
    assert image.manifest == full.manifest
    assert set(image.elsewhere) == {layer.diff_id for layer in full.layers}
    assert len(list((place / "sparse/blobs/sha256").iterdir())) == 2


def test_an_image_without_layers(top, place):
    image = write(top, f"{place}/image", layers=lambda tree: [], threads=2)
    assert image.layers == ()
    validate(place / "image", strict=False).check()


def test_documents_need_only_a_config():
    assert ImageDocuments(b"{}").annotations == {}


def test_blobs_are_where_the_archive_says(top, place):
    image = write(top, f"{place}/image", threads=3)
    with tarfile.open(place / "image") as archive:
        names = archive.getnames()
        assert names[:3] == ["oci-layout", "blobs", "blobs/sha256"]
        assert names[-1] == "index.json"
        layers = ["blobs/sha256/" + layer.diff_id.removeprefix("sha256:") for layer in image.layers]
        assert names[3 : 3 + len(layers)] == layers
        assert {member.mtime for member in archive.getmembers()} == {0}
    assert Path(place / "image").stat().st_size % 512 == 0
