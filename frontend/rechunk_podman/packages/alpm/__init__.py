"""The local database of Arch Linux's pacman: reader, parsers, versions."""
