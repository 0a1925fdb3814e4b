"""The owner of a file is a part of its fingerprint: only root can change it."""

from __future__ import annotations

import os

import pytest

from support.assigning import assigned, make
from support.needs import needs_root

pytestmark = needs_root


@pytest.mark.parametrize(
    ("path", "owner", "group"), [("other", 7, 0), ("other", 0, 7), ("link", 0, 7), ("link", 7, 0)]
)
def test_a_fingerprint_holds_the_owner(tmp_path, path, owner, group):
    make(tmp_path, {"opt/app/other": "y", "etc/conf": "z"})
    (tmp_path / "opt/app/link").symlink_to("other")
    before = assigned(tmp_path)
    os.chown(tmp_path / "opt/app" / path, owner, group, follow_symlinks=False)
    after = assigned(tmp_path)
    assert after["unclaimed/opt/app"].fingerprint != before["unclaimed/opt/app"].fingerprint
    assert after["unclaimed/etc"].fingerprint == before["unclaimed/etc"].fingerprint
