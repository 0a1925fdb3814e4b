"""The groups of options that `build` and `split` share: the choices about an image, and its identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rechunk_podman.cli.file_options import Clean, Groups, KeepMtime, Map, RootMode, Selinux
from rechunk_podman.cli.options import (
    Adopt,
    Annotation,
    Arch,
    Bootc,
    CompressionKind,
    CompressionLevel,
    Config,
    Description,
    Fresh,
    KeepLabel,
    Label,
    LabelLines,
    ManifestFormat,
    MaxLayers,
    MaxLayerSize,
    MaxSize,
    NoLedger,
    Output,
    Parts,
    PlanOnly,
    Pretty,
    Previous,
    Prune,
    Reuse,
    Revision,
    SkipSpecialFiles,
    SourceDateEpoch,
    State,
    Strict,
    Tag,
    Threads,
    VerifyPrevious,
    Version,
)
from rechunk_podman.errors import UsageError

if TYPE_CHECKING:
    from rechunk_podman.build.identity import Identity
    from rechunk_podman.build.options import BuildOptions


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """The choices about an image: a group of options of `build` and `split`."""

    output: Output = None
    tag: Tag = None
    config: Config = None
    max_layers: MaxLayers = None
    max_layer_size: MaxLayerSize = None
    parts: Parts = True
    label: Label = None
    compression: CompressionKind = None
    previous: Previous = None
    bootc: Bootc = None
    prune: Prune = None
    clean: Clean = None
    strict: Strict = False
    skip_special_files: SkipSpecialFiles = False
    map: Map = None
    groups: Groups = None
    keep_mtime: KeepMtime = None
    selinux: Selinux = "none"
    root_mode: RootMode = None
    max_size: MaxSize = None
    arch: Arch = None
    plan_only: PlanOnly = False
    compression_level: CompressionLevel = None
    manifest_format: ManifestFormat = None
    fresh: Fresh = False
    no_ledger: NoLedger = False
    adopt: Adopt = "yes"
    reuse: Reuse = True
    verify_previous: VerifyPrevious = None
    state: State = None
    annotation: Annotation = None
    source_date_epoch: SourceDateEpoch = None
    threads: Threads = 0

    def build_options(self, *, pushed: bool = False) -> BuildOptions:
        """Return the options as BuildOptions.

        Args:
            pushed: the image will be pushed, so compress its layers by default.

        Raises:
            UsageError: a value is malformed.
        """
        from rechunk_podman.build.options import (
            BuildOptions,
            parse_clean,
            parse_limit,
            parse_max_layer_size,
            parse_max_layers,
            parse_root_mode,
        )
        from rechunk_podman.cli.inputs import absolute_files, groups_of
        from rechunk_podman.oci.write.compress import Compression
        from rechunk_podman.oci.write.output import Format

        groups = groups_of(self.groups)
        wanted = None if groups.max_layers is None else str(groups.max_layers)
        profile = self.max_layers or wanted or ("bootc" if self.bootc else None)
        if self.manifest_format not in (None, *Format):
            raise UsageError(f"no such format: {self.manifest_format}", hint="one of: " + ", ".join(Format))
        if self.adopt not in ("yes", "no"):
            raise UsageError(f"neither yes nor no: {self.adopt!r}", hint="--adopt no, or leave it out")
        chosen = None if self.manifest_format is None else Format(self.manifest_format)
        is_docker = profile == "docker" or chosen is Format.DOCKER
        usual = "none" if not pushed else "gzip" if is_docker else "zstd"
        return BuildOptions(
            max_layers=parse_max_layers(profile),
            max_layer_size=parse_max_layer_size(self.max_layer_size),
            parts=self.parts,
            docker=profile == "docker",
            labels=tuple(self.label or ()),
            annotations=tuple(self.annotation or ()),
            arch=self.arch,
            created=self.source_date_epoch,
            compression=Compression.parse(self.compression or usual, self.compression_level),
            format=chosen,
            prune=tuple(self.prune or ()),
            clean=parse_clean(self.clean),
            strict=self.strict,
            skip_special_files=self.skip_special_files,
            map=absolute_files(self.map),
            groups=absolute_files(self.groups),
            keep_mtime=tuple(self.keep_mtime or ()),
            selinux=self.selinux,
            root_mode=parse_root_mode(self.root_mode),
            max_size=parse_limit("--max-size", self.max_size),
            bootc=bool(self.bootc),
            fresh=self.fresh,
            record=not self.no_ledger,
            adopt=self.adopt == "yes",
            tag=self.tag,
            threads=self.threads,
        )

    def config_text(self) -> str | None:
        """Return the text of the file that --config names.

        Raises:
            UsageError: the file cannot be read.
        """
        if self.config is None:
            return None
        try:
            return self.config.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"cannot read the config {self.config}",
                context=[str(error)],
                hint="--config FILE takes what `podman inspect IMAGE` prints, or an OCI image config",
            ) from error


@dataclass(frozen=True, slots=True)
class IdentityOptions:
    """The identity of an image: a group of options of `split`."""

    version: Version = None
    revision: Revision = None
    description: Description = None
    pretty: Pretty = None
    labels: LabelLines = None
    keep_label: KeepLabel = None

    def identity(self) -> Identity:
        """Return the options as an Identity."""
        from rechunk_podman.build.identity import Identity

        keep = tuple(self.keep_label or ())
        return Identity(self.version, self.revision, self.description, self.pretty, self.labels, keep)
