"""How many layers: numbers and the profiles that stand for what clients bear."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType

from rechunk_podman.errors import UsageError

log = logging.getLogger("rechunk_podman")

PROFILES: Mapping[str, int] = MappingProxyType(
    {"docker": 120, "podman": 120, "bootc": 120, "podman-new": 400}
)
"""Layers that an image may have so that a derived image still fits below the client's limit.

dockerd refuses more than 125 layers, containers/storage before 1.44 (podman 5.8 and older) more than 128 in a
container, newer 500; bootc before 1.9 128.
"""

DEFAULT_MAX_LAYERS = 64
WARN_ABOVE = 120
REFUSE_ABOVE = 500


def chosen_layers(text: str | None, *, bootc: bool) -> str:
    """What --max-layers says, else the bootc profile for a bootable image, else the default."""
    return text or ("bootc" if bootc else str(DEFAULT_MAX_LAYERS))


def parse_max_layers(text: str) -> int:
    """The number of layers that `--max-layers TEXT` asks for.

    Raises:
        UsageError: neither a profile nor a number from 1 to 500.
    """
    if text in PROFILES:
        return PROFILES[text]
    known = ", ".join(f"{name} ({number})" for name, number in PROFILES.items())
    hint = f"give a number from 1 to {REFUSE_ABOVE}, or a profile: {known}"
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise UsageError(f"not a number of layers: {text!r}", hint=hint)
    number = int(text)
    if number > REFUSE_ABOVE:
        raise UsageError(f"{number} layers: no client takes an image of more than {REFUSE_ABOVE}", hint=hint)
    if number > WARN_ABOVE:
        log.warning(
            "%d layers: Docker takes 125 and podman before 5.9 takes 128, those of derived images included",
            number,
        )
    return number
