"""Groups files: packages and paths that belong together or apart. Pure, but for load().

A file is YAML. `groups` maps the name of a group to its fields (GROUP_FIELDS); `use` lists ready groups
(READY). A file of hhd-dev/rechunk is read, too (its src/rechunk/meta.yml): `meta` maps the name of a group to
`packages` and `files` (globs; the group's own name is a pattern of packages, too) and `dedicated`, true by
default, which gives the group a layer of its own if it has 10 MB; the first group that matches wins.
`max_layers` is the default of --max-layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from rechunk_podman.components.intervals import INTERVAL_HINT, days_of
from rechunk_podman.components.map_file import is_name
from rechunk_podman.errors import UsageError
from rechunk_podman.model import Placement
from rechunk_podman.units import parse_size

READY = ("fonts", "gnome", "kde", "kernel", "llvm", "mesa", "qt")
"""The names of the ready groups, files in the folder `ready`."""

LARGEST_FILE = 256 << 10
"""Bytes of a groups file at most: YAML is slow to read."""

MOST_PATTERNS = 10_000
"""Globs in one file at most."""

LEAST_DEDICATED = 10_000_000
"""Bytes from which a dedicated group of hhd-dev/rechunk has a layer of its own (its src/rechunk/alg.py)."""

GROUP_FIELDS = ("packages", "sources", "paths", "apart", "isolated", "pin", "interval", "largest_layer")

_TOP = ("groups", "use", "max_layers")
_META_TOP = ("version", "distro", "max_layers", "layer_prefill_ratio", "layer_max_ratio", "meta")
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_PINS = {"bottom": Placement.BOTTOM, "top": Placement.TOP}


@dataclass(frozen=True, slots=True)
class Group:
    """Packages and paths that are placed together, or each apart.

    origin: the name of the file that defines it.
    packages: globs of names of packages; `ECOSYSTEM/GLOB` is for one package manager.
    sources: the same for names of source packages.
    paths: globs of paths; a directory means everything below it.
    apart: each package, and each path that matches, is a component of its own.
    placement: of its components.
    least: bytes from which the placement holds; a smaller component shares layers.
    interval: days between updates.
    largest: bytes of a layer of the group at most; a larger group is cut into several components, as far as
        its packages and files allow.
    """

    name: str
    origin: str
    packages: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    apart: bool = False
    placement: Placement = Placement.SHARED
    least: int = 0
    interval: float | None = None
    largest: int | None = None


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of some files, in order: the first one that matches a package or path has it."""

    groups: tuple[Group, ...] = ()
    max_layers: int | None = None


class _Wrong(ValueError):
    """A groups file is not as it should be; the text says why."""


def load(files: Sequence[str]) -> Groups:
    """Read groups files and ready groups.

    Args:
        files: paths, or names in READY.

    Raises:
        UsageError: a file cannot be read or is no groups file, or two groups have one name.
    """
    groups: dict[str, Group] = {}
    max_layers = None
    for name in files:
        found = parse(_ready(name) if name in READY else _read(name), name)
        max_layers = found.max_layers if max_layers is None else max_layers
        for group in found.groups:
            other = groups.setdefault(group.name, group)
            if other is not group:
                raise UsageError(
                    f"two groups named {group.name}", context=[f"in {other.origin} and {group.origin}"]
                )
    return Groups(tuple(groups.values()), max_layers)


def parse(text: str, name: str) -> Groups:
    """Return the groups in the text of a file.

    Args:
        name: of the file, for messages.

    Raises:
        UsageError: the text is not a groups file.
    """
    import yaml  # it takes longer to load than to read a file

    try:
        # without types: a package may be named `no` or 7.10
        loader = yaml.BaseLoader(text)
        node = loader.get_single_node()
        _check_twice(node)
        document = None if node is None else loader.construct_document(node)
        return _groups(document, name)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise UsageError(f"the groups file {name} is not YAML", context=[said]) from error
    except RecursionError as error:
        raise UsageError(f"the groups file {name} is nested too deep") from error
    except _Wrong as error:
        raise UsageError(
            f"the groups file {name}: {error}", hint="docs/components.md describes groups files"
        ) from error


def _check_twice(document: Any) -> None:
    """Check that no mapping has a key twice, for YAML would keep the last one.

    Args:
        document: a node of yaml, or None.
    """
    pending, seen = [document], set()
    while pending:
        node = pending.pop()
        children = getattr(node, "value", None)
        if not isinstance(children, list) or id(node) in seen:
            continue
        seen.add(id(node))
        if node.id == "mapping":
            keys = Counter(key.value for key, _ in children if isinstance(key.value, str))
            twice = [key for key, count in keys.items() if count > 1]
            if twice:
                line = node.start_mark.line + 1
                raise _Wrong(f"{twice[0]!r:.80} stands twice in the mapping that begins at line {line}")
            pending += [value for _, value in children]
        else:
            pending += children


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read(LARGEST_FILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the groups file {path}",
            context=[str(error)],
            hint=f"--groups takes a file, or one of {', '.join(READY)}",
        ) from error
    if len(text) > LARGEST_FILE:
        raise UsageError(f"the groups file {path} has more than {LARGEST_FILE >> 10} KiB")
    return text


