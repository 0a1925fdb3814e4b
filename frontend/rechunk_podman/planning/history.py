"""Release histories of images: what each release held, parsed from JSON.

A history is JSON, plain or compressed by xz:

    {"series": NAME,
     "components": {NAME: {"source": SOURCE, "size": BYTES, "changelog": [EPOCH, …], "bumps": [EPOCH, …]}},
     "releases": [RELEASE, …]}

Every release has `id`, `date` (epoch seconds) and the packages that it held, with their versions: `packages`
for all of them, or `set` and `del` for the difference from the release before it.

* In a collected history (of lists of packages) NAME is a package. A component is a source package. Its
  content is the versions of its packages, its size the sum of theirs over the whole series. A release that
  holds the same as the one before it is dropped.
* In a measured history (of images, `rechunk-podman history`) NAME is the id of a component. Each release has
  `details`: {NAME: {"size", "packed", "fingerprint", "changes", "interval", "parts"}} of the components that
  differ from the release before it, `built`, the newest build time of its packages if one is known, and
  `layers`: [[DIGEST, BYTES], …], the blobs of the image itself. `size`
  is the bytes in a tar, `packed` those in a compressed layer. `parts`, of a component that has some, is
  {NAME: "KIND SIZE PACKED FINGERPRINT"}, with the number of a PartKind.
"""

from __future__ import annotations

import json
import lzma
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from rechunk_podman.errors import RechunkError
from rechunk_podman.model import Component, ComponentId, Part, PartKind

UNKNOWN_SIZE = 50_000
"""Bytes of a package whose size the history lacks."""

MAX_HISTORY = 32 << 20
"""The most bytes of JSON, ten times as many as in the known histories."""

MAX_VALUES = 1_000_000
"""The most values in the JSON document."""

MAX_HELD = 500_000
"""The most packages, and parts of components, of all releases together."""

MAX_KNOWN = 8_000_000
"""The most times of changes of all releases together."""

MAX_DATE = 1 << 40
MAX_SIZE = 1 << 50

_XZ_MEMORY = 100 << 20
"""Bytes of memory of the decompressor; xz -9 needs 65 MiB."""

_XZ_MAGIC = b"\xfd7zXZ\x00"


class HistoryError(RechunkError):
    """A file is no release history, or lacks a field."""


@dataclass(frozen=True, slots=True)
class Release:
    """One release: its date (epoch seconds) and components.

    built: the newest build time of its packages (epoch seconds); 0 if it is unknown.
    packed: bytes of each component and of each part in a compressed layer; of one that is missing, its size
        counts.
    layers: (digest, bytes) of the blobs that the image itself has; none if that is unknown.
    """

    name: str
    date: int
    components: tuple[Component, ...]
    packed: Mapping[ComponentId, int] = field(default_factory=dict)
    layers: tuple[tuple[str, int], ...] = ()
    built: int = 0

    def download(self, component: Component) -> int:
        """Return the bytes that clients download for a component, a unit of parts, or a fold."""
        if component.members:
            return sum(self.download(member) for member in component.members)
        if component.id.part:
            return sum(self.download_of_part(component.id, part) for part in component.parts)
        return self.packed.get(component.id, component.size)

    def download_of_part(self, ident: ComponentId, part: Part) -> int:
        """Return the bytes that clients download for a part of the component `ident`."""
        return self.packed.get(ident._replace(part=part.name), part.size)


@dataclass(frozen=True, slots=True)
class History:
    """A parsed history: its name and its releases, oldest first."""

    series: str
    releases: tuple[Release, ...]


def parse_history(data: bytes, name: str = "the file") -> History:
    """Read a history: JSON, plain or compressed with xz. Memory and time are bounded.

    Args:
        name: for messages.

    Raises:
        HistoryError: the data is neither, is too large, or a field is missing or of a wrong type or size.
    """
    try:
        document = json.loads(_plain(data), parse_constant=_no_number)
        packages = document["components"]
        states = sorted(_states(document["releases"]), key=lambda state: state.date)
        sizes, times = _sources(packages)
        known = _Known(times)
        releases: list[Release] = []
        last: Mapping[str, str] | None = None
        for state in states:
            if state.details is not None:
                releases.append(_measured(state, state.details))
            elif state.held != last:
                releases.append(_collected(state, packages, sizes, known))
            last = state.held
        return History(_text(document["series"]), tuple(releases))
    except (
        lzma.LZMAError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise HistoryError(
            f"{name} is no release history", context=[f"{type(error).__name__}: {error}"], exit_code=2
        ) from error


def _plain(data: bytes) -> bytes:
    """Return the JSON text, decompressed.

    Raises:
        ValueError: it is cut off or too large, or holds too many values.
    """
    if data.startswith(_XZ_MAGIC):
        decompressor = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
        data = decompressor.decompress(data, MAX_HISTORY)
        if not decompressor.eof:
            raise ValueError("cut off, or too large")
    if len(data) > MAX_HISTORY:
        raise ValueError(f"more than {MAX_HISTORY >> 20} MiB")
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} values")
    return data


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _text(value: object) -> str:
    """Return a value as text. ValueError: it cannot be encoded."""
    text = str(value)
    text.encode()
    return text


