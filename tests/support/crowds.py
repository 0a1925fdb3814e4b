"""Images of very many components, as node_modules has them, and what they become release by release."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b

from rechunk_podman.model import Component, ComponentId
from rechunk_podman.planning.ledger import Ledger
from rechunk_podman.planning.plan import plan

START = 1_700_000_000
WEEK = 604_800

SMALLEST, LARGEST = 5_000, 50_000_000
"""Bytes."""

_TEXT = """
array ast async base browser buffer cache cli color config core css date deep es event fast file fs
get glob graph has html http is iterator js json kind lint loader map mini node object parse path
plugin promise proto query react regexp resolve rollup safe schema semver shim source stream string
style svg template text tiny token to transform tree type url util web worker yaml
"""

WORDS = _TEXT.split()


class Crowd:
    """A series of images: `count` components, most of them small and quiet, some of one project each.

    Components of one project have a version in common and change together, mostly. All is decided by `seed`.
    """

    def __init__(self, count: int, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self.components: dict[ComponentId, Component] = {}
        self._rates: dict[ComponentId, float] = {}
        self._projects: dict[str, tuple[float, list[ComponentId]]] = {}
        self._releases = 0
        while len(self.components) < count:
            self._add(count)

    @property
    def now(self) -> int:
        """Epoch seconds of the release at hand."""
        return START + self._releases * WEEK

    def image(self) -> list[Component]:
        """The components of the release at hand."""
        return list(self.components.values())

    def images(self, releases: int) -> Iterator[list[Component]]:
        """The components of this and the next releases, `releases` in all."""
        for number in range(releases):
            if number:
                self.advance()
            yield self.image()

    def advance(self, come_and_go: float = 0.0) -> None:
        """Make the next release; a share `come_and_go` of the components is replaced by others."""
        self._releases += 1
        for rate, members in list(self._projects.values()):
            if self._random.random() < rate:
                for ident in members:
                    if ident in self.components and self._random.random() < 0.8:
                        self._change(ident)
        for ident, rate in list(self._rates.items()):
            if self._random.random() < rate:
                self._change(ident)
        leaving = int(come_and_go * len(self.components))
        for ident in self._random.sample(sorted(self.components), leaving):
            del self.components[ident]
            self._rates.pop(ident, None)
        count = len(self.components) + leaving
        while len(self.components) < count:
            self._add(count)

    def _add(self, count: int) -> None:
        scale = min(max(self._random.lognormvariate(-5.8, 1.3), 0.0), 0.6)
        if self._random.random() < 0.05:
            project = f"@{self._name(2)}"
            members = self._projects.setdefault(project, (scale, []))[1]
            names = [f"{project}/{self._name(2)}" for _ in range(self._random.randint(2, 30))]
        else:
            members, names = [], [self._name(self._random.randint(1, 4))]
        version = self._version()
        for name in names:
            ident = ComponentId("node", name)
            if ident in self.components or len(self.components) >= count:
                continue
            size = int(min(max(self._random.lognormvariate(10.2, 1.6), SMALLEST), LARGEST))
            self.components[ident] = Component(ident, size, self._content(), version=version)
            if len(names) > 1:
                members.append(ident)
            else:
                self._rates[ident] = scale

    def _change(self, ident: ComponentId) -> None:
        component = self.components[ident]
        version = f"{component.version.rpartition('.')[0]}.{self._releases}"
        self.components[ident] = replace(component, fingerprint=self._content(), version=version)

    def _content(self) -> bytes:
        return self._random.randbytes(8)

    def _name(self, words: int) -> str:
        return "-".join(self._random.choice(WORDS) for _ in range(words)) + str(
            self._random.randint(0, 999) if self._random.random() < 0.5 else ""
        )

    def _version(self) -> str:
        return ".".join(str(self._random.randint(0, 9)) for _ in range(3))


def recorded(crowd: Crowd, releases: int, max_layers: int) -> Ledger:
    """The Ledger after so many releases, all of them in the layers of the first plan."""
    ledger, planned = None, plan(crowd.image(), None, max_layers=max_layers, now=crowd.now)
    diff_ids = [
        "sha256:" + blake2b(number.to_bytes(4, "big"), digest_size=32).hexdigest()
        for number in range(len(planned.layers))
    ]
    for image in crowd.images(releases):
        ledger = Ledger.advance(ledger, image, planned, diff_ids, date=crowd.now)
    assert ledger is not None
    return ledger
