"""Packages of an image, what changed between two, and the text of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from typer.testing import CliRunner

from rechunk_podman.changelog.compare import package_changes
from rechunk_podman.changelog.document import REVISION_LABEL, VERSION_LABEL, Changelog, Side
from rechunk_podman.changelog.installed import Packages, Version, databases_of, of_ledger, of_root
from rechunk_podman.changelog.render import (
    Tags,
    escape,
    parse_formatters,
    render_template,
    render_text,
    short_versions,
    without_controls,
)
from rechunk_podman.cli.app import application
from rechunk_podman.errors import UsageError
from rechunk_podman.explain.download import compare
from rechunk_podman.explain.inspect import describe
from rechunk_podman.oci.read.image import open_image
from rechunk_podman.programs.git import Commit, commits
from rechunk_podman.programs.process import CommandError
from rechunk_podman.rootfs.root import Root
from support.described import NOW, component, image, layer, ledger_of
from support.linting import make
from support.oci_material import Layout, directory, make_tar, member
from support.rpm_headers import package, sqlite_database

STATUS = """\
Package: libssl3
Status: install ok installed
Source: openssl (3.0.2-0)
Version: 3.0.2-0+b1
Architecture: amd64

Package: gone
Status: deinstall ok config-files
Version: 1

Package: tool
Status: install ok installed
Version: 1:2.0-1
Architecture: amd64
"""


def rpm(**packages: str) -> Packages:
    return Packages(binary={name: Version("rpm", text) for name, text in packages.items()})


def kinds(changes):
    return {change.name: change.kind for change in changes.changes}


def test_packages_of_dpkg(tmp_path):
    make(
        tmp_path, {"var/lib/dpkg/status": STATUS, "var/lib/dpkg/status.d/base": "Package: base\nVersion: 5\n"}
    )
    with Root(tmp_path) as root:
        found = of_root(root)
    assert {name: version.text for name, version in found.binary.items()} == {
        "base": "5",
        "libssl3": "3.0.2-0+b1",
        "tool": "1:2.0-1",
    }
    assert found.sources["openssl"].text == "3.0.2-0"


def test_packages_of_rpm(tmp_path):
    records = [
        package("glibc", source="glibc-2.39-5", EPOCH=0),
        package("kernel", source="kernel-6.1-1", VERSION="6.9"),
        package("kernel", source="kernel-6.10-1", VERSION="6.10"),
        package("epochal", EPOCH=2),
        package("gpg-pubkey"),
    ]
    sqlite_database(tmp_path / "usr/lib/sysimage/rpm/rpmdb.sqlite", records)
    with Root(tmp_path) as root:
        found = of_root(root)
    assert {name: version.text for name, version in found.binary.items()} == {
        "epochal": "2:1-2",
        "glibc": "1-2",
        "kernel": "6.9-2 6.10-2",
    }
    assert found.sources["glibc"] == Version("rpm", "2.39-5")
    assert found.sources["kernel"] == Version("rpm", "6.1-1 6.10-1")


def test_an_update_of_one_of_two_kernels_is_an_update():
    """The comparison is not one of strings, by which 6.1.27-1 would be the newest."""
    status = "Package: linux-image-{0}\nStatus: install ok installed\nSource: linux\nVersion: {0}\n"
    sources = []
    for versions in (["6.1.27-1", "6.1.128-1"], ["6.1.27-1", "6.1.129-1"], ["6.1.129-1"]):
        with TemporaryDirectory() as folder:
            stanzas = "\n".join(map(status.format, versions))
            make(Path(folder), {"var/lib/dpkg/status": stanzas})
            with Root(folder) as root:
                sources.append(Packages(of_root(root).sources))
    (change,) = package_changes(sources[0], sources[1]).changes
    assert (change.name, change.kind) == ("linux", "upgraded")
    assert change.old.text == "6.1.27-1 6.1.128-1"
    assert short_versions(change.old, change.new) == ("6.1.128", "6.1.129")
    (change,) = package_changes(sources[1], sources[2]).changes
    assert change.kind == "changed"
    assert short_versions(change.old, change.new) == ("6.1.27-1 6.1.129-1", "6.1.129-1")


def test_no_packages(tmp_path):
    with Root(tmp_path) as root:
        assert of_root(root) == Packages()


def test_packages_of_the_layers_of_an_image(tmp_path):
    """The database lies behind a symlink, and an upper layer replaced it."""
    sqlite_database(tmp_path / "old.sqlite", [package("old")])
    sqlite_database(tmp_path / "new.sqlite", [package("new")])
    layout = Layout(tmp_path / "image")
    place = "usr/lib/sysimage/rpm"
    import tarfile

    layout.layer(
        make_tar(
            [
                directory(place),
                member(f"{place}/rpmdb.sqlite", data=(tmp_path / "old.sqlite").read_bytes()),
                directory("var/lib"),
                member("var/lib/rpm", tarfile.SYMTYPE, linkname="../../usr/lib/sysimage/rpm"),
                member("var/lib/other", data=b"never written"),
            ]
        )
    )
    layout.layer(make_tar([member(f"{place}/rpmdb.sqlite", data=(tmp_path / "new.sqlite").read_bytes())]))
    with open_image(layout.finish()) as source, databases_of(source) as root:
        assert set(of_root(root).binary) == {"new"}


def test_packages_of_a_ledger():
    layers = [layer(component("rpm/glibc", version="2.39-5"), component("bigfiles/usr/x", version="1"))]
    assert of_ledger(ledger_of(layers)) == Packages({"glibc": Version("rpm", "2.39-5")})


def test_what_changed():
    old = rpm(a="1-1", b="2-1", c="1-1", d="1-1", e="1.0-1", kernel="6.1-1")
    new = rpm(a="2-1", b="1-1", c="1-1", f="1-1", e="1_0-1", kernel="6.2-1")
    found = package_changes(old, new)
    assert kinds(found) == {
        "a": "upgraded",
        "b": "downgraded",
        "d": "removed",
        "e": "changed",
        "f": "added",
        "kernel": "upgraded",
    }
    assert found.changes[0].name == "kernel"
    assert found.changes[0].notable
    assert (found.level, found.unchanged) == ("binary", 1)
    assert [change.name for change in package_changes(old, new, ["f", "a*"]).changes][:2] == ["f", "a"]


def test_the_rules_of_the_distribution_decide():
    old, new = "20230311+deb12u1", "20250419~deb12u2"
    for source in ("rpm", "dpkg"):
        sides = [Packages(binary={"x": Version(source, text)}) for text in (old, new)]
        assert kinds(package_changes(*sides)) == {"x": "upgraded"}
    sides = [Packages(binary={"x": Version("dpkg", text)}) for text in ("1.0", "1.0~rc1")]
    assert kinds(package_changes(*sides)) == {"x": "downgraded"}


def test_where_one_image_has_only_its_ledger_source_packages_are_compared():
    full = Packages({"openssl": Version("rpm", "2-1")}, {"openssl-libs": Version("rpm", "2-1")})
    ledger = Packages({"openssl": Version("rpm", "1-1")})
    found = package_changes(ledger, full)
    assert (found.level, kinds(found)) == ("source", {"openssl": "upgraded"})
    assert package_changes(None, full).level is None


def facts(version, revision, *components):
    contents = [layer(*components, size=1000)]
    record = image(*contents, ledger=ledger_of(contents), name=f"image:{version}")
    config = record.config.with_labels([f"{VERSION_LABEL}={version}", f"{REVISION_LABEL}={revision}"])
    return describe(replace(record, config=config))


@pytest.fixture
def document():
    old = facts(
        "40.1", "a" * 40, component("rpm/bash", version="5.1-1"), component("rpm/gone", version="1-1")
    )
    new = facts(
        "40.2", "b" * 40, component("rpm/bash", version="5.2-1"), component("rpm/tool", version="1-1")
    )
    packages = [of_ledger(side.ledger) for side in (old, new)]
    log = [Commit("b1b1b1b", "b" * 40, "A. Uthor", "fix <version> & *more*")]
    installed = Packages({"bash": Version("rpm", "5.2-1"), "glibc": Version("rpm", "1:2.39-5")})
    return Changelog(
        Side.of(old), Side.of(new), package_changes(*packages), compare(old, new), log, installed
    )


@pytest.fixture
def tags(document):
    return Tags(document, NOW, pretty="Forty")


def render(template, tags):
    return render_template(template, tags, human_size=lambda size: f"{size} B", name="test")


def test_the_default_template(tags, repository):
    text = render((repository / "templates" / "changelog.md.j2").read_text(), tags)
    assert text.startswith(
        "# 40.2\n\nChanges since 40.1.\n\nDownload of an update: 1000 B of 1000 B, 1 of 1 layers.\n"
    )
    assert "\n## Notable\n\n- `bash` 5.1 → 5.2\n" in text
    assert "\n## Added\n\n- `tool` 1 (new)\n" in text
    assert "\n## Removed\n\n- `gone` 1 (removed)\n" in text
    assert text.endswith("\n## Commits\n\n- b1b1b1b fix \\<version\\> & \\*more\\*\n")
    assert "\n\n\n" not in text


def test_the_default_template_where_nothing_is_known(tags, document, repository):
    empty = replace(document, packages=package_changes(None, None), commits=None)
    text = render((repository / "templates" / "changelog.md.j2").read_text(), replace(tags, changelog=empty))
    assert "Nothing is known of the packages" in text
    assert "## " not in text


def test_the_tags_of_rechunk(tags):
    text = "<version> (from <previous>), <pretty>, <date> <timestamp>\n<pkgupd>\n<commits>"
    text += "<relver:glibc> <version:glibc>"
    assert render_text(text, tags) == (
        "40.2 (from 40.1), Forty, 231114 2023-11-14T22:13:20Z\n"
        " - **tool**: x → 1\n - **bash**: 5.1 → 5.2\n - **gone**: 1 → x\n\n"
        "- **b1b1b1b** fix <version> & *more*\n2.39-5 2.39"
    )


def test_unknown_tags_stay(tags):
    assert render_text("<nothing> <relver:nothing> <b>x</b>", tags) == "<nothing> <relver:nothing> <b>x</b>"


def test_tags_in_a_template_are_not_looked_at_again(tags, document):
    hostile = [Commit("1", "1", "x", "{{ 7 * 7 }} <pkgupd>")]
    text = render("<commits>{{ new.version }}", replace(tags, changelog=replace(document, commits=hostile)))
    assert text == "- **1** {{ 7 * 7 }} <pkgupd>\n40.2"


def test_formatters(tags):
    formatters = parse_formatters(
        ["commits.commit=<hash>: <subject>\\n\npkgupd.add=+<package>", "pkgupd.remove="]
    )
    text = render_text("<pkgupd>|<commits>", replace(tags, formatters=formatters))
    assert text.startswith("+tool - **bash**: 5.1 → 5.2\n|" + "b" * 40)
    for wrong in ("nothing", "commits=x"):
        with pytest.raises(UsageError, match="not a formatter"):
            parse_formatters([wrong])


def test_nothing_changed(tags, document):
    empty = replace(document, packages=package_changes(rpm(a="1-1"), rpm(a="1-1")), commits=())
    assert render_text("<pkgupd><commits>", replace(tags, changelog=empty)) == "-\n-\n"


def test_releases_are_shown_only_where_they_tell_versions_apart(tags, document):
    changes = package_changes(rpm(a="1:2.0-1", b="1-1"), rpm(a="1:2.0-2", b="2-1"))
    assert render_text("<pkgupd>", replace(tags, changelog=replace(document, packages=changes))) == (
        " - **a**: 2.0-1 → 2.0-2\n - **b**: 1 → 2\n"
    )


@pytest.mark.parametrize("template", ["{{ nothing }}", "{% if %}", "{{ new.nothing }}", "{{ 1 | nothing }}"])
def test_a_template_that_is_wrong(tags, template):
    with pytest.raises(UsageError, match="the template test cannot be rendered"):
        render(template, tags)


def test_versions_that_are_not_known(tags, document):
    changes = package_changes(rpm(a=""), rpm(a="2-1", b=""))
    assert kinds(changes) == {"a": "changed", "b": "added"}
    assert render_text("<pkgupd>", replace(tags, changelog=replace(document, packages=changes))) == (
        " - **b**: x → ?\n - **a**: ? → 2\n"
    )


def test_nothing_of_others_steers_a_terminal():
    assert without_controls("a\x1b[31mb\n\tc\udcff 👩‍🚒") == "a\ufffd[31mb\n\tc\ufffd 👩‍🚒"


def test_markdown_of_others_is_text():
    assert escape("a *b* <i>c</i>\n# d [e](f)") == "a \\*b\\* \\<i\\>c\\</i\\> # d \\[e\\](f)"


@pytest.fixture
def repository_of_three(tmp_path):
    """A git repository, and its three commits, the oldest first."""
    top = tmp_path / "git"

    def git(*words):
        identity = ["-c", "user.name=A. Uthor", "-c", "user.email=a@example.org"]
        done = subprocess.run(
            ["git", "-C", str(top), *identity, *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    top.mkdir()
    git("init", "--quiet")
    hashes = []
    for subject in ("first", "second: with : colons", "third"):
        git("commit", "--quiet", "--allow-empty", "-m", subject)
        hashes.append(git("rev-parse", "HEAD"))
    return top, hashes


def test_commits_between_two_revisions(repository_of_three):
    top, hashes = repository_of_three
    found = commits(str(top), hashes[0], hashes[2])
    assert [(c.hash, c.subject, c.author) for c in found] == [
        (hashes[2], "third", "A. Uthor"),
        (hashes[1], "second: with : colons", "A. Uthor"),
    ]
    assert commits(str(top), hashes[2], hashes[2]) == ()


def test_revisions_that_are_none(repository_of_three):
    top, hashes = repository_of_three
    for wrong in ("--output=x", "a..b", "", "a b"):
        with pytest.raises(UsageError, match="not a revision"):
            commits(str(top), wrong, hashes[0])
    with pytest.raises(CommandError):
        commits(str(top), "0" * 40, hashes[0])


@pytest.fixture
def images(tmp_path, repository_of_three):
    """Two layouts with a dpkg database each, and labels of two revisions."""
    _, hashes = repository_of_three
    found = []
    for number, version in enumerate(("2.0-1", "2.1-1")):
        layout = Layout(tmp_path / f"image{number}")
        status = STATUS.replace("2.0-1", version).encode()
        layout.layer(make_tar([member("var/lib/dpkg/status", data=status)]))
        layout.config["config"] = {
            "Labels": {VERSION_LABEL: f"v{number}", REVISION_LABEL: hashes[number * 2]}
        }
        found.append(layout.finish())
    return found


def changelog(*arguments):
    return CliRunner().invoke(application(), ["changelog", *map(str, arguments)])


def test_the_command(images, repository_of_three, tmp_path):
    done = changelog(*images, "--git", repository_of_three[0])
    assert done.exit_code == 0, done.output
    assert "# v1\n\nChanges since v0." in done.stdout
    assert "- `tool` 2.0 → 2.1\n" in done.stdout
    assert "third" in done.stdout
    document = json.loads(changelog(*images, "--json", "--notable", "to*").stdout)
    assert document["packages"]["changes"] == [
        {"name": "tool", "kind": "upgraded", "old": "1:2.0-1", "new": "1:2.1-1", "notable": True}
    ]
    assert document["packages"]["level"] == "binary"
    assert document["download"]["layers"] == 1
    assert document["commits"] is None
    template = tmp_path / "own.j2"
    template.write_text("{{ new.version }}: <pkgupd>")
    assert changelog(*images, "--template", template).stdout == "v1:  - **tool**: 2.0 → 2.1\n"
    assert changelog(*images, "--text", "<relver:tool>").stdout == "2.1-1\n"


def test_commits_that_are_not_there_are_a_warning(images, repository_of_three, tmp_path):
    shallow = tmp_path / "shallow"
    subprocess.run(
        ["git", "clone", "--quiet", "--depth=1", f"file://{repository_of_three[0]}", str(shallow)], check=True
    )
    done = changelog(*images, "--git", shallow)
    assert done.exit_code == 0
    assert "fetch-depth: 0" in done.stderr
    assert "command:" not in done.stderr
    assert "## Commits" not in done.stdout


def test_a_directory_that_git_refuses_is_a_warning(images, repository_of_three, tmp_path, monkeypatch):
    done = changelog(*images, "--git", tmp_path)
    assert done.exit_code == 0
    assert "not a git repository" in done.stderr
    assert "fetch-depth" not in done.stderr
    if os.geteuid() == 0:
        monkeypatch.delenv("SUDO_UID", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        theirs = tmp_path / "theirs"
        shutil.copytree(repository_of_three[0], theirs)
        for path in (theirs, *theirs.rglob("*")):
            os.chown(path, 12345, 12345)
        assert f"safe.directory {theirs}" in changelog(*images, "--git", theirs).stderr
        # Of whoever called sudo it is no surprise that root comes.
        monkeypatch.setenv("SUDO_UID", "12345")
        assert "third" in changelog(*images, "--git", theirs).stdout


def test_wrong_calls(images, tmp_path):
    for arguments in (
        ("--template", tmp_path / "nothing"),
        ("--text", "x", "--template", tmp_path / "nothing"),
    ):
        done = changelog(*images, *arguments)
        assert isinstance(done.exception, UsageError)
