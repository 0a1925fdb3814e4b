"""A hook of mkdocs: links from docs/ to files of the repository lead to them on its forge.

Source: mkdocs' documentation, "Hooks" and "Events" (on_page_markdown).
"""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)")


def on_page_markdown(markdown: str, *, config: Any, **_: object) -> str:
    """Return the text of a page with its links to files outside docs/ replaced by addresses."""
    return _OUTSIDE.sub(rf"]({config.repo_url}/blob/main/\1", markdown)
