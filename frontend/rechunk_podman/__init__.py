"""rechunk-podman: a finished image in, the same files in content-based, reproducible layers out.

The names in __all__ are the public interface (docs/python-api.md); all other modules are internal.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# A subpackage takes its name here at its first import, so that the functions of the same names have to come
# after it.
import rechunk_podman.build
import rechunk_podman.split  # noqa: F401
from rechunk_podman.api import build, diff, inspect, split
from rechunk_podman.errors import (
    DatabaseError,
    ImageError,
    NamespaceRequiredError,
    RechunkError,
    RootfsError,
    ToolError,
    UsageError,
)

if TYPE_CHECKING:
    from rechunk_podman.build.options import BuildOptions
    from rechunk_podman.explain.download import Update
    from rechunk_podman.explain.inspect import ImageFacts
    from rechunk_podman.oci.write.compress import Compression
    from rechunk_podman.oci.write.documents import WrittenImage
    from rechunk_podman.registry.access import Registry
    from rechunk_podman.split.request import SplitResult

__version__ = "0.1.0"

__all__ = [
    "BuildOptions",
    "Compression",
    "DatabaseError",
    "ImageError",
    "ImageFacts",
    "NamespaceRequiredError",
    "RechunkError",
    "Registry",
    "RootfsError",
    "SplitResult",
    "ToolError",
    "Update",
    "UsageError",
    "WrittenImage",
    "__version__",
    "build",
    "diff",
    "inspect",
    "split",
]

_HOMES = {
    "BuildOptions": "build.options",
    "Compression": "oci.write.compress",
    "ImageFacts": "explain.inspect",
    "Registry": "registry.access",
    "SplitResult": "split.request",
    "Update": "explain.download",
    "WrittenImage": "oci.write.documents",
}
"""Public class -> its module, which is imported at the first use."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
