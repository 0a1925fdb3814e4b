"""The names of parts as people see them."""

from __future__ import annotations

from rechunk_podman.explain.held import Held


def test_numbered_parts_of_a_directory_are_named_once() -> None:
    parts = ("/usr/lib/x #4433-11", "/usr/lib/x #4433-13", "/usr/lib/x #7 (programs)", "/usr/lib/y #1", "/z")
    assert Held("dpkg/x", parts, 9).names == "/usr/lib/x, /usr/lib/x (programs) and 6 more"
    assert Held("dpkg/x", parts[:2], 2).text == "dpkg/x: /usr/lib/x"
    assert (
        Held("dpkg/x", ("/usr/lib/C #sharp", "/usr/lib/C #1x")).names == "/usr/lib/C #sharp, /usr/lib/C #1x"
    )
