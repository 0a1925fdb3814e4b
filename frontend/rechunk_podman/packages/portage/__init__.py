"""The database of Gentoo's portage: reader, parsers, versions."""
