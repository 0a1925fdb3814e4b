"""A Flatpak installation that flatpak itself makes, from a repository of our own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

TOP = "var/lib/flatpak"
RUNTIME = "runtime/org.example.Platform/x86_64/1"
DESKTOP = "[Desktop Entry]\nName=x\nType=Application\nExec=run\n"


class Flatpak:
    """An installation with a runtime and two applications from a repository of our own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        (self.root / "var/lib").mkdir(parents=True)
        self.env = {
            **os.environ,
            "FLATPAK_USER_DIR": str(self.root / TOP),
            "HOME": str(folder / "home"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_DATA_HOME": str(folder / "data"),
            "GIO_USE_VFS": "local",
        }
        platform = self._tree("platform", {"files/none": "", "usr/lib/libshared.so": "s" * 200_000})
        about = "[Runtime]\nname=org.example.Platform\nruntime={0}\nsdk={0}\n"
        (platform / "metadata").write_text(about.format(RUNTIME.partition("/")[2]))
        self._run("build-export", "-r", str(folder / "repo"), str(platform), "1")
        for name in ("One", "Two"):
            self.export(name, "1")
        self._run("--user", "remote-add", "--no-gpg-verify", "local", str(folder / "repo"))
        applications = [f"org.example.{name}//stable" for name in ("One", "Two")]
        self._run("--user", "install", "-y", "local", "org.example.Platform//1", *applications)

    def _tree(self, name: str, files: dict[str, str]) -> Path:
        for path, content in files.items():
            file = self.folder / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        return self.folder / name

    def _run(self, *arguments: str) -> None:
        command = ["flatpak", *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr

    def export(self, name: str, version: str) -> None:
        """Put a version of an application into the repository."""
        files = {
            "files/bin/run": f"{name} {version}",
            "files/common": "c" * 100_000,
            "files/libshared.so": "s" * 200_000,
            f"export/share/applications/org.example.{name}.desktop": DESKTOP,
        }
        tree = self._tree(name, files)
        about = f"[Application]\nname=org.example.{name}\nruntime={RUNTIME.partition('/')[2]}\ncommand=run\n"
        (tree / "metadata").write_text(about)
        self._run("build-export", str(self.folder / "repo"), str(tree), "stable")

    def update(self, name: str) -> None:
        """Install what the repository has of an application."""
        self._run("--user", "update", "-y", f"org.example.{name}//stable")
