"""Secrets and limits: images with the fault, and without. The secrets are made up."""

from __future__ import annotations

import json
import os

import pytest

from rechunk_podman.lint import run as registry
from rechunk_podman.lint.checks import Severity, Subject
from rechunk_podman.lint.subject import of_image
from rechunk_podman.model import Entry, Kind, Tree
from rechunk_podman.oci.read.image import open_image
from support.described import image, layer
from support.linting import found, labelled, make, results
from support.oci_material import Layout, make_tar, member

BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj" * 2
KEY = f"-----BEGIN {'PRIVATE'} KEY-----\n{BODY}\n-----END {'PRIVATE'} KEY-----\n"
TOKEN = "ghp_" + "a1B2" * 9


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("etc/ssh/ssh_host_ed25519_key", KEY.replace("PRIVATE", "OPENSSH PRIVATE")),
        ("root/.ssh/id_rsa", KEY.replace("PRIVATE", "RSA PRIVATE")),
        ("opt/app/server.pem", "text before\n" + KEY),
        ("root/.gnupg/private-keys-v1.d/0123.key", "(private-key"),
        ("opt/account.json", json.dumps({"type": "service_account", "private_key": KEY})),
    ],
)
def test_private_keys(tmp_path, path, content):
    if path.endswith(".json"):
        content = content.replace("\\n", "\n")
    (result,) = found(make(tmp_path, {path: content}), "private-keys")
    assert result.finding.paths == (path,)
    assert result.severity is Severity.ERROR
    assert BODY not in json.dumps(result.to_json())


def test_no_private_keys(tmp_path):
    make(
        tmp_path,
        {
            "etc/ssl/certs/ca.pem": f"-----BEGIN CERTIFICATE-----\n{BODY}\n-----END CERTIFICATE-----\n",
            "etc/ssh/ssh_host_rsa_key.pub": "ssh-rsa AAAA",
            "usr/lib/python3/ssl.py": 'HEADER = "-----BEGIN PRIVATE KEY-----"\n',
        },
    )
    assert found(tmp_path, "private-keys") == []


def test_keys_of_test_suites_are_notes(tmp_path):
    make(tmp_path, {"usr/lib/python3.11/test/keycert.pem": KEY})
    assert found(tmp_path, "private-keys")[0].severity is Severity.NOTE


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("root/.netrc", "machine x login y password z\n"),
        ("root/.docker/config.json", '{"auths": {"ghcr.io": {"auth": "dXNlcjpwYXNz"}}}'),
        ("run/containers/0/auth.json", '{"auths": {"quay.io": {"auth": "dXNlcjpwYXNz"}}}'),
        ("root/.aws/credentials", "[default]\naws_secret_access_key = abc\n"),
        ("root/.git-credentials", "https://user:pass@example.org\n"),
        ("root/.npmrc", "//registry.npmjs.org/:_authToken=abc\n"),
        ("home/u/.kube/config", "users:\n- user:\n    token: abc\n"),
        ("run/secrets/token", "abc"),
        (".netrc", "machine x login y password z\n"),
        ("auth.json", '{"auths": {"quay.io": {"auth": "dXNlcjpwYXNz"}}}'),
        ("srv/npmrc", "//registry.npmjs.org/:_authToken=abc\n"),
        ("root/.config/gcloud/legacy/a.json", "{}"),
        ("root/.azure/accessTokens.json", "[]"),
        ("root/.vault-token", "abc"),
        ("root/.terraform.d/credentials.tfrc.json", '{"credentials": {"it": {"token": "abc"}}}'),
        ("etc/app.conf", f"token = {TOKEN}\n"),
        ("opt/app/.env", "KEY=AKIA" + "Q" * 16 + "\n"),
    ],
)
def test_credentials(tmp_path, path, content):
    (result,) = found(make(tmp_path, {path: content}), "credentials")
    assert result.finding.paths == (path,)
    assert result.severity is Severity.ERROR


def test_no_credentials(tmp_path):
    make(
        tmp_path,
        {
            "root/.docker/config.json": '{"auths": {"ghcr.io": {}}, "credsStore": "pass"}',
            "root/.npmrc": "//registry.npmjs.org/:_authToken=${NPM_TOKEN}\n",
            "etc/npmrc": "prefix=/usr/local\n",
            "etc/example": "AKIAIOSFODNN7EXAMPLE\n",
            "etc/app.conf": "token = ghp_short\n",
        },
    )
    assert found(tmp_path, "credentials") == []


