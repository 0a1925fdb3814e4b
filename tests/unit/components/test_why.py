"""Why a path is in its component: each source names its rule and the record that decided."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import xattr

from rechunk_podman.components.board import Rules
from rechunk_podman.components.group_file import parse
from rechunk_podman.components.why import Why, explain
from rechunk_podman.errors import UsageError
from rechunk_podman.explain.owners import owners
from rechunk_podman.rootfs.root import Root
from rechunk_podman.rootfs.scan import scan
from support.assigning import make

FILES = {
    "opt/marked/below/file": "1",
    "opt/mapped/file": "2",
    "opt/grouped/file": "3",
    "usr/lib/tool/run.py": "print()",
    "usr/lib/tool/__pycache__/run.cpython-311.pyc": "4",
    "usr/lib/modules/6.1.0/kernel/a.ko": "5",
    "srv/big": "6" * (1 << 20),
    "srv/small": "7",
    "var/lib/dpkg/status": "Package: tool\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n",
    "var/lib/dpkg/info/tool.list": "/usr/lib/tool/run.py\n",
}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    made = make(tmp_path / "root", FILES)
    os.link(made / "opt/mapped/file", made / "opt/zlink")
    xattr.setxattr(str(made / "opt/marked"), b"user.component", b"mine")
    (tmp_path / "map.tsv").write_text("# nothing\n/opt/grouped/other\tx\n/opt/mapped\tnamed\n")
    return made


def reason(top: Path, path: str) -> Why:
    groups = parse("groups:\n  g: {paths: [/opt/grouped*]}\n", "groups.yml").groups
    with Root(top) as root:
        return explain(root, scan(root), path, Rules((str(top.parent / "map.tsv"),), groups))


@pytest.mark.parametrize(
    ("path", "component", "records"),
    [
        ("/opt/marked/below/file", "xattr/mine", ["user.component of /opt/marked"]),
        ("/opt/mapped/file", "map/named", ["MAP", "record 3"]),
        ("/opt/grouped/file", "groups/g", ["groups.yml", "group g"]),
        ("/usr/lib/modules/6.1.0/kernel/a.ko", "kernel/modules", []),
        ("/usr/lib/tool/run.py", "dpkg/tool", ["dpkg", "tool", "1"]),
        ("/srv/big", "bigfiles/srv/big", []),
        ("/srv/small", "unclaimed/srv", []),
    ],
)
def test_the_source_and_its_record(top: Path, path: str, component: str, records: list[str]) -> None:
    found = reason(top, path)
    wanted = [str(top.parent / "map.tsv") if record == "MAP" else record for record in records]
    assert (found.component, list(found.records)) == (component, wanted)
    assert found.rule


def test_a_hard_link_and_byte_code_follow_another_path(top: Path) -> None:
    link = reason(top, "/opt/zlink")
    assert (link.component, link.follows) == ("map/named", ("opt/mapped/file",))
    compiled = reason(top, "/usr/lib/tool/__pycache__/run.cpython-311.pyc")
    assert (compiled.component, compiled.follows) == ("dpkg/tool", ("usr/lib/tool/run.py",))
    assert compiled.package == "dpkg/tool"


def test_no_component_and_no_path(top: Path) -> None:
    assert reason(top, "/opt").component == ""
    with pytest.raises(UsageError, match="there is no /nothing"):
        reason(top, "/nothing")
    with pytest.raises(UsageError, match="an empty text"):
        reason(top, " ")
    assert reason(top, "/").component == "filesystem/root"


def test_the_list_says_which_bytes_no_source_claims(top: Path) -> None:
    found = owners(str(top))
    by_id = {component.id: component for component in found.components}
    assert by_id["bigfiles/srv/big"].size == 1 << 20
    assert not by_id["bigfiles/srv/big"].is_claimed
    assert by_id["dpkg/tool"].files == 3
    assert found.unclaimed[0] == ("srv/big", 1 << 20)
    assert found.unclaimed_size == sum(size for _, size in found.unclaimed)
    # the hard link counts once
    assert found.size == sum(len(content) for content in FILES.values())
