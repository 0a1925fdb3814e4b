"""Credentials from authentication files, and configuration that only skopeo understands."""

import json

import pytest

from rechunk_podman.registry.access import Registry
from rechunk_podman.registry.configured import require_direct
from rechunk_podman.registry.credentials import OnlySkopeoError, credentials, find


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["quay.io/team/app", "quay.io/team", "quay.io"], "quay.io/team/app"),
        (["quay.io/team", "quay.io"], "quay.io/team"),
        (["quay.io", "https://quay.io"], "quay.io"),
        (["https://quay.io/v1/"], "https://quay.io/v1/"),
        (["quay.io/team/application", "ghcr.io"], None),
    ],
)
def test_the_longest_key_wins(keys, expected):
    document = {"auths": {key: {"auth": f"for {key}"} for key in keys}}
    assert find(document, "quay.io/team/app") == (expected and f"for {expected}")


def test_dockers_name_of_its_hub():
    assert find({"auths": {"https://index.docker.io/v1/": {"auth": "x"}}}, "docker.io/library/debian") == "x"


@pytest.mark.parametrize(
    "document",
    [
        {"credsStore": "desktop"},
        {"credHelpers": {"quay.io": "ecr-login"}},
        {"auths": {"quay.io": {"auth": "x", "identitytoken": "y"}}},
        {"auths": ["quay.io"]},
        [],
    ],
)
def test_what_only_skopeo_can_use(document):
    with pytest.raises(OnlySkopeoError):
        find(document, "quay.io/team/app")


def test_the_files_of_a_user(tmp_path):
    runtime, home = tmp_path / "run", tmp_path / "home"
    env = {"XDG_RUNTIME_DIR": str(runtime), "HOME": str(home)}
    registry = Registry(env=env)
    assert credentials("quay.io/app", registry) is None
    for path, word in ((home / ".docker/config.json", "last"), (runtime / "containers/auth.json", "first")):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"auths": {"quay.io": {"auth": word}}}))
        assert credentials("quay.io/app", registry) == word
    chosen = tmp_path / "auth.json"
    chosen.write_text(json.dumps({"auths": {"quay.io": {"auth": "chosen"}}}))
    assert credentials("quay.io/app", Registry(env={**env, "REGISTRY_AUTH_FILE": str(chosen)})) == "chosen"
    assert credentials("quay.io/app", Registry(env=env, authfile=str(chosen))) == "chosen"
    chosen.write_text("{")
    with pytest.raises(OnlySkopeoError):
        credentials("quay.io/app", Registry(env=env, authfile=str(chosen)))


@pytest.mark.parametrize(
    ("text", "direct"),
    [
        ('unqualified-search-registries = ["docker.io"]\n# [[registry]]\n', True),
        ('[registries.search]\nregistries = ["docker.io"]\n', True),
        ('[[registry]]\nlocation = "quay.io"\n', False),
        ('[registries.insecure]\nregistries = ["quay.io"]\n', False),
    ],
)
def test_rules_for_registries(tmp_path, text, direct):
    path = tmp_path / "registries.conf"
    path.write_text(text)
    registry = Registry(env={"CONTAINERS_REGISTRIES_CONF": str(path)})
    if direct:
        require_direct(registry)
    else:
        with pytest.raises(OnlySkopeoError):
            require_direct(registry)
