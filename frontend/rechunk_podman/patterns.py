"""Regular expressions that are compiled when they are first used.

A command loads modules with a hundred of them and uses a few; to compile all took a fifth of its start.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


def compile_later(text: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what re.compile() returns, compiled at the first use of an attribute.

    A text that is no regular expression raises re.error there.
    """
    return cast("re.Pattern[AnyStr]", _Later(text, flags))


class _Later:
    def __init__(self, text: Any, flags: int) -> None:
        self.pattern = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the compiled pattern, and keep it: this is called once for each."""
        value = getattr(re.compile(self.pattern, self._flags), name)
        setattr(self, name, value)
        return value
