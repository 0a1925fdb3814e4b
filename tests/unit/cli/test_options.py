"""An option is the same in every command, and `split` can do what `build` can."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields
from typing import Any

import pytest
import typer

from rechunk_podman.build.options import BuildOptions
from rechunk_podman.cli.app import COMMANDS, application
from rechunk_podman.cli.image_options import ImageOptions
from rechunk_podman.oci.write.compress import Compression

ANSWERS = "init"
"""Its options answer its questions: --tag, --template and --registry mean something else there."""

BUILD_ALONE = {
    "config_str": "the config in an environment, for a Containerfile",
    "compressed": "chunkah's word for --compression gzip",
    "write_manifest_to": "a file beside the image",
    "write_peak_mem_to": "a measurement",
    "trace_logfile": "a log",
    "job": "what split hands over",
}
"""Options of `build` that decide nothing about an image -> what they are."""

FIRST = {
    "build": "rootfs output tag config max_layers label compression previous bootc as_json",
    "split": "rootfs output tag config max_layers label compression previous bootc push as_json",
}


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    """Every command by its name, as click sees it."""
    group: Any = typer.main.get_command(application())
    return {name: group.commands[name] for name in COMMANDS}


def options_of(command: Any) -> dict[str, Any]:
    """The options of a command by the names of their parameters, without --help."""
    return {
        option.name: option
        for option in command.params
        if option.param_type_name == "option" and option.name != "help"
    }


OF_ANOTHER_MEANING = {("diff", "--format"), ("simulate", "--max-layers")} | {
    ("history", spelling) for spelling in ("--output", "-o", "--pattern")
}
"""(command, spelling): `diff --format` is the form of its text, `simulate --max-layers` takes several
numbers; `history --output` is a file with a history, and its pattern has a default of its own."""


def test_an_option_is_the_same_in_every_command(commands: dict[str, Any]) -> None:
    """Found by its spelling: other spellings, metavar, help, variable, default and panel are equal."""
    seen: dict[str, dict[str, str]] = defaultdict(dict)
    for name, command in commands.items():
        if name == ANSWERS:
            continue
        for option in options_of(command).values():
            facts = (
                tuple(option.opts),
                tuple(option.secondary_opts),
                option.metavar,
                option.help,
                option.envvar,
                option.default,
                option.multiple,
                option.rich_help_panel,
            )
            for spelling in (*option.opts, *option.secondary_opts):
                if (name, spelling) in OF_ANOTHER_MEANING:
                    continue
                seen[spelling][name] = repr(facts)
    shared = {spelling for spelling, users in seen.items() if len(users) > 1}
    assert {"--tls-verify", "--cert-dir", "--max-layers", "--threads", "--output", "--json", "-v"} <= shared
    for spelling in sorted(shared):
        assert len(set(seen[spelling].values())) == 1, f"{spelling}: {seen[spelling]}"


def test_no_option_is_hidden_and_each_has_help(commands: dict[str, Any]) -> None:
    for name, command in commands.items():
        for option in options_of(command).values():
            assert not option.hidden, f"{name} {option.opts}"
            assert option.help, f"{name} {option.opts}"


def test_registries_are_reached_in_the_same_way_everywhere(commands: dict[str, Any]) -> None:
    """The hint about certificates recommends --cert-dir: whoever asks a registry has it."""
    reading = {name for name, command in commands.items() if "creds" in options_of(command)}
    assert {"inspect", "diff", "previous", "changelog", "promote", "index", "build", "split"} <= reading
    for name in reading:
        assert {"tls_verify", "authfile", "creds", "cert_dir"} <= options_of(commands[name]).keys()


def test_split_can_do_to_an_image_what_build_can(commands: dict[str, Any]) -> None:
    build, split = options_of(commands["build"]), options_of(commands["split"])
    assert build.keys() - split.keys() == BUILD_ALONE.keys()


@pytest.mark.parametrize("name", sorted(FIRST))
def test_the_help_shows_few_options_before_the_panels(commands: dict[str, Any], name: str) -> None:
    panels = {key: option.rich_help_panel for key, option in options_of(commands[name]).items()}
    assert {key for key, panel in panels.items() if panel is None} == {*FIRST[name].split(), "verbose"}
    named = {panel for panel in panels.values() if panel is not None}
    assert named <= {"Input", "Output", "Layers", "Labels", "Registry", "Work"}


def test_every_field_of_build_options_has_an_option() -> None:
    """Given another value each, no field keeps its default."""
    given = ImageOptions(
        max_layers="docker",
        max_layer_size="2GB",
        parts=False,
        label=["a=b"],
        annotation=["c=d"],
        arch="arm64",
        source_date_epoch=1,
        compression="gzip",
        compression_level=5,
        manifest_format="docker",
        prune=["/x"],
        strict=True,
        clean="logs",
        skip_special_files=True,
        map=["map.tsv"],
        groups=["kde"],
        keep_mtime=["/y"],
        selinux="policy",
        root_mode="0700",
        max_size="20GB",
        bootc=True,
        fresh=True,
        adopt="no",
        no_ledger=True,
        tag="t",
        threads=3,
    ).build_options()
    usual = BuildOptions()
    for field in fields(BuildOptions):
        assert getattr(given, field.name) != getattr(usual, field.name), field.name
    assert given.max_layers == 120
    assert given.compression == Compression("gzip", 5)


def test_compression_by_default() -> None:
    assert ImageOptions().build_options().compression.kind == "none"
    assert ImageOptions().build_options(pushed=True).compression.kind == "zstd"
    assert ImageOptions(max_layers="docker").build_options(pushed=True).compression.kind == "gzip"
    assert ImageOptions(compression="none").build_options(pushed=True).compression.kind == "none"
