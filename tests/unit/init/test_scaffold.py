"""init: what is asked, what becomes of files that are there, and every template under its linters."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import yaml

from rechunk_podman.errors import RechunkError, UsageError
from rechunk_podman.init import questions, repository
from rechunk_podman.init import state as states
from rechunk_podman.init import templates as rendering
from rechunk_podman.init.state import Action, State
from rechunk_podman.split.containerfile import templates
from support import linters, workflow

FILES = {
    "containerfile": {"Containerfile", "build.sh"},
    "github": {"Containerfile", "Justfile", ".github/workflows/build.yml"},
    "just": {"Containerfile", "Justfile"},
    "gitlab": {"Containerfile", "rechunk.sh", ".gitlab-ci.yml"},
    "forgejo": {"Containerfile", "rechunk.sh", ".forgejo/workflows/build.yml"},
    "tekton": {"tekton/rechunk.yaml"},
}
ANSWERS = {
    "image": "acme/desktop",
    "base": "registry.example:5000/base/os:40@sha256:" + "ab" * 32,
    "registry": "ghcr.io/acme",
    "tag": "40",
}
VARIANTS = [
    *({"kind": k, "layers": x} for k, x in (("bootc", "bootc"), ("app", "docker"), ("app", "64"))),
]


def variants(template):
    for one in VARIANTS:
        extra = {
            "github": [
                {"signing": signing, "schedule": schedule}
                for signing, schedule in itertools.product(
                    ("keyless", "key", "none"), ("weekly", "monthly", "5 4 * * MON-FRI")
                )
            ],
            "containerfile": [{"buildah": "any"}, {"buildah": "1.44"}],
            "just": [{}],
            "gitlab": [{}],
            "forgejo": [{"schedule": "weekly"}],
            "tekton": [{}],
        }[template]
        for other in extra:
            yield {**ANSWERS, **one, **other}


def render(template, answers, version="1.2.3"):
    return rendering.render(template, answers, version=version, source=templates())


def answers_of(template, **given):
    found = {}
    for question in questions.questions(template):
        fallback = questions.default(question.name, found, folder="My Desktop", owner="Acme")
        found[question.name] = given.get(question.name, fallback)
    return found


@pytest.mark.parametrize("template", FILES)
def test_rendered_files_pass_their_linters(template, tmp_path):
    """Of every set of answers; each linter is started once, on all of them."""
    workflows, pipelines, scripts, justfiles = set(), set(), {}, set()
    for number, answers in enumerate(variants(template)):
        rendered = render(template, answers)
        assert set(rendered) == FILES[template]
        for path, text in rendered.items():
            assert text.endswith("\n"), path
            assert not re.search(r"[ \t]$|\n\n\n|\n\n\\Z", text, re.MULTILINE), path
            assert not re.search(r"\[\[|\[%|\[#", text), path
            assert max(map(len, text.splitlines())) <= 120, path
            if path.startswith((".gitlab", "tekton")):
                pipelines.add(tmp_path / f"{number}{Path(path).name}")
                (tmp_path / f"{number}{Path(path).name}").write_text(text)
            elif path.endswith(".yml"):
                # The labels of Forgejo's runners are its owner's.
                text = re.sub(r"(runner: |runs-on: )docker(?:-arm64)?\b", r"\1ubuntu-24.04", text)
                workflows.add(tmp_path / f"{number}.yml")
                (tmp_path / f"{number}.yml").write_text(text)
                for step in yaml.safe_load(text)["jobs"]["build"]["steps"]:
                    if "run" in step:
                        assert "${{" not in step["run"], "an expression in a script would be code"
                        scripts["#!/bin/bash\n" + step["run"]] = None
            elif path.endswith(".sh"):
                scripts[text] = None
            elif path == "Justfile":
                justfiles.add(text)
    for number, script in enumerate(scripts):
        (tmp_path / f"{number}.sh").write_text(script)
    if scripts:
        linters.check("shellcheck", *sorted(tmp_path.glob("*.sh")))
    if workflows:
        linters.actionlint(*sorted(workflows))
        linters.check("yamllint", "--strict", "-d", linters.YAML_RULES, *sorted(workflows))
        linters.check("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *sorted(workflows))
    if pipelines:
        linters.check("yamllint", "--strict", "-d", linters.YAML_RULES, *sorted(pipelines))
    if template == "gitlab":
        linters.check("check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", *sorted(pipelines))
    for text in justfiles:
        (tmp_path / "Justfile").write_text(text)
        assert "chunk-like-published " in linters.check("just", "--justfile", tmp_path / "Justfile", "--list")


def test_actionlint_would_find_a_fault(tmp_path):
    """It runs on every rendered workflow above: what it says of one that is wrong."""
    text = render("github", answers_of("github"))[".github/workflows/build.yml"]
    (tmp_path / "build.yml").write_text(text.replace("github.actor", "github.actress"))
    with pytest.raises(AssertionError, match="actress"):
        linters.actionlint(tmp_path / "build.yml")


def test_just_understands_its_own_shell(tmp_path):
    """The commands that just would run are valid shell."""
    file = tmp_path / "Justfile"
    file.write_text(render("just", answers_of("just"))["Justfile"])
    for recipe in (
        "build",
        "lint",
        "chunk",
        "chunk-like-published",
        "verify",
        "inspect",
        "diff",
        "shell",
        "clean",
    ):
        dry = linters.run_both("just", "--justfile", file, "--dry-run", recipe)
        linters.check("shellcheck", "--shell=sh", "-", text=dry)


def test_workflow_keeps_its_promises():
    """The order of the steps, what a pull request gets, permissions, pins."""
    document = yaml.safe_load(render("github", answers_of("github"))[".github/workflows/build.yml"])
    steps = document["jobs"]["build"]["steps"]
    names = [step["name"] for step in steps]
    order = [
        *("Free disk space", "Build", "Validate", "SBOM", "Reclaim space", "Find the previous image"),
        *("Rechunk and push", "Sign", "Smoke test", "Promote"),
    ]
    assert [name for name in names if name in order] == order
    for name in ("Free disk space", "Reclaim space"):  # another machine's files, containers and images stay
        assert steps[names.index(name)]["if"] == "runner.environment == 'github-hosted'"
    destructive = [step["name"] for step in steps if re.search(r"rm -rf|rm --all|prune", step.get("run", ""))]
    assert destructive == ["Free disk space", "Reclaim space"]
    remembered = steps[names.index("Remember pushes")]["with"]["path"].replace(
        "${{ runner.temp }}", "$RUNNER_TEMP"
    )
    assert f'--state "{remembered}/' in steps[names.index("Rechunk and push")]["run"]
    for step in steps[names.index("Log in") :]:
        assert step["if"] == "env.PUBLISH == 'true'"
    assert document["permissions"] == {}
    assert document["jobs"]["build"]["permissions"] == {
        "contents": "read",
        "packages": "write",
        "id-token": "write",
    }
    assert document["concurrency"]["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"
    assert [entry["cron"] for entry in document["on"]["schedule"]] == ["17 5 * * 1"]
    for step in steps:
        if "uses" in step:
            assert re.fullmatch(r"[a-z/-]+@[0-9a-f]{40}", step["uses"])
    signing = next(step for step in steps if step["name"] == "Sign")["run"]
    assert '"$IMAGE@$DIGEST"' in signing
    assert "$TAG" not in signing
    assert "v1.2.3" in document["env"]["RECHUNK_PODMAN"]


@pytest.mark.parametrize(
    ("github", "inputs", "publishes", "afresh"),
    [
        ({"event_name": "push", "ref": "refs/heads/main"}, {}, True, False),
        ({"event_name": "push", "ref": "refs/heads/other"}, {}, False, False),
        ({"event_name": "pull_request", "ref": "refs/heads/main"}, {}, False, False),
        ({"event_name": "schedule", "schedule": "17 5 * * 1"}, {}, True, False),
        ({"event_name": "workflow_dispatch", "ref": "refs/heads/main"}, {"fresh": True}, True, True),
    ],
)
def test_who_publishes_and_plans_afresh(github, inputs, publishes, afresh):
    """Pull requests build and are checked; nothing of them is pushed."""
    document = yaml.safe_load(render("github", answers_of("github"))[".github/workflows/build.yml"])
    event = {"schedule": github.pop("schedule", None), "repository": {"default_branch": "main"}}
    contexts = {"github": {**github, "event": event}, "inputs": inputs}
    contexts["env"] = {
        name: workflow.fill(workflow.as_yaml_text(value), contexts) for name, value in document["env"].items()
    }
    assert contexts["env"]["PLAN_AFRESH"] == ("true" if afresh else "false")
    ran = {
        step["name"]
        for step in document["jobs"]["build"]["steps"]
        if workflow.evaluate(step.get("if", "true"), contexts)
    }
    assert {"Build", "Validate", "SBOM"} <= ran
    assert bool({"Log in", "Rechunk and push", "Sign", "Smoke test", "Promote"} & ran) == publishes


@pytest.mark.parametrize("schedule", [*questions.SCHEDULES, "5 4 * * 1"])
def test_no_schedule_plans_afresh(schedule):
    """A fresh plan costs a download and gains nothing that is measured: only somebody's hand asks for one."""
    text = render("github", answers_of("github", schedule=schedule))[".github/workflows/build.yml"]
    document = yaml.safe_load(text)
    assert [entry["cron"] for entry in document["on"]["schedule"]] == [
        questions.SCHEDULES.get(schedule, schedule)
    ]
    for inputs, afresh in (({}, "false"), ({"fresh": True}, "true")):
        contexts = {"github": {"event": {"schedule": "17 5 1 * *"}}, "inputs": inputs}
        assert workflow.fill(document["env"]["PLAN_AFRESH"], contexts) == afresh


