"""A script that uses the public interface: `api_script.py ROOTFS WORK`. mypy --strict checks it, too."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rechunk_podman
from rechunk_podman import BuildOptions, RechunkError, Update, WrittenImage

if TYPE_CHECKING:
    from typing_extensions import assert_type


def main(rootfs: Path, work: Path) -> dict[str, object]:
    """Build two images, compare them; return the facts that the test asserts."""
    options = BuildOptions(max_layers=8, created=0, tag="localhost/app:1")
    first = rechunk_podman.build(rootfs, f"oci:{work}/one", options)
    (rootfs / "opt/tool/data").write_bytes(b"2" * 5000)
    second = rechunk_podman.build(rootfs, f"oci:{work}/two", options, previous=f"oci:{work}/one")
    facts = rechunk_podman.inspect(f"oci:{work}/two")
    update = rechunk_podman.diff(f"oci:{work}/one", f"oci:{work}/two")
    if TYPE_CHECKING:
        assert_type(first, WrittenImage)
        assert_type(facts, rechunk_podman.ImageFacts)
        assert_type(update, Update)
        assert_type(update.downloaded, int)
        assert_type(rechunk_podman.split("image"), rechunk_podman.SplitResult)
    problem = ""
    try:
        rechunk_podman.inspect(f"oci:{work}/absent")
    except RechunkError as error:
        problem = error.message
    return {
        "digests": [image.manifest_descriptor.digest for image in (first, second)],
        "inspected": facts.record.digest,
        "components": [name for layer in facts.layers for name in layer.components],
        "changed": [component.name for component in update.components("changed")],
        "layers": update.count("changed"),
        "downloaded": update.downloaded,
        "size": update.new.size,
        "problem": problem,
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
