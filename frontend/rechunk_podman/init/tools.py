"""Replace the lines that call other rechunkers. Pure.

Each rule takes the text of a file and returns the changed text. It keeps lines that it does not understand.
The forms of the lines are those of the tools' own documentation; docs/migrating.md lists them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rechunk_podman.init.shell import (
    Command,
    Options,
    command_at,
    indent_of,
    lay_out,
    parse_options,
    split_words,
    unquote,
)

OURS = "rechunk-podman"
ACTION = "rechunk-podman/rechunk-podman"
IMAGE = "ghcr.io/rechunk-podman/rechunk-podman"
SPLITTER = "https://raw.githubusercontent.com/rechunk-podman/rechunk-podman/v{version}/Containerfile.splitter"

_HHD = r"(?:hhd-dev/rechunk|ublue-os/legacy-rechunk)"
_USES = re.compile(rf"""^(\s*(?:-\s+)?uses:\s*)["']?{_HHD}(?:@[^\s"']*)?["']?[ \t]*(?:#.*)?$""", re.MULTILINE)
_PULL = re.compile(rf"^[^#\n]*\b(?:podman|docker) pull [^\n|&;]*{_HHD}\b[^\n|&;]*\n", re.MULTILINE)
_SCRIPT = re.compile(r"/sources/rechunk/([123])_(prune|create|chunk)\.sh")
_CREATE = re.compile(r"\$\([^()\n]*\bcreate[ \t]+(?!-)")
_VOLUME = re.compile(r"^[^#\n]*\bvolume rm cache_ostree\b[^\n]*\n", re.MULTILINE)
_ASSIGNMENT = re.compile(r"[ \t]*(?:export )?([A-Za-z_][\w-]*)[ \t]*[:?]?=[ \t]*(\S.*)")
_LABELS = re.compile(r'"\$\{\w*label\w*\[@\]\}"\Z', re.IGNORECASE)
_OSTREE = re.compile(r"\bbuild-chunked-oci\b")
_EXPRESSION = r"\$\{\{[^}]*\}\}|\{\{[^}]*\}\}|\$\{[^}]*\}|\$\([A-Za-z_]\w*\)"
_CHUNKAH_IMAGE = re.compile(
    rf"\bquay\.io/(?:coreos|jlebon)/chunkah((?:[:@](?:{_EXPRESSION}|[\w.-]|\$\w)+)*)(?![\w/.:@-])"
)
_CHUNKAH_SPLITTER = re.compile(
    rf"https://(?:github\.com|raw\.githubusercontent\.com)/(?:coreos|jlebon)/chunkah/"
    rf"(?:{_EXPRESSION}|[\w./-])*Containerfile\.splitter"
)
_CHUNKAH_COMMAND = re.compile(r"(?<![\w./$-])chunkah(?= build\b)")
_BUILD_ARG = re.compile(r"""(--build-arg(?:=|\s+)["']?)(CHUNKAH(?:_ARGS|_CONFIG_STR)?)(?![A-Za-z_])(=?)""")
_ARGUMENTS = {
    "CHUNKAH": "CHUNKER",
    "CHUNKAH_ARGS": "RECHUNK_ARGS",
    "CHUNKAH_CONFIG_STR": "RECHUNK_CONFIG_STR",
}
_OSTREE_FLAGS = ("--bootc",)
_RUN_FLAGS = (
    *(
        "--rm",
        "--privileged",
        "-i",
        "-t",
        "-it",
        "-ti",
        "--init",
        "--sig-proxy",
        "--interactive",
        "--tty",
        "-d",
    ),
    *("--read-only", "-q", "--quiet"),
)
_ENVIRONMENT = {
    "VERSION": "--version",
    "DESCRIPTION": "--description",
    "REVISION": "--revision",
    "LABELS": "--labels",
    "MAX_LAYERS": "--max-layers",
    "OUT_REF": "--output",
}

USED = re.compile(
    rf"{_HHD}\b|quay\.io/(?:coreos|jlebon)/chunkah|/chunkah/\S*Containerfile\.splitter|{_SCRIPT.pattern}"
    r"|build-chunked-oci|(?<![\w./$-])chunkah build\b|bootc-base-imagectl rechunk"
    r"|bootc-build/(?:rechunk|chunka)\b"
    r"|^\s*(?:rechunk|chunkah|build_chunked_oci):\s*[\"']?(?:true\b|\$\{\{)"
    r"|\bbluebuild\b.*\s--(?:rechunk|chunkah|build-chunked-oci)\b"
    r"|\bBB_BUILD_(?:RECHUNK|CHUNKAH|CHUNKED_OCI)\b"
)
"""Text that marks a line as a call of another rechunker.

BlueBuild rechunks between its build and its push, by an input of its action, an option or a variable
(blue-build/cli 0.9.37, src/commands/build.rs; blue-build/github-action 1.12, action.yml), so that nothing
can stand in for it there.
"""


def actions(text: str, version: str) -> str:
    """Replace hhd-dev/rechunk and its fork by our action, which takes the same inputs."""
    while match := _USES.search(text):
        before, after = text[: match.start()], text[match.end() :]
        depth = len(indent_of(text, match.start(1))) + (2 if "- " in match[1] else 0)
        after = _without_input(after, depth)
        text = f"{before}{match[1]}{ACTION}@v{version}{after}"
    return _PULL.sub("", text)


def _without_input(text: str, depth: int) -> str:
    """Return the text after `uses:` without the step's input `rechunk`, which names the tool's image."""
    kept, inside = [], True
    for line in text.splitlines(keepends=True):
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if stripped and indent < depth:
            inside = False
        if not (inside and indent > depth and re.match(r"rechunk:(?=\s|$)", stripped)):
            kept.append(line)
    return "".join(kept)


def ostree(text: str, version: str) -> str:
    """Replace `rpm-ostree compose build-chunked-oci`, on the host or in a container, by `split`."""
    return _commands(text, _OSTREE, _from_ostree)


def _from_ostree(text: str, command: Command) -> str | None:
    words = command.words
    at = next((i for i, word in enumerate(words) if word == "build-chunked-oci"), None)
    if at is None:
        return None
    given = parse_options(words[at + 1 :], _OSTREE_FLAGS)
    known = {
        "--from",
        "--rootfs",
        "--output",
        "--max-layers",
        "--format-version",
        "--label",
        "--previous-build",
    }
    arrays = [word for word in given.operands if _LABELS.match(word)]
    if len(arrays) < len(given.operands) or {name for name, _ in given.values} - known:
        return None
    run = next((i for i, word in enumerate(words[:at]) if word == "run" and i), None)
    source, rootfs = given.last("--from"), given.last("--rootfs")
    if run is None:
        first = next((i for i, word in enumerate(words[:at]) if unquote(word).endswith("rpm-ostree")), None)
        if first is None:
            return None
    else:
        first = run - 1
        if source is None:
            source, rootfs = _mounted(parse_options(words[run + 1 : at], _RUN_FLAGS), rootfs), None
        if source is None:
            return None
    volumes = None if run is None else parse_options(words[run + 1 : at], _RUN_FLAGS).all("--volume", "-v")
    target = _target(given.last("--output"), volumes)
    if target is None or (source is None and (rootfs is None or target[0] != "--output")):
        return None
    options = [["--bootc"]] if "--bootc" in given.flags else []
    options += [["--max-layers", n] for n in given.all("--max-layers")[-1:]]
    options += [["--label", label] for label in given.all("--label")]
    options += [[array] for array in arrays]
    options += [["--previous", f"docker://{name}"] for name in given.all("--previous-build")]
    what = [OURS, "split", source] if source else [OURS, "build", "--rootfs", rootfs or ""]
    indent = indent_of(text, command.start)
    lines = "\\\n" in text[command.start : command.end]
    return lay_out([[*words[:first], *what], *options, list(target)], indent, lines=lines)


def _mounted(run: Options, rootfs: str | None) -> str | None:
    """Return the image that `podman run` mounts as the root filesystem."""
    for mount in run.all("--mount"):
        fields = dict(field.partition("=")[::2] for field in unquote(mount).split(","))
        place = next(
            (fields[name] for name in ("target", "dst", "dest", "destination") if name in fields), None
        )
        if fields.get("type") == "image" and rootfs is not None and place == unquote(rootfs):
            name = fields.get("src") or fields.get("source")
            return f'"{name}"' if name and mount.startswith('"') else name
    return None


def _target(output: str | None, volumes: Sequence[str] | None) -> tuple[str, str] | None:
    """Return our option for an output of rpm-ostree; None if the output is not visible on the host.

    Args:
        volumes: HOST:CONTAINER[:OPTIONS] of the container; None on the host.
    """
    if output is None:
        return None
    quote = '"' if output.startswith('"') else ""
    bare = unquote(output)
    if bare.startswith("containers-storage:"):
        name = re.sub(r"^\[.*?\]", "", bare.removeprefix("containers-storage:"))
        return "-t", f"{quote}{name}{quote}"
    kind, _, path = bare.partition(":")
    if kind not in ("oci", "oci-archive"):
        return None
    if volumes is None:
        return "--output", output
    for volume in volumes:
        host, _, inside = unquote(volume).partition(":")
        place = inside.partition(":")[0].rstrip("/")
        if place and path.startswith(f"{place}/"):
            return "--output", f'{kind}:"{host}{path.removeprefix(place)}"'
    return None


def scripts(text: str, version: str) -> str:
    """Replace the three scripts of hhd-dev/rechunk, which run in its image, by `split`."""
    found = [match for match in _SCRIPT.finditer(text) if command_at(text, match.start())]
    if [match[1] for match in found] != ["1", "2", "3"]:
        return text
    prune, create, chunk = (command_at(text, match.start()) for match in found)
    source = _created(text[: found[0].start()])
    if prune is None or create is None or chunk is None or source is None or "run" not in chunk.words:
        return text
    run = chunk.words.index("run")
    environment = {}
    for setting in parse_options(chunk.words[run + 1 :], _RUN_FLAGS).all("--env", "-e"):
        name, _, value = unquote(setting).partition("=")
        quoted = setting.startswith('"') and value != ""
        environment[name] = f'"{value.strip(chr(39))}"' if quoted else value
    if not environment.get("OUT_REF"):
        return text
    options = [[flag, environment[name]] for name, flag in _ENVIRONMENT.items() if environment.get(name)]
    if previous := environment.get("PREV_REF"):
        options.insert(0, ["--previous", f"docker://{previous}"])
    split = [[*chunk.words[: run - 1], OURS, "split", source, "--bootc"], *options]
    replaced = lay_out(split, indent_of(text, prune.start), lines=True)
    text = _cut(_cut(text, chunk), create)
    text = text[: prune.start] + replaced + text[prune.end :]
    return _drop_unused(_VOLUME.sub("", text))


def _created(text: str) -> str | None:
    """Return the image of the last `podman create`."""
    for match in reversed(list(_CREATE.finditer(text))):
        words = split_words(text[match.end() : text.find("\n", match.end())])
        if words and unquote(words[0]):
            return words[0]
    return None


def _cut(text: str, command: Command) -> str:
    """Return the text without the lines of a command."""
    first = text.rfind("\n", 0, command.start) + 1
    last = text.find("\n", command.end)
    return text[:first] + ("" if last < 0 else text[last + 1 :])


def _drop_unused(text: str) -> str:
    """Return the text without the variables that name the tool's image, unless something reads them."""
    holders: dict[str, str] = {}
    for line in text.splitlines(keepends=True):
        match = _ASSIGNMENT.match(line)
        if match and (re.search(_HHD, match[2]) or _names(match[2]) & set(holders.values())):
            holders[line] = match[1]
    rest = "".join(line for line in text.splitlines(keepends=True) if line not in holders)
    return text if _names(rest) & set(holders.values()) else rest


def _names(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z_][\w-]*", text))


def chunkah(text: str, version: str) -> str:
    """Replace chunkah's image, splitter and command by ours, which take the same options."""
    splitter = _CHUNKAH_SPLITTER.search(text) is not None
    lines = []
    for line in text.splitlines(keepends=True):
        if not line.lstrip().startswith("#"):
            line = _CHUNKAH_IMAGE.sub(f"{IMAGE}:v{version}", line)
            line = _CHUNKAH_SPLITTER.sub(SPLITTER.format(version=version), line)
            line = _CHUNKAH_COMMAND.sub(OURS, line)
            if splitter:
                line = _BUILD_ARG.sub(_argument, line)
        lines.append(line)
    return "".join(lines)


def _argument(match: re.Match[str]) -> str:
    head, name, equals = match.groups()
    return f"{head}{_ARGUMENTS[name]}" + (equals or f'="${name}"')


def _commands(text: str, marker: re.Pattern[str], change: Callable[[str, Command], str | None]) -> str:
    """Replace each command that holds the marker, the last one first."""
    for match in reversed(list(marker.finditer(text))):
        command = command_at(text, match.start())
        new = None if command is None else change(text, command)
        if command is not None and new is not None:
            text = text[: command.start] + new + text[command.end :]
    return text


RULES: tuple[Callable[[str, str], str], ...] = (actions, scripts, ostree, chunkah)