@pytest.mark.parametrize(
    ("registry", "secrets", "packages"),
    [
        ("ghcr.io/acme", {"GITHUB_TOKEN"}, "write"),
        ("quay.io/acme", {"REGISTRY_USERNAME", "REGISTRY_PASSWORD"}, None),
        ("ghcr.io.example:5000", {"REGISTRY_USERNAME", "REGISTRY_PASSWORD"}, None),
    ],
)
def test_who_logs_in(registry, secrets, packages):
    """The workflow's own token is good for ghcr.io alone."""
    text = render("github", answers_of("github", registry=registry))[".github/workflows/build.yml"]
    assert set(re.findall(r"secrets\.(\w+)", text)) == secrets
    assert yaml.safe_load(text)["jobs"]["build"]["permissions"].get("packages") == packages


def test_signing_is_an_answer():
    def text(signing):
        return render("github", answers_of("github", signing=signing))[".github/workflows/build.yml"]

    assert "cosign" not in text("none")
    assert "id-token" not in text("none")
    assert "secrets.COSIGN_PRIVATE_KEY" in text("key")
    assert "id-token" not in text("key")
    assert "COSIGN_PRIVATE_KEY" not in text("keyless")


def test_defaults_follow_the_repository_and_the_kind():
    assert answers_of("github") == {
        "image": "my-desktop",
        "kind": "bootc",
        "base": "quay.io/fedora/fedora-bootc:43",
        "registry": "ghcr.io/acme",
        "tag": "latest",
        "layers": "bootc",
        "signing": "keyless",
        "schedule": "weekly",
    }
    app_answers = answers_of("just", kind="app")
    assert (app_answers["layers"], app_answers["base"].partition(":")[0]) == (
        "docker",
        "docker.io/library/debian",
    )
    assert questions.default("image", {}, folder="---", owner=None) == "image"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image", "Desktop"),
        ("image", "a//b"),
        ("image", "a b"),
        ("image", "$(id)"),
        ("base", "a:b:c"),
        ("base", 'x"\nRUN true'),
        ("base", "x@sha256:12"),
        ("registry", "https://ghcr.io"),
        ("registry", "ghcr.io/Acme"),
        ("tag", "-x"),
        ("tag", "a'b"),
        ("layers", "0"),
        ("layers", "501"),
        ("layers", "many"),
        ("signing", "pgp"),
        ("schedule", "often"),
        ("schedule", '* * * * *"'),
        ("kind", "vm"),
        ("image", "a\n"),
    ],
)
def test_answers_that_are_none(name, value):
    with pytest.raises(UsageError, match=name):
        render("github", {**answers_of("github"), name: value})


