"""Names that `split` takes: of an image in a registry, of none, of one that lacks its tag."""

from __future__ import annotations

import json
from collections.abc import Callable

from support import tools
from support.pushing import digest_of, document, push


def test_an_image_in_a_registry_is_pulled(
    storage: tools.Storage, registry: tools.Registry, small: Callable[[int], str]
) -> None:
    """A tag that moved is fetched anew; the result has the name that a local image gives."""
    name = f"{registry.address}/pulled/app"
    for seed in (0, 1):
        push(storage, small(seed), f"--push=docker://{name}:1")
        done = storage.rechunk(
            "split", f"docker://{name}:1", "--tls-verify=false", "--json", "--engine=native"
        )
        told = json.loads(done.out)
        assert told["image"] == f"{name}:1-chunked"
        assert f"note: pulling {name}:1" in done.err
        storage.rechunk("verify", f"containers-storage:{small(seed)}", f"containers-storage:{name}:1-chunked")
    done = push(storage, f"docker://{name}:1", f"--push=docker://{name}:2", "--previous=auto")
    assert done.out.strip() == digest_of(f"{name}:2")
    assert len(json.loads(document(f"{name}:2"))["layers"]) > 2
    storage.run("podman", "rmi", f"{name}:1", f"{name}:1-chunked")


def test_an_image_that_no_registry_has(storage: tools.Storage, registry: tools.Registry) -> None:
    done = storage.rechunk(
        "split", f"docker://{registry.address}/no/thing:1", "--tls-verify=false", check=False
    )
    assert done.code == 2
    assert f"error: no image docker://{registry.address}/no/thing:1 in its registry" in done.err


def test_a_name_without_its_tag_lists_those_that_are_there(
    storage: tools.Storage, small: Callable[[int], str]
) -> None:
    for tag in ("one", "two"):
        storage.run("podman", "tag", small(0), f"localhost/shop:{tag}")
    for name in ("localhost/shop", "shop", "localhost/shop:three"):
        done = storage.rechunk("split", name, check=False)
        assert done.code == 2
        assert f"error: no image {name} in local storage" in done.err
        assert "there is: localhost/shop:one, localhost/shop:two\n" in done.err
    storage.rechunk("split", "localhost/shop:two", "--plan-only")
    storage.run("podman", "rmi", "localhost/shop:one", "localhost/shop:two")


def test_an_image_in_the_storage_of_another_user(
    storage: tools.Storage, ordinary_user: tools.OrdinaryUser
) -> None:
    """Each is told to use sudo, or not to; nobody is told to pull what no registry has."""
    done = storage.rechunk("split", "localhost/of-another:1", check=False)
    assert "hint: what was built without sudo is in that user's storage" in done.err
    assert "pull" not in done.err
    done = ordinary_user.rechunk("split", "localhost/of-another:1", check=False)
    assert "hint: what was built with sudo is in root's storage: run this with sudo, too" in done.err
    assert "pull" not in done.err
    done = storage.rechunk("split", "example.org/of-another:1", check=False)
    assert "hint: podman pull example.org/of-another:1; or " in done.err
