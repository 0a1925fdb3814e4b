"""Options of `build` and `split` about the files of an image, and the components that they belong to."""

from __future__ import annotations

from typing import Annotated

from rechunk_podman.cli.options import for_input

Clean = Annotated[
    str | None,
    for_input(
        "--clean",
        metavar="LIST",
        help="Leave out what these checks of lint find: caches, logs, run-and-tmp, package-journals, "
        "machine-id; --clean alone: all five.",
    ),
]
Map = Annotated[
    list[str] | None,
    for_input(
        "--map",
        metavar="FILE",
        help="Component map, TSV, CSV or JSON: a path or glob, its component, maybe an interval. Repeatable.",
    ),
]
Groups = Annotated[
    list[str] | None,
    for_input(
        "--groups",
        metavar="FILE|NAME",
        help="Packages and paths that belong together or apart: YAML, hhd-dev/rechunk's meta.yml, or a ready "
        "group (fonts, gnome, kde, kernel, llvm, mesa, qt). Repeatable.",
    ),
]
Selinux = Annotated[
    str,
    for_input(
        metavar="keep|policy|none",
        help="Labels of SELinux: those that the files have; those that the image's own policy gives them "
        "(user.selinux on a path wins); none (the default).",
    ),
]
KeepMtime = Annotated[
    list[str] | None,
    for_input(metavar="PATH", help="Leave the times of PATH (and what is below it) as they are."),
]
RootMode = Annotated[str | None, for_input(metavar="OCTAL", help="Permissions of / in the image (0755).")]
