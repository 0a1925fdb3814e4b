"""Every parser of untrusted bytes, with sound inputs to damage; tests/property/test_parsers.py tries them."""

from parsers import answers, databases, images, memory, sources
from support.fuzzing import Parser

PARSERS: dict[str, Parser] = {
    **databases.PARSERS,
    **sources.PARSERS,
    **images.PARSERS,
    **memory.PARSERS,
    **answers.PARSERS,
}