def test_missing_answer_and_template():
    with pytest.raises(UsageError, match="no answer to schedule"):
        render("github", {k: v for k, v in answers_of("github").items() if k != "schedule"})
    with pytest.raises(UsageError, match="no template"):
        questions.questions("travis")


def decide(rendered, found, state=None, force=False):
    everything = dict.fromkeys([*rendered, *(state.files if state else ())])
    steps = states.decide(rendered, {**everything, **found}, state, force=force)
    return {step.path: (step.action, step.waiting) for step in steps}


def remembering(**files):
    return State("just", "1", {}, {path: states.digest(text.encode()) for path, text in files.items()})


@pytest.mark.parametrize(
    ("there", "known", "new", "force", "expected"),
    [
        (None, None, "b", False, (Action.CREATE, False)),
        ("b", None, "b", False, (Action.SAME, False)),
        ("x", None, "b", False, (Action.FOREIGN, False)),
        ("x", None, "b", True, (Action.OVERWRITE, False)),
        ("a", "a", "b", False, (Action.UPDATE, False)),
        ("a", "a", "a", False, (Action.SAME, False)),
        ("x", "a", "b", False, (Action.EDITED, True)),
        ("x", "a", "a", False, (Action.EDITED, False)),
        ("x", "a", "b", True, (Action.OVERWRITE, False)),
        (None, "a", "b", False, (Action.DELETED, True)),
        (None, "a", "a", False, (Action.DELETED, False)),
        (None, "a", "b", True, (Action.CREATE, False)),
        ("b", "a", "b", False, (Action.SAME, False)),
    ],
)
def test_what_becomes_of_a_file(there, known, new, force, expected):
    state = None if known is None else remembering(f=known)
    found = {"f": None if there is None else there.encode()}
    assert decide({"f": new}, found, state, force) == {"f": expected}


