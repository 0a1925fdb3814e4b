"""Run the blocks of the pages as they stand: only the registry is another one, and the tool this checkout."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import tools

FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def run(
    storage: tools.Storage, registry: tools.Registry, repository: Path, tmp_path: Path
) -> Callable[[str], tools.Done]:
    """Run all blocks of shell commands of a page in one shell, but for those that install."""

    def run_page(page: str) -> tools.Done:
        text = (repository / "docs" / page).read_text()
        blocks = [block for block in FENCE.findall(text) if not block.startswith("pipx install")]
        assert blocks
        settings = tmp_path / ".config/containers/registries.conf"
        settings.parent.mkdir(parents=True)
        settings.write_text(f'[[registry]]\nlocation = "{registry.address}"\ninsecure = true\n')
        script = tmp_path / "script"
        script.write_text(
            "set -eu\n"
            f"export RECHUNK_TLS_VERIFY=false HOME={tmp_path}\n"
            f"export PATH={Path(sys.executable).parent}:$PATH\n"
            + "".join(blocks).replace("registry.example.com", f"{registry.address}/pages")
        )
        return storage.run("sh", script, cwd=tmp_path)

    return run_page


@pytest.fixture
def app(storage: tools.Storage, small: Callable[[int], str]) -> None:
    """The image that the how-to pages speak of."""
    storage.run("podman", "tag", small(5), "localhost/app:built")


def test_tutorial(run: Callable[[str], tools.Done], tmp_path: Path) -> None:
    done = run("tutorial.md")
    assert "the same" in done.out + done.err
    assert re.search(r"\b2\.\d MB", done.out), done.out
    assert not (tmp_path / "tutorial").exists()


@pytest.mark.usefixtures("app")
def test_registries(run: Callable[[str], tools.Done], storage: tools.Storage, tmp_path: Path) -> None:
    run("registries.md")
    storage.rechunk("verify", "localhost/app:built", f"oci-archive:{tmp_path}/app.tar")


def test_zstd_chunked(
    run: Callable[[str], tools.Done], storage: tools.Storage, registry: tools.Registry, tmp_path: Path
) -> None:
    """The content is that of no other test: skopeo names blobs that it knows in another compression."""
    (tmp_path / "root/opt").mkdir(parents=True)
    for name in ("one", "two"):
        (tmp_path / "root/opt" / name).write_bytes(os.urandom(2 << 20))
    tools.run("tar", "-C", tmp_path / "root", "-cf", tmp_path / "root.tar", ".")
    storage.import_tar(tmp_path / "root.tar", "localhost/app:built")
    run("zstd-chunked.md")
    reference = f"docker://{registry.address}/pages/app:chunked"
    raw = storage.run("skopeo", "inspect", "--raw", "--tls-verify=false", reference).out
    assert raw.count("zstd-chunked.manifest-checksum") > 1


def test_other_builders(run: Callable[[str], tools.Done], storage: tools.Storage, tmp_path: Path) -> None:
    """Directories as the builders leave them; the map has a line for each element."""
    for folder in ("mkosi.output/image", "checkout"):
        (tmp_path / folder / "usr/lib/one").mkdir(parents=True)
        (tmp_path / folder / "usr/lib/one/file").write_text("one\n")
        (tmp_path / folder / "usr/lib/two").write_text("two\n")
    (tmp_path / "elements.tsv").write_text("/usr/lib/one\tone.bst\n")
    run("other-builders.md")
    listed = storage.rechunk("inspect", "--json", f"oci-archive:{tmp_path}/image.tar").out
    assert "one.bst" in listed


def test_components(run: Callable[[str], tools.Done], storage: tools.Storage, tmp_path: Path) -> None:
    """The page asks for the owner of a file, with a groups file of hhd-dev/rechunk's form."""
    (tmp_path / "root/usr/bin").mkdir(parents=True)
    (tmp_path / "root/usr/bin/topgrade").write_text("program\n")
    (tmp_path / "meta.yml").write_text(
        "meta:\n  tools:\n    files: [/usr/bin/topgrade]\n    dedicated: False\n"
    )
    tools.run("tar", "-C", tmp_path / "root", "-cf", tmp_path / "root.tar", ".")
    storage.import_tar(tmp_path / "root.tar", "localhost/desktop")
    storage.copy("containers-storage:localhost/desktop:latest", f"oci-archive:{tmp_path}/desktop.tar")
    assert "/usr/bin/topgrade" in run("components.md").out


def test_no_page_is_left_out(repository: Path) -> None:
    """Each page with blocks of commands has a test here."""
    with_commands = {
        page.name for page in (repository / "docs").glob("*.md") if FENCE.search(page.read_text())
    }
    tested = set(re.findall(r'run\("([\w-]+\.md)"\)', Path(__file__).read_text()))
    assert with_commands == tested
