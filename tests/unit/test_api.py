"""The public interface: a script that builds, inspects and compares images, and a cheap import."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import rechunk_podman
from rechunk_podman import BuildOptions, Compression, UsageError
from rechunk_podman.oci.validate.image import validate

HEAVY = ("numpy", "typer", "rich", "requests", "podman", "jinja2", "dataclasses")


@pytest.fixture
def rootfs(tmp_path):
    top = tmp_path / "root"
    for name in ("opt/tool", "srv/site", "usr/share/app"):
        (top / name).mkdir(parents=True)
        (top / name / "data").write_bytes(name.encode() * 500)
    return top


def python(*arguments):
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_script_builds_inspects_and_compares(rootfs, tmp_path, repository):
    found = python(repository / "tests/support/api_script.py", rootfs, tmp_path)
    first, second = found["digests"]
    assert first != second == found["inspected"]
    assert "unclaimed/opt/tool" in found["components"]
    assert found["changed"] == ["unclaimed/opt/tool"]
    assert found["layers"] == 1
    assert 0 < found["downloaded"] < found["size"]
    assert "absent" in found["problem"]
    for name in ("one", "two"):
        assert validate(tmp_path / name, strict=True).problems == []


def test_the_import_is_cheap():
    code = f"import rechunk_podman, sys, json; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    assert python("-c", code) == []


def test_the_functions_stay_functions_after_every_import():
    code = (
        "import json, pkgutil, rechunk_podman, types\n"
        "for module in pkgutil.walk_packages(rechunk_podman.__path__, 'rechunk_podman.'):\n"
        "    if not module.name.endswith('__main__'): __import__(module.name)\n"
        "names = ('build', 'split', 'inspect', 'diff')\n"
        "functions = [isinstance(getattr(rechunk_podman, name), types.FunctionType) for name in names]\n"
        "print(json.dumps([*functions, type(rechunk_podman) is types.ModuleType]))\n"
    )
    assert python("-c", code) == [True] * 5


def test_the_functions_stay_functions(rootfs, tmp_path):
    """Subpackages of the same names are imported while they work."""
    for output in (f"oci:{tmp_path}/one", f"oci:{tmp_path}/two"):
        image = rechunk_podman.build(rootfs, output)
        assert rechunk_podman.inspect(output).record.digest == image.manifest_descriptor.digest
    from rechunk_podman import build, split
    from rechunk_podman.build import pipeline
    from rechunk_podman.split import request

    assert callable(build)
    assert callable(split)
    assert pipeline.__name__ == "rechunk_podman.build.pipeline"
    assert request.__name__ == "rechunk_podman.split.request"


def test_results_are_printed_in_a_few_lines(rootfs, tmp_path):
    image = rechunk_podman.build(rootfs, f"oci:{tmp_path}/one")
    facts = rechunk_podman.inspect(f"oci:{tmp_path}/one")
    assert image.manifest_descriptor.digest in repr(image)
    assert image.manifest_descriptor.digest in repr(facts)
    assert len(repr(image)) < 1000
    assert len(repr(facts)) < 1000


def test_every_public_name_is_there_and_documented(repository):
    page = (repository / "docs/python-api.md").read_text()
    for name in rechunk_podman.__all__:
        assert getattr(rechunk_podman, name) is not None
        assert f"`{name}" in page or name == "__version__", name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        rechunk_podman.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "field",
    [
        {"format": "docker"},
        {"keep_mtime": "/etc"},
        {"labels": "app=shop"},
        {"labels": ("app=shop", 1)},
        {"max_layers": "64"},
        {"max_layers": None},
        {"threads": True},
        {"compression": "zstd"},
        {"arch": b"amd64"},
    ],
)
def test_an_option_of_another_type_is_refused(field):
    """A text in place of a tuple would be read letter by letter, a format in text be none."""
    (name,) = field
    with pytest.raises(UsageError, match=f"{name} is of the wrong type"):
        BuildOptions(**field)


def test_a_list_may_stand_for_a_tuple(rootfs, tmp_path):
    rechunk_podman.build(rootfs, f"oci:{tmp_path}/image", BuildOptions(labels=["app=shop"]))
    labels = rechunk_podman.inspect(f"oci:{tmp_path}/image").record.config.labels
    assert labels["app"] == "shop"


def test_a_name_behind_the_path_and_compression(rootfs, tmp_path):
    options = BuildOptions(compression=Compression.parse("zstd"))
    rechunk_podman.build(str(rootfs), f"oci:{tmp_path}/image:localhost/app:2", options)
    facts = rechunk_podman.inspect(f"oci:{tmp_path}/image:localhost/app:2")
    assert {layer.compressed for layer in facts.layers} == {True}
    with pytest.raises(UsageError, match="two names for the image"):
        rechunk_podman.build(rootfs, f"oci:{tmp_path}/image:one", BuildOptions(tag="two"))
