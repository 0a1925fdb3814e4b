"""The database of an rpm that writes its own format, ndb, as that of SUSE does; Debian's has it from 6 on."""

from __future__ import annotations

from pathlib import Path

from support.assigning import assigned
from support.machine import Machine

SPEC = """\
Name: tools
Version: 1.2
Release: 3
Summary: x
License: x
BuildArch: noarch
%description
x
%package -n saw
Summary: x
%description -n saw
x
%install
mkdir -p %{buildroot}/usr/bin
for name in tools saw; do echo "$name" > %{buildroot}/usr/bin/$name; done
%files
/usr/bin/tools
%files -n saw
/usr/bin/saw
"""
DATABASE = "/usr/lib/sysimage/rpm"


def test_what_rpm_wrote_is_read(machine: Machine) -> None:
    (machine.share / "tools.spec").write_text(SPEC)
    machine.run("rpmbuild", "-bb", "--define=_topdir /mnt/top", "tools.spec")
    packages = [f"/mnt/{path.relative_to(machine.share)}" for path in (machine.share / "top").rglob("*.rpm")]
    assert len(packages) == 2
    (machine.share / "root").mkdir()
    rpm = ("rpm", "--root=/mnt/root", f"--define=_dbpath {DATABASE}", "--define=_db_backend ndb")
    machine.run(*rpm, "--install", "--nosignature", "--nodeps", *packages)
    root = machine.share / "root"
    assert [path.name for path in Path(f"{root}{DATABASE}").glob("Packages*")] == ["Packages.db"]
    listed = machine.run(*rpm, "--query", "--all", "--queryformat=%{NAME} %{SOURCERPM}\\n").out
    assert sorted(listed.split("\n")) == ["", "saw tools-1.2-3.src.rpm", "tools tools-1.2-3.src.rpm"]
    found = assigned(root)
    assert {"usr/bin/saw", "usr/bin/tools"} <= set(found.paths["rpm/tools"])
    assert found["rpm/tools"].version == "1.2-3"
