"""Packages of Composer: installed.json of both forms, and versions."""

from __future__ import annotations

import json
import subprocess
from functools import cmp_to_key

from images import applications
from rechunk_podman.changelog.installed import of_root
from rechunk_podman.packages.php.version import compare
from rechunk_podman.rootfs.root import Root
from support.assigning import assigned, make
from support.moments import changed, unclaimed
from support.needs import require

VENDOR = "srv/www/vendor"
RECORDS = [
    {"name": "monolog/monolog", "version": "2.9.1", "install-path": "../monolog/monolog", "bin": ["bin/log"]},
    {"name": "psr/log", "version": "3.0.0", "install-path": "../psr/log"},
    {"name": "meta/package", "version": "1.0.0", "install-path": None},
    {"name": "the/project", "version": "1.0.0", "install-path": "../../"},
]
FILES = {f"{VENDOR}/monolog/monolog/src/x.php": "x", f"{VENDOR}/psr/log/x.php": "x", f"{VENDOR}/bin/log": "x"}
FILES |= {
    f"{VENDOR}/composer/autoload_static.php": "x",
    f"{VENDOR}/autoload.php": "x",
    "srv/www/index.php": "x",
}


def test_a_package_is_a_component(tmp_path):
    make(tmp_path, {**FILES, f"{VENDOR}/composer/installed.json": json.dumps({"packages": RECORDS})})
    result = assigned(tmp_path)
    assert result.paths["php/monolog/monolog"] == [f"{VENDOR}/bin/log", f"{VENDOR}/monolog/monolog/src/x.php"]
    assert result["php/psr/log"].version == "3.0.0"
    assert len(result.paths["database/php"]) == 2
    assert unclaimed(result) == ["srv/www/index.php", f"{VENDOR}/autoload.php"]
    with Root(tmp_path) as root:
        assert of_root(root).binary["psr/log"].text == "3.0.0"


def test_the_list_of_composer_1(tmp_path):
    records = [{"name": "psr/log", "version": "1.0.0"}]
    make(tmp_path, {**FILES, f"{VENDOR}/composer/installed.json": json.dumps(records)})
    assert assigned(tmp_path).paths["php/psr/log"] == [f"{VENDOR}/psr/log/x.php"]


def test_broken_records_cost_themselves(tmp_path, caplog):
    paths = ["../../../../../..", "/etc", "\ud800", 3]
    records = [{"name": f"odd/{n}", "version": "1", "install-path": path} for n, path in enumerate(paths)]
    records += [{"version": "1"}, 3, {"name": "\ud800"}, {"name": "a b"}]
    make(tmp_path, {**FILES, f"{VENDOR}/composer/installed.json": json.dumps([*records, RECORDS[1]])})
    for name, text in {"a": "{}", "b": "[" * 100_000, "c": '{"packages": {}}', "d": "["}.items():
        make(tmp_path, {f"srv/{name}/composer/installed.json": text})
    result = assigned(tmp_path)
    assert result.owner[f"{VENDOR}/psr/log/x.php"] == "php/psr/log"
    assert {name for name in result.components if name.startswith("php/")} == {"php/psr/log"}
    for name in "abcd":
        assert f"/srv/{name}/composer/installed.json" in caplog.text
    assert "package 5 is left out" in caplog.text


VERSIONS = ["dev-main", "1.0.0-dev", "1.0.0-alpha1", "v1.0.0-beta", "1.0.0-beta2", "1.0.0-RC1", "1.0.0"]
VERSIONS += ["1.0.0-p1", "1.0.1", "1.9", "1.10.0.0", "2"]


def test_versions():
    assert sorted(sorted(VERSIONS, key=lambda text: text[::-1]), key=cmp_to_key(compare)) == VERSIONS
    assert compare("v1.0", "1.0.0.0") == compare("1.0-stable", "1.0") == 0


def test_composer_orders_versions_alike():
    require("composer", "php")
    script = """require '/usr/share/php/Composer/Semver/autoload.php';
    echo implode(' ', Composer\\Semver\\Semver::sort(array_slice($argv, 1)));"""
    command = ["php", "-r", script, "--", *VERSIONS[:0:-1]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == VERSIONS[1:]


def test_a_real_update_by_composer():
    """Packages that are made here, installed by composer."""
    require("composer")
    names, old, _ = changed(applications.composer)
    assert names == {"php/own/hammer", "database/php", "unclaimed/srv/www"}
    assert old["php/own/saw"].version == "2.0.0"