def _ready(name: str) -> str:
    folder = resources.files("rechunk_podman.components") / "ready"
    return (folder / f"{name}.yml").read_text(encoding="utf-8")


def _groups(document: Any, name: str) -> Groups:
    if not isinstance(document, dict):
        raise _Wrong("it is not a mapping")
    is_meta = "meta" in document
    _check_keys(document, _META_TOP if is_meta else _TOP, "the file")
    groups: list[Group] = []
    for ready in dict.fromkeys(_texts(document.get("use", []), "use")):
        if ready not in READY:
            raise _Wrong(f"there is no ready group {ready!r}: {', '.join(READY)}")
        groups += parse(_ready(ready), ready).groups
    members = document.get("meta" if is_meta else "groups", {})
    if not isinstance(members, dict):
        raise _Wrong("the groups are not a mapping of names")
    patterns = 0
    for key, fields in members.items():
        if not isinstance(key, str) or not is_name(key):
            raise _Wrong(f"not a name of a group: {key!r:.80}")
        if not isinstance(fields, dict):
            raise _Wrong(f"the group {key} is not a mapping")
        group = _of_meta(key, fields, name) if is_meta else _group(key, fields, name)
        groups.append(group)
        # counted at once: an alias makes long lists of few bytes
        patterns += len(group.packages) + len(group.sources) + len(group.paths)
        if patterns > MOST_PATTERNS:
            raise _Wrong(f"it has more than {MOST_PATTERNS} patterns")
    return Groups(tuple(groups), _max_layers(document.get("max_layers")))


def _group(key: str, fields: Mapping[str, Any], origin: str) -> Group:
    place = f"the group {key}"
    _check_keys(fields, GROUP_FIELDS, place)
    packages, sources, paths = (_texts(fields.get(k, []), f"{place}: {k}") for k in GROUP_FIELDS[:3])
    if not (packages or sources or paths):
        raise _Wrong(f"{place} has neither packages nor sources nor paths")
    pin = fields.get("pin")
    largest = None
    if "largest_layer" in fields:
        largest = parse_size(str(fields["largest_layer"]))
        if not largest:
            raise _Wrong(f"{place}: largest_layer is not a size: {fields['largest_layer']!r:.80}")
    if pin is not None and pin not in _PINS:
        raise _Wrong(f"{place}: pin is neither bottom nor top: {pin!r:.80}")
    isolated = _truth(fields.get("isolated", "false"), f"{place}: isolated") or largest is not None
    return Group(
        key,
        origin,
        packages,
        sources,
        paths,
        apart=_truth(fields.get("apart", "false"), f"{place}: apart"),
        placement=_PINS[pin] if pin else Placement.ALONE if isolated else Placement.SHARED,
        interval=_days(fields.get("interval"), place),
        largest=largest,
    )


def _of_meta(key: str, fields: Mapping[str, Any], origin: str) -> Group:
    """Return a group of hhd-dev/rechunk. Its rest, `unpackaged`, is no layer here: the planner divides it."""
    place = f"the group {key}"
    _check_keys(fields, ("packages", "files", "dedicated"), place)
    packages, paths = (_texts(fields.get(name, []), f"{place}: {name}") for name in ("packages", "files"))
    dedicated = _truth(fields.get("dedicated", "true"), f"{place}: dedicated") and key != "unpackaged"
    placement = Placement.ALONE if dedicated else Placement.SHARED
    return Group(key, origin, (*packages, key), (), paths, placement=placement, least=LEAST_DEDICATED)


def _check_keys(mapping: Mapping[Any, Any], known: Sequence[str], place: str) -> None:
    for key in mapping:
        if key not in known:
            raise _Wrong(f"{place} has an unknown key: {key!r:.80} (known: {', '.join(known)})")


def _texts(value: Any, place: str) -> tuple[str, ...]:
    """Return a list of texts; an empty value is an empty list."""
    items = [] if value == "" else value
    if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
        raise _Wrong(f"{place} is not a list of texts")
    if len(items) > MOST_PATTERNS:
        raise _Wrong(f"{place} has more than {MOST_PATTERNS} patterns")
    return tuple(items)


def _truth(value: Any, place: str) -> bool:
    found = _TRUTH.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise _Wrong(f"{place} is neither true nor false")
    return found


def _days(value: Any, place: str) -> float | None:
    if value is None:
        return None
    days = days_of(value) if isinstance(value, str) else None
    if days is None:
        raise _Wrong(f"{place}: interval is not an interval ({INTERVAL_HINT})")
    return days


def _max_layers(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str) or not (value.isascii() and value.isdigit() and 1 <= int(value[:6]) <= 500):
        raise _Wrong("max_layers is not a number from 1 to 500")
    return int(value)