def test_hidden_secrets_come_in_the_order_of_layers(tmp_path, monkeypatch):
    """Several threads find them; those of a lower layer stand first."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    layout = Layout(tmp_path / "image")
    for number in range(9):
        password = (f"machine x login y password {number}\n" * (1 if number else 1000)).encode()
        paths = ("root/.netrc", f"d{number}/.netrc")
        layout.layer(make_tar([member(path, data=password) for path in paths]))
    with open_image(layout.finish()) as source:
        buried = of_image(source, name="x").buried
    assert [(one.layer, one.path) for one in buried] == [
        (number, path) for number in range(9) for path in ("root/.netrc", f"d{number}/.netrc")
    ]


def test_secrets_that_an_upper_layer_only_hides(tmp_path):
    layout = Layout(tmp_path / "image")
    layout.layer(make_tar([member("root/.netrc", data=b"machine x login y password z\n")]))
    layout.layer(make_tar([member("root/.wh..netrc")]))
    with open_image(layout.finish()) as source:
        subject = of_image(source, name="x")
    assert "root/.netrc" not in subject.tree
    (result,) = results(subject, "credentials")
    assert "in layer 1; an upper layer only hides it" in result.finding.message


def test_a_secret_in_an_image_is_told_once(tmp_path):
    layout = Layout(tmp_path / "image")
    layout.layer(make_tar([member("root/.netrc", data=b"machine x login y password z\n")]))
    with open_image(layout.finish()) as source:
        (result,) = results(of_image(source, name="x"), "credentials")
    assert result.finding.message == ".netrc with a password"


def test_secrets_in_the_config(tmp_path):
    make(tmp_path, {"x": ""})
    (result,) = found(tmp_path, "config-secrets", record=labelled(env=(f"A={TOKEN}",)))
    assert result.finding.message == "GitHub token in the variable A"
    assert result.severity is Severity.ERROR
    (result,) = found(tmp_path, "config-secrets", record=labelled(env=("DB_PASSWORD=hunter2",)))
    assert result.severity is Severity.WARNING
    harmless = labelled(env=("PATH=/usr/bin", "DB_PASSWORD_FILE=/run/secrets/db", "DB_PASSWORD="))
    assert found(tmp_path, "config-secrets", record=harmless) == []


def subject(record) -> Subject:
    root = Entry(Kind.DIRECTORY, 0o755, 0, 0, 0, 0, 0, 1, 1, None, None, ())
    return Subject("x", Tree(root, {}), {}, lambda path: None, record)


@pytest.mark.parametrize(
    ("count", "severities"),
    [(125, []), (126, [Severity.WARNING]), (129, [Severity.WARNING]), (501, [Severity.ERROR])],
)
def test_layer_count(count, severities):
    record = image(*(layer(extra=str(number)) for number in range(count)))
    assert [result.severity for result in results(subject(record), "layer-count")] == severities


@pytest.mark.parametrize(
    ("size", "blob", "severities"),
    [
        (10 * 10**9, "gzip", [Severity.WARNING]),
        (10 * 10**9 + 1, "gzip", [Severity.ERROR]),
        (10 * 10**9 + 1, "plain", [Severity.WARNING]),
        (10**9, "gzip", []),
    ],
)
def test_layer_size(size, blob, severities):
    found = results(subject(image(layer(size=size, blob=blob))), "layer-size")
    assert [result.severity for result in found] == severities


def test_label_size():
    assert results(subject(labelled(a="x" * 4095)), "label-size") == []
    (result,) = results(subject(labelled(a="x" * 4096)), "label-size")
    assert "4097 bytes" in result.finding.message
    assert result.severity is Severity.WARNING


def test_document_size():
    assert results(subject(labelled(a="x")), "document-size") == []
    assert results(subject(labelled(a="x" * 200_000)), "document-size")[0].severity is Severity.NOTE
    assert results(subject(labelled(a="x" * 5_000_000)), "document-size")[0].severity is Severity.ERROR


def test_every_check_has_a_name_of_its_own_and_says_why_and_what_to_do():
    checks = (*registry.CHECKS, *registry.UPDATE_CHECKS)
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    for check in checks:
        assert check.summary
        assert check.why.endswith(".")
        assert check.fix
