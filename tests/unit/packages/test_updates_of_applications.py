"""Updates of real applications: what travels is the package that changed, and little else."""

from __future__ import annotations

import pytest

from images import applications
from images.cache import MissingTool
from support.needs import unavailable
from support.updates import update

UPDATED = {
    applications.pip: ("python/opt/venv/idna", "3.6", "3.7"),
    applications.uv: ("python/app/.venv/idna", "3.6", "3.7"),
    applications.npm: ("node/srv/app/ms", "2.1.2", "2.1.2 2.1.3"),
    applications.pnpm: ("node/srv/app/ms", "2.1.2", "2.1.2 2.1.3"),
    applications.yarn: ("node/srv/linked/ms", "2.1.2", "2.1.2 2.1.3"),
    applications.gem: ("ruby/hammer", "1.0.0", "1.1.0"),
    applications.composer: ("php/own/hammer", "1.0.0", "1.1.0"),
}
"""Builder -> a component of what is updated, its versions. Another package of npm needs the old one, too."""


@pytest.mark.parametrize("builder", UPDATED, ids=lambda builder: builder.__name__)
def test_an_update_is_the_package_that_changed(builder, tmp_path):
    try:
        folder = builder()
    except MissingTool as error:
        unavailable(f"missing: {error}")
    found = update(folder / applications.MOMENTS[0], folder / applications.MOMENTS[1], tmp_path)
    # directories above the files, and the ends of archives
    assert found.travelled <= found.size + 10_240 * len(found.components)
    name, old, new = UPDATED[builder]
    assert found.downloaded[name] == (old, new)
    assert found.versions[name] == new
    newest = {
        (before.split()[-1], now.split()[-1]) for before, now in found.changes.values() if before and now
    }
    assert (old.split()[-1], new.split()[-1]) in newest
