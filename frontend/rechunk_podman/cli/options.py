"""Every option that several commands share, declared once: name, metavar, help, variable and help panel.

A command takes an alias (`verbose: Verbose = 0`) or a group of them (`access: Access`, see `command()`).
The most used options have no panel; the help shows them before the panels.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from rechunk_podman.cli.console import withhold
from rechunk_podman.errors import UsageError
from rechunk_podman.oci.write.output import FORMS

if TYPE_CHECKING:
    from rechunk_podman.registry.access import Registry

# Declare an option in a panel of the help.
for_input = partial(typer.Option, rich_help_panel="Input")
for_output = partial(typer.Option, rich_help_panel="Output")
for_layers = partial(typer.Option, rich_help_panel="Layers")
for_labels = partial(typer.Option, rich_help_panel="Labels")
for_registry = partial(typer.Option, rich_help_panel="Registry")
for_work = partial(typer.Option, rich_help_panel="Work")

REFERENCE_HELP = (
    "A local image, docker://NAME, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE or a saved config."
)
"""The help of an argument that names an image whose documents are read."""

# Every command

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Verbose = Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv everything.")]

# Input

Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Image config, of OCI or as podman or docker inspect print it; split: instead of IMG's own.",
    ),
]
Rootfs = Annotated[
    str | None,
    typer.Option(
        "--rootfs",
        metavar="DIR",
        help="The root filesystem. build: else RECHUNK_ROOTFS, CHUNKAH_ROOTFS, /chunkah or /rootfs; "
        "split, components: in place of IMG.",
    ),
]
Previous = Annotated[
    str | None,
    typer.Option(
        metavar="REF",
        envvar="RECHUNK_PREVIOUS",
        help="The image before this one: a local name, docker://NAME, oci:DIR, an archive or a saved config; "
        "with --push also auto: what the tag names now, else the newest other tag of its series.",
    ),
]
Prune = Annotated[
    list[str] | None, for_input(metavar="PATH", help="Leave PATH out; PATH/ leaves out what it holds.")
]
Strict = Annotated[
    bool,
    for_input(
        "--strict",
        help="build, split: a package database that cannot be read is an error. validate: ask for all that "
        "images written by this tool promise.",
    ),
]
SkipSpecialFiles = Annotated[
    bool, for_input("--skip-special-files", help="Leave out sockets, FIFOs and devices.")
]
Bootc = Annotated[
    bool | None,
    typer.Option(
        "--bootc/--no-bootc",
        help="The image is bootable. build and split leave out what /sysroot holds, set containers.bootc=1, "
        "drop the labels of an ostree commit, and write 120 layers by default. lint finds it out by itself.",
    ),
]

MaxSize = Annotated[
    str | None,
    for_input(
        metavar="SIZE", help="Refuse files of more than SIZE together: 20GB, 512MiB; holes in files count."
    ),
]

Arch = Annotated[
    str | None,
    for_input(
        metavar="ARCH",
        help="Architecture to record in the image that is written, and to choose from an index that is read.",
    ),
]

# Output

Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar=FORMS,
        help="Write the image there; by default split writes to local storage, build an OCI archive to "
        "standard output.",
    ),
]
Tag = Annotated[
    str | None,
    typer.Option("--tag", "-t", metavar="NAME", help="Name of the result; split: IMG-chunked by default."),
]
Push = Annotated[
    list[str] | None,
    typer.Option(
        metavar="docker://REPO:TAG", help="Push the result there; once or more, the first is uploaded."
    ),
]
Digestfile = Annotated[
    Path | None, for_output(metavar="FILE", help="Write the digest of the pushed image there.")
]
SignHint = Annotated[
    bool, for_output("--sign-by-digest-hint", help="Print how to sign the pushed image, by its digest.")
]
MaxUpdate = Annotated[
    str | None,
    for_output(
        metavar="SIZE",
        help="Fail if a client of the image before this one would download more than SIZE: 500MB, 1GiB.",
    ),
]
Attach = Annotated[
    bool,
    for_output(
        "--attach",
        help="Attach a report (diff as JSON and page, changelog) to the digest in the registry, as an OCI "
        "artifact.",
    ),
]
PlanOnly = Annotated[bool, for_output("--plan-only", help="Print the plan, write no image.")]

# Layers

MaxLayers = Annotated[
    str | None,
    typer.Option(
        metavar="N|PROFILE", help="A number, or docker, podman, bootc (120), podman-new (400); 64 by default."
    ),
]
CompressionKind = Annotated[
    str | None,
    typer.Option(
        "--compression",
        metavar="none|gzip|zstd",
        help="none by default; with --push zstd, or gzip with --max-layers docker and --format docker.",
    ),
]
ManifestFormat = Annotated[
    str | None,
    for_layers(
        "--format",
        metavar="oci|docker",
        help="Format of the manifest; by default oci, but in storage and with --push that of IMG.",
    ),
]
CompressionLevel = Annotated[int | None, for_layers(metavar="N", help="gzip 0..9 (6), zstd 1..22 (3).")]
MaxLayerSize = Annotated[
    str | None,
    for_layers(metavar="SIZE", help="Make no layer larger than SIZE (10GB), if no single file is larger."),
]

Parts = Annotated[
    bool,
    for_layers("--parts/--no-parts", help="Divide large components of which updates change only some parts."),
]

Fresh = Annotated[bool, for_layers("--fresh", help="Plan without memory, whatever earlier images recorded.")]
NoLedger = Annotated[bool, for_layers("--no-ledger", help="Record nothing in the image for the next one.")]
Adopt = Annotated[
    str,
    for_layers(
        metavar="yes|no",
        help="Keep layers of the previous image that another tool made, while nothing in them changes.",
    ),
]
Reuse = Annotated[
    bool, for_layers("--reuse/--no-reuse", help="Name unchanged blobs of the previous image again.")
]
VerifyPrevious = Annotated[
    bool | None,
    for_layers(
        "--verify-previous/--no-verify-previous",
        help="Fetch and hash the blobs that are reused; default: unless REF has a digest or is in the state.",
    ),
]
State = Annotated[
    str | None,
    for_layers(
        metavar="FILE", help="Record of what you pushed; an image that is in it needs no verification."
    ),
]

# Labels

Label = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE|KEY-|-", help="Set a label, drop one, or drop all so far; in order."),
]
Annotation = Annotated[
    list[str] | None, for_labels(metavar="KEY=VALUE|KEY-|-", help="The same for manifest annotations.")
]
SourceDateEpoch = Annotated[
    int | None,
    for_labels(
        envvar="SOURCE_DATE_EPOCH",
        min=0,
        metavar="SECONDS",
        help="Creation time of the image, epoch seconds; else that of the source image.",
    ),
]
Version = Annotated[
    str | None,
    for_labels(
        "--version",
        metavar="TEMPLATE",
        help="Version of the image: <date> is the day as YYMMDD, <date:FORMAT> as strftime has it; "
        ".1, .2 … where the previous image bears the same.",
    ),
]
Revision = Annotated[str | None, for_labels(metavar="COMMIT", help="Commit that the image is built from.")]
Description = Annotated[str | None, for_labels(metavar="TEXT", help="What the image is.")]
Pretty = Annotated[
    str | None,
    for_labels(metavar="TEXT", help="Text that <pretty> stands for; <version> is understood in it."),
]
LabelLines = Annotated[
    str | None,
    for_labels(
        "--labels",
        metavar="LINES",
        help="Labels, a line each KEY=VALUE; <version>, <date>, <pretty>, <revision>, <description> are "
        "filled in.",
    ),
]
KeepLabel = Annotated[
    list[str] | None,
    for_labels(metavar="KEY", help="Keep this label of the base, though it describes the base."),
]

# Registry

TlsVerify = Annotated[
    str | None,
    for_registry(
        "--tls-verify",
        metavar="true|false",
        envvar="RECHUNK_TLS_VERIFY",
        help="Insist on HTTPS and valid certificates of registries.",
    ),
]
Authfile = Annotated[
    str | None,
    for_registry(metavar="FILE", envvar="REGISTRY_AUTH_FILE", help="Where credentials for registries are."),
]


def _take_out(value: str | None) -> str | None:
    """Return the credentials; remove them from the environment, so that no child gets them."""
    withhold("RECHUNK_CREDS")
    return value


Creds = Annotated[
    str | None,
    for_registry(
        metavar="USER:PASSWORD",
        envvar="RECHUNK_CREDS",
        callback=_take_out,
        help="For the registry, the first --push's where there are several; better in RECHUNK_CREDS.",
    ),
]
CertDir = Annotated[
    str | None,
    for_registry(
        metavar="DIR",
        envvar="RECHUNK_CERT_DIR",
        help="Certificates for registries: *.crt of authorities, *.cert and *.key of yours.",
    ),
]

Timeout = Annotated[
    int,
    for_registry(
        min=1,
        metavar="SECONDS",
        envvar="RECHUNK_TIMEOUT",
        help="How long a registry may be silent before an attempt fails; after two silent ones an error.",
    ),
]

# Work

Threads = Annotated[
    int,
    for_work(
        "--threads",
        "-T",
        min=0,
        metavar="N",
        envvar=["RECHUNK_THREADS", "CHUNKAH_THREADS"],
        help="0: all cores.",
    ),
]
Workdir = Annotated[
    Path | None, for_work(metavar="DIR", help="For temporary files, else TMPDIR or /var/tmp.")
]


@dataclass(frozen=True, slots=True)
class Access:
    """Access to registries: a group of options for every command that reads or writes there."""

    tls_verify: TlsVerify = None
    authfile: Authfile = None
    creds: Creds = None
    cert_dir: CertDir = None
    timeout: Timeout = 60

    def registry(self, *references: str, platform: str | None = None) -> Registry:
        """Return the options as a Registry.

        Args:
            references: the images of the command; the credentials are only for the first registry in them.
            platform: [OS/]ARCH[/VARIANT] to choose from an index.

        Raises:
            UsageError: a value is malformed.
        """
        from rechunk_podman.oci import reference as names
        from rechunk_podman.oci.reference import DOCKER
        from rechunk_podman.registry.access import Registry

        if self.tls_verify not in (None, "true", "false"):
            raise UsageError(
                f"neither true nor false: {self.tls_verify!r}", hint="--tls-verify=false, or leave it out"
            )
        registry = Registry(
            tls_verify=None if self.tls_verify is None else self.tls_verify == "true",
            authfile=self.authfile,
            creds=self.creds,
            platform=platform,
            cert_dir=self.cert_dir,
            timeout=self.timeout,
        )
        for reference in references:
            if reference.startswith(DOCKER):
                return registry.only_for(names.parse(reference.removeprefix(DOCKER)).repository)
        return registry


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command: replace each parameter that is a dataclass of options by its fields.

    typer sees one option for each field, in order; the function receives the instance.
    """
    groups: dict[str, Any] = {}
    parameters = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        group = parameter.annotation
        if not is_dataclass(group):
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY))
            continue
        groups[parameter.name] = group
        declared = get_type_hints(group, include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name, parameter.KEYWORD_ONLY, default=field.default, annotation=declared[field.name]
            )
            for field in fields(group)
        ]

    @wraps(function)
    def call(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        function(**values)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call
