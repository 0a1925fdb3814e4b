"""plan(): the same work as the command, from Python: no terminal, nothing is written before apply()."""

from __future__ import annotations

import subprocess

import pytest

from rechunk_podman.errors import UsageError
from rechunk_podman.init.run import Remote, plan, remote
from rechunk_podman.init.state import STATE, Action
from rechunk_podman.split.containerfile import templates


def planned(folder, template=None, ask=None, force=False, **given):
    return plan(folder, template, given, source=templates(), version="1", ask=ask, force=force)


def test_nothing_is_written_before_apply(tmp_path):
    scaffold = planned(tmp_path, "just", image="desk")
    assert scaffold.writes
    assert list(tmp_path.iterdir()) == []
    scaffold.apply()
    assert {path.name for path in tmp_path.iterdir()} == {"Containerfile", "Justfile", STATE}
    again = planned(tmp_path)
    assert not again.writes
    assert again.state == again.before
    assert again.state.answers["image"] == "desk"


def test_answers_are_given_or_recorded_or_asked(tmp_path):
    planned(tmp_path, "just", image="recorded").apply()
    asked = {}

    def ask(question, offered):
        asked[question.name] = offered
        return "asked" if question.name == "image" else offered

    assert planned(tmp_path, ask=ask, image="given").state.answers["image"] == "given"
    assert planned(tmp_path, ask=ask).state.answers["image"] == "recorded"
    assert asked == {}
    (tmp_path / "new").mkdir()
    scaffold = planned(
        tmp_path / "new", ask=lambda q, offered: "just" if q.name == "template" else ask(q, offered)
    )
    assert scaffold.state.answers["image"] == "asked"
    assert asked["image"] == "new"


def test_an_edited_file_is_kept_unless_forced(tmp_path):
    planned(tmp_path, "just").apply()
    (tmp_path / "Justfile").write_text("mine")
    actions = {step.path: step.action for step in planned(tmp_path).steps}
    assert actions["Justfile"] is Action.EDITED
    planned(tmp_path, force=True).apply()
    assert (tmp_path / "Justfile").read_text() != "mine"


def test_wrong_answers(tmp_path):
    with pytest.raises(UsageError, match="no template is named"):
        planned(tmp_path)
    with pytest.raises(UsageError, match="the template just has no --signing") as caught:
        planned(tmp_path, "just", signing="key")
    assert "github" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="not an answer to image"):
        planned(tmp_path, "just", image="NOT; a name")


def test_name_and_owner_come_from_the_remote(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True)

    assert remote(tmp_path / "absent") is None
    git("init", "-q")
    assert remote(tmp_path) is None
    git("remote", "add", "origin", "git@github.com:Acme/Desk.git")
    assert remote(tmp_path) == Remote("Desk", "Acme")
    answers = planned(tmp_path, "just").state.answers
    assert (answers["registry"], answers["image"]) == ("ghcr.io/acme", "desk")
    for url in ("https://codeberg.org/acme/phone.git", "host:phone", "/srv/git/phone/"):
        git("remote", "set-url", "origin", url)
        assert remote(tmp_path) == Remote("phone", None)
