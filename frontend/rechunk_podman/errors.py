"""The errors of library code. Only cli/ turns them into text and exit codes."""

from __future__ import annotations


class RechunkError(Exception):
    """Something the user can act on.

    Args:
        message: one line that names the problem.
        context: further lines, innermost last (the file, the layer, the output of the tool).
        hint: one line that tells the user how to solve it.
        exit_code: 1 the work failed, 2 the call was wrong.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        context: tuple[str, ...] | list[str] = (),
        hint: str | None = None,
        exit_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.context = tuple(context)
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(RechunkError):
    """The call was wrong: an option, a name, a combination (exit code 2)."""

    exit_code = 2


class MissingImageError(UsageError):
    """There is no image of that name."""


class RootfsError(RechunkError):
    """The root filesystem cannot be read, or holds something that no image can hold."""


class DatabaseError(RechunkError):
    """A package database exists and cannot be read at all."""


class ImageError(RechunkError):
    """An image, layout, archive, manifest or config is not what it claims to be."""


class ToolError(RechunkError):
    """podman, buildah or skopeo is missing, too old, or failed."""


class NamespaceRequiredError(ToolError):
    """The work needs root, at least of a user namespace, and an ordinary user runs this process.

    Raised before anything is written: the command line then runs itself again in a user namespace.
    """
