"""Where workflows and pipelines are executed: a storage, a registry with a password, what a runner brings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import tools
from support.needs import require

USER, PASSWORD = "user", "sesame-street"
HTPASSWD = "user:$2b$04$VRiReuuHpj/YU0eELApqpu4.vmX..uUAn8/LKPld4jKFCd7YKejP6\n"

#: In a mount namespace with nothing but cgroup 2: the runtime refuses a machine that mixes versions.
ONE_CGROUP = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 none /sys/fs/cgroup; exec "$@"',
    "sh",
)

COSIGN = """\
#!/bin/sh
# Says what it would sign, to the file beside it; the real one asks Sigstore's services.
printf '%s\\n' "$*" >> "$(dirname "$0")/signed"
"""


@dataclass(frozen=True)
class Ground:
    """A storage of its own, a registry with a password, and a configuration that knows both."""

    storage: tools.Storage
    registry: tools.Registry
    home: Path

    @property
    def machine(self) -> dict[str, str]:
        return {**self.storage.env, "HOME": str(self.home), "TMPDIR": str(self.storage.folder)}

    def raw(self, reference: str, *options: str) -> bytes:
        """A manifest, or with --config the config, of an image in the registry."""
        skopeo = ("skopeo", "inspect", "--raw", "--tls-verify=false", f"--creds={USER}:{PASSWORD}")
        return tools.run(*skopeo, *options, f"docker://{self.registry.address}/{reference}").out.encode()

    def json(self, reference: str, *options: str) -> Any:
        return json.loads(self.raw(reference, *options))

    def tags(self, repository: str) -> list[str]:
        skopeo = ("skopeo", "list-tags", "--tls-verify=false", f"--creds={USER}:{PASSWORD}")
        found = json.loads(tools.run(*skopeo, f"docker://{self.registry.address}/{repository}").out)["Tags"]
        return sorted(found)

    def uploads(self, since: int = 0) -> int:
        """Return the number of blobs that the registry received after this line of its log."""
        lines = self.registry.log.read_text().splitlines()[since:]
        return sum('"PUT /v2/' in line and "/blobs/uploads/" in line for line in lines)

    def inspect(self, reference: str) -> Any:
        """The document of `inspect --json`, of an image in the registry."""
        access = ("--tls-verify=false", f"--creds={USER}:{PASSWORD}")
        name = f"docker://{self.registry.address}/{reference}"
        return json.loads(self.storage.rechunk("inspect", name, *access, "--json").out)

    def log_lines(self) -> int:
        return len(self.registry.log.read_text().splitlines())


@contextmanager
def new_ground(folder: Path, storage_folder: Path, driver: str = "overlay") -> Iterator[Ground]:
    """Runs a registry, and makes a storage; both folders are new."""
    require("podman", "buildah", "skopeo", "docker-registry", "unshare", "git")
    (folder / "htpasswd").write_text(HTPASSWD)
    settings = f"auth:\n  htpasswd:\n    realm: here\n    path: {folder}/htpasswd\n"
    with (
        tools.private_storage(storage_folder, driver) as storage,
        tools.loopback_registry(folder / "registry", settings) as registry,
    ):
        home = folder / "home"
        containers = home / ".config/containers"
        containers.mkdir(parents=True)
        (containers / "registries.conf").write_text(
            f'[[registry]]\nlocation = "{registry.address}"\ninsecure = true\n'
        )
        (containers / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        yield Ground(storage, registry, home)


def contexts(sha: str, number: int, **github: Any) -> dict[str, Any]:
    return {
        "github": {
            "actor": USER,
            "event_name": "push",
            "ref": "refs/heads/main",
            "event": {"repository": {"default_branch": "main"}},
            "server_url": "https://github.example",
            "repository": "acme/desktop",
            "workflow": "Build",
            "sha": sha,
            "run_number": str(number),
            **github,
        },
        "secrets": {
            "REGISTRY_USERNAME": USER,
            "REGISTRY_PASSWORD": PASSWORD,
            "COSIGN_PRIVATE_KEY": "key",
            "COSIGN_PASSWORD": "",
        },
        "inputs": {},
        "runner": {"environment": "github-hosted"},
    }


def derived(folder: Path, template: str, **answers: str) -> Path:
    """A git repository with what init copies in, committed."""
    folder.mkdir()
    options = [f"--{name}={value}" for name, value in answers.items()]
    tools.run(*tools.RECHUNK, "init", folder, "--template", template, "--defaults", *options)
    containerfile = folder / "Containerfile"
    text = containerfile.read_text()
    assert "# COPY files/ /\n" in text
    containerfile.write_text(
        text.replace("# COPY files/ /\n", "COPY files/ /\nRUN test -s /opt/hello/message\n")
    )
    (folder / "files/opt/hello").mkdir(parents=True)
    (folder / "files/opt/hello/message").write_text("hello\n")
    git = ("git", "-C", folder, "-c", "user.name=A", "-c", "user.email=a@example.org")
    tools.run(*git, "init", "--quiet")
    tools.run(*git, "add", "--all")
    tools.run(*git, "commit", "--quiet", "--message=First")
    return folder
