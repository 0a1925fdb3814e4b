"""The job of the chunker: `build` executes it directly, `split` by running `build --job FILE`.

`split` writes job.json into a private directory and runs the chunker, as a child or in the chunker image. The
chunker writes result.json beside it: the documents of the image, or an error. It logs to log.jsonl:
one line for each record, {"level": a level of the module logging, "message": text}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rechunk_podman.build import strict_json
from rechunk_podman.build.options import BuildOptions
from rechunk_podman.log import NOTE
from rechunk_podman.oci.spec import DiffId, Digest
from rechunk_podman.registry.access import DEFAULT, Registry

FORMAT = 1
"""The number of the format of job.json, result.json and log.jsonl."""

JOB, RESULT, LOG = "job.json", "result.json", "log.jsonl"


@dataclass(frozen=True, slots=True)
class Job:
    """The inputs, options and output of the chunker.

    rootfs: the directory of the root filesystem; with `layers` a directory for temporary files.
    output: a value of `--output`; None: an OCI archive on standard output.
    config: text of the image config, see ImageConfig.parse().
    previous: reference of the previous image.
    previous_config: text of the previous image's config, to use only that; `previous` is then for messages.
    plan_only: write no image.
    reuse: name unchanged blobs of the previous image again.
    verify: fetch and hash these blobs first; None: do so unless the previous image is trusted.
    recheck: verify also blobs that this machine has verified before.
    state: file with the record of the images that this user pushed.
    held: diff_ids of layers that need not be written, because the destination storage has them.
    lost: digests of blobs of the previous image that the repository has lost.
    follow: end as soon as no process holds the lock of the job's directory (flock(2)).
    log_level: the lowest level of records in the log, a level of the module logging.
    layers: the layout or archive with the image to split; None: the root filesystem is split as it is.
    platform: [OS/]ARCH[/VARIANT] of that image, where there are several.
    """

    rootfs: str
    options: BuildOptions = BuildOptions()  # noqa: RUF009 (frozen)
    output: str | None = None
    config: str | None = None
    previous: str | None = None
    previous_config: str | None = None
    plan_only: bool = False
    reuse: bool = True
    verify: bool | None = None
    recheck: bool = False
    state: str | None = None
    registry: Registry = DEFAULT
    held: tuple[DiffId, ...] = ()
    lost: tuple[Digest, ...] = ()
    follow: bool = False
    log_level: int = NOTE
    layers: str | None = None
    platform: str | None = None

    def to_json(self) -> bytes:
        """Return the job as a JSON object.

        Raises:
            ValueError: the job holds credentials, which must be passed in a separate file.
        """
        return strict_json.dumps(self, FORMAT)

    @classmethod
    def from_json(cls, data: bytes) -> Job:
        """Parse the result of to_json().

        Raises:
            UsageError: there is an unknown key, a wrong type or value, or another format number.
        """
        return strict_json.loads(cls, data, FORMAT, JOB)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of the chunker, see RechunkError."""

    message: str
    context: tuple[str, ...] = ()
    hint: str | None = None
    exit_code: int = 1


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a job.

    manifest, config: the documents of the image, verbatim.
    elsewhere: digests of the blobs that were not written.
    plan: see documents.plan_document(); only for a job with `plan_only`.
    error: the failure; None after success. If it is set, no other field is.
    """

    manifest: str | None = None
    config: str | None = None
    elsewhere: tuple[Digest, ...] = ()
    plan: dict[str, Any] | None = None
    error: Failure | None = None

    def to_json(self) -> bytes:
        """Return the result as a JSON object."""
        return strict_json.dumps(self, FORMAT)

    @classmethod
    def from_json(cls, data: bytes) -> Result:
        """Parse the result of to_json(); raise UsageError like Job.from_json()."""
        return strict_json.loads(cls, data, FORMAT, RESULT)
