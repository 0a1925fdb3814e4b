"""Builds one image and prints its path.

Usage: python -m images debian-release | debian-updated | rpm-base | rpm-update
"""

from __future__ import annotations

import sys

from images import debian, rpm


def main(arguments: list[str]) -> int:
    match arguments:
        case [name] if name.startswith("debian-") and name[7:] in debian.MOMENTS:
            print(debian.tar(name[7:]))
        case [name] if name.startswith("rpm-") and name[4:] in rpm.MOMENTS:
            print(rpm.tar(name[4:]))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
