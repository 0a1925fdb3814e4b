"""A program that is called skopeo and is no image proxy."""

from __future__ import annotations

import os

import pytest

from rechunk_podman.errors import ToolError
from rechunk_podman.programs.imageproxy import proxy

SAYS = 'exec python3 -c \'import os; os.write(0, b"""{}"""); os.read(0, 9)\''


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'unknown command' >&2; exit 1", "failed with status 1"),
        ("exit 0", "skopeo's image proxy does not answer"),
        (SAYS.format("no json"), "does not speak JSON"),
        (SAYS.format("[" * 20000), "does not speak JSON"),
        (SAYS.format('{"success":true,"value":"9.0"}'), "speaks version '9.0'"),
        (SAYS.format('{"success":true,"value":"0.2.3","pipeid":"3"}'), "no number of a pipe"),
        (SAYS.format('{"success":true,"value":"0.2.3","pipeid":{}}'), "no number of a pipe"),
        (SAYS.format('{"success":true,"value":"0.2.3","pipeid":1e999}'), "no number of a pipe"),
        (SAYS.format('{"success":true,"value":"0.2.3","pipeid":true}'), "no number of a pipe"),
    ],
)
def test_a_proxy_that_is_none(tmp_path, script, message):
    """Scripts: no skopeo at hand behaves so."""
    path = tmp_path / "skopeo"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with pytest.raises(ToolError) as caught, proxy(env=env):
        pytest.fail("it is no proxy")
    assert message in str(caught.value)
