"""Count the bytes on the wire: a client that has the first release pulls the second from a registry."""

from __future__ import annotations

import json
from pathlib import Path

from support import pushing, tools
from support.pushing import Client

LDCONFIG = "unclaimed/var/cache/ldconfig"


def update(
    storage: tools.Storage, client: Client, repository: str, old: str, new: str
) -> tuple[dict[str, int], dict[str, object]]:
    """(what the client fetched for the second release, what `diff` says of the two)."""
    pushing.push(storage, old, "--push", f"docker://{repository}:1")
    first = client.pull(f"{repository}:1")
    assert len(first) > 10
    pushing.push(storage, new, "--push", f"docker://{repository}:2", "--previous", f"docker://{repository}:1")
    fetched = client.pull(f"{repository}:2")
    config = json.loads(pushing.document(f"{repository}:2"))["config"]["digest"]
    fetched.pop(config)
    told = storage.rechunk(
        "diff", "--json", "--tls-verify=false", f"docker://{repository}:1", f"docker://{repository}:2"
    )
    shown = json.loads(told.out)
    layers = [json.loads(pushing.document(f"{repository}:{tag}"))["layers"] for tag in (1, 2)]
    had = {layer["digest"] for layer in layers[0]}
    changed = {layer["digest"]: layer["size"] for layer in layers[1] if layer["digest"] not in had}
    assert fetched == changed
    assert shown["download"]["bytes"] == sum(changed.values())
    return fetched, shown


def test_an_update_of_debian(
    storage: tools.Storage,
    client: Client,
    registry: tools.Registry,
    debian_image: str,
    debian_updated_image: str,
) -> None:
    fetched, shown = update(
        storage, client, f"{registry.address}/wire/debian", debian_image, debian_updated_image
    )
    assert shown["components"]["changed"]  # type: ignore[index]
    assert sum(fetched.values()) < shown["new"]["size"] / 2  # type: ignore[index]


def test_an_update_of_rpms(
    storage: tools.Storage,
    client: Client,
    registry: tools.Registry,
    rpm_image: str,
    rpm_updated_image: str,
) -> None:
    fetched, shown = update(storage, client, f"{registry.address}/wire/rpm", rpm_image, rpm_updated_image)
    ids = {component["id"] for component in shown["components"]["changed"]}  # type: ignore[index]
    # ldconfig's cache lists the files with their times.
    assert {"database/rpm", "rpm/openssl"} <= ids <= {"database/rpm", "rpm/openssl", LDCONFIG}, ids
    assert sum(fetched.values()) < shown["new"]["size"] / 4  # type: ignore[index]


def test_edits_that_concern_no_package(
    storage: tools.Storage, client: Client, registry: tools.Registry, debian_image: str, tmp_path: Path
) -> None:
    """A file in /etc, a `sed -i` in /usr/lib, an unclaimed file copied in anew with another time."""
    old, new = "localhost/wire-old:1", "localhost/wire-new:1"
    app = "printf '%s' a-file-of-ours >/opt/app/data; touch -d @{time} /opt/app/data /opt/app /opt"
    containerfile = tmp_path / "Containerfile"
    for name, commands in (
        (old, "mkdir -p /opt/app; " + app.format(time=1_600_000_000)),
        (
            new,
            "mkdir -p /opt/app; "
            + app.format(time=1_700_000_000)
            + "; echo hello >/etc/motd; sed -i s/Debian/debian/ /usr/lib/os-release",
        ),
    ):
        containerfile.write_text(f"FROM {debian_image}\nRUN {commands}\n")
        storage.run(
            *("buildah", "build", "--isolation=chroot", "--quiet", "--pull-never", "-t", name),
            *("-f", str(containerfile), str(tmp_path)),
        )
    fetched, shown = update(storage, client, f"{registry.address}/wire/edits", old, new)
    changed = {component["id"] for component in shown["components"]["changed"]}  # type: ignore[index]
    # Debian's motd and os-release are base-files'.
    assert changed <= {"dpkg/base-files", "unclaimed/etc"}, changed
    assert "dpkg/base-files" in changed
    assert sum(fetched.values()) < shown["new"]["size"] / 50  # type: ignore[index]