def test_files_that_left_the_template():
    state = remembering(gone="a", deleted="a")
    assert decide({}, {"gone": b"a"}, state) == {"gone": (Action.STALE, False)}


def test_state_survives_writing():
    state = State("github", "1.0", {"image": "x"}, {"b": "sha256:1", "a": "sha256:2"})
    assert State.parse(state.text()) == state
    for text in (
        "",
        "[]",
        "{}",
        '{"format": 1}',
        '{"format": 1, "template": 1, "version": "", "answers": 3}',
    ):
        with pytest.raises(RechunkError, match="damaged"):
            State.parse(text)
    with pytest.raises(RechunkError, match="format 2"):
        State.parse(state.text().replace('"format": 1', '"format": 2'))


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", ""])
def test_paths_stay_inside(path, tmp_path):
    with pytest.raises(UsageError):
        repository.read(tmp_path, [path])


def test_symlinks_are_not_followed(tmp_path):
    repo, outside = tmp_path / "repo", tmp_path / "outside"
    repo.mkdir()
    outside.mkdir()
    (repo / ".github").symlink_to(outside)
    (repo / "Justfile").symlink_to(outside / "file")
    for path in (".github/workflows/build.yml", "Justfile"):
        with pytest.raises(UsageError, match="not what it should be"):
            repository.write(repo, path, b"x")
    assert list(outside.iterdir()) == []