def _number(value: Any, limit: int) -> int:
    """Return a number of at most `limit`. ValueError or OverflowError: it is no number, or larger."""
    number = int(value)
    if not -limit <= number <= limit:
        raise ValueError("a number out of range")
    return number


class _State(NamedTuple):
    """A release: its packages with their versions, and in a measured history the rest."""

    date: int
    name: str
    held: dict[str, str]
    details: dict[str, dict[str, Any]] | None
    layers: list[Any]
    built: int


def _states(releases: list[dict[str, Any]]) -> Iterator[_State]:
    held: dict[str, str] = {}
    details: dict[str, dict[str, Any]] = {}
    total = 0
    for release in releases:
        if "packages" in release:
            held = dict(release["packages"])
        else:
            held = {**held, **release.get("set", {})}
            for name in release.get("del", ()):
                held.pop(name, None)
        measured = "details" in release
        if measured:
            details = {**details, **release["details"]}
            details = {name: details[name] for name in held}
            total += sum(len(details[name].get("parts", ())) for name in held)
        total += len(held) + 1
        if total > MAX_HELD:
            raise ValueError(f"more than {MAX_HELD} packages of releases")
        yield _State(
            _number(release["date"], MAX_DATE),
            _text(release["id"]),
            held,
            details if measured else None,
            release.get("layers", []),
            _number(release.get("built", 0), MAX_DATE),
        )


def _sources(packages: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """Return size and times of changes of each source package, over the whole series."""
    sizes: dict[str, int] = {}
    times: dict[str, set[int]] = {}
    for package in packages.values():
        source, size = _text(package["source"]), package.get("size")
        if not source:
            raise ValueError("a source without a name")
        sizes[source] = sizes.get(source, 0) + (
            UNKNOWN_SIZE if size is None else max(_number(size, MAX_SIZE), 1)
        )
        known = package.get("changelog") or package.get("bumps") or ()
        times.setdefault(source, set()).update(_number(when, MAX_DATE) for when in known)
    return sizes, {source: tuple(sorted(known, reverse=True)) for source, known in times.items()}


class _Known:
    """The times of changes that are known at a date; releases with the same times share them."""

    def __init__(self, times: Mapping[str, tuple[int, ...]]) -> None:
        self._times = times
        self._last: dict[str, tuple[int, ...]] = {}
        self._left = MAX_KNOWN

    def at(self, source: str, date: int) -> tuple[int, ...]:
        """Return the times of a source that are not after `date`. ValueError: they are too many in all."""
        times = self._times[source]
        count = len(times) - bisect_left(times, -date, key=lambda when: -when)
        if len(self._last.get(source, ())) != count:
            self._left -= count
            if self._left < 0:
                raise ValueError(f"more than {MAX_KNOWN} times of changes")
            self._last[source] = times[len(times) - count :]
        return self._last.get(source, ())


def _collected(
    state: _State, packages: Mapping[str, Any], sizes: Mapping[str, int], known: _Known
) -> Release:
    contents: dict[str, list[str]] = {}
    for package in sorted(state.held):
        source = str(packages[package]["source"])
        contents.setdefault(source, []).append(f"{package} {state.held[package]}")
    components = []
    for source, content in sorted(contents.items()):
        fingerprint = blake2b("\n".join(content).encode(), digest_size=8).digest()
        version = content[0].partition(" ")[2]
        ident = ComponentId("rpm", source)
        changes = known.at(source, state.date)
        components.append(Component(ident, sizes[source], fingerprint, version=version, changes=changes))
    return Release(state.name, state.date, tuple(components))


def _measured(state: _State, details: Mapping[str, Mapping[str, Any]]) -> Release:
    components, packed = [], {}
    for name, version in state.held.items():
        of = details[name]
        interval = of.get("interval")
        ident = ComponentId.parse(_text(name))
        parts = []
        for part, text in of.get("parts", {}).items():
            kind, size, bytes_packed, fingerprint = text.split(" ")
            parts.append(
                Part(
                    _text(part),
                    max(_number(size, MAX_SIZE), 1),
                    bytes.fromhex(fingerprint),
                    PartKind(int(kind)),
                )
            )
            packed[ident._replace(part=part)] = max(_number(bytes_packed, MAX_SIZE), 1)
        component = Component(
            ident,
            max(_number(of["size"], MAX_SIZE), 1),
            bytes.fromhex(of["fingerprint"]),
            version=_text(version),
            changes=tuple(_number(when, MAX_DATE) for when in of.get("changes", ())),
            interval=None if interval is None else float(interval),
            parts=tuple(parts),
        )
        components.append(component)
        packed[component.id] = max(_number(of["packed"], MAX_SIZE), 1)
    components.sort(key=lambda component: component.id)
    layers = tuple((_text(digest), _number(size, MAX_SIZE)) for digest, size in state.layers)
    return Release(state.name, state.date, tuple(components), packed, layers, state.built)
