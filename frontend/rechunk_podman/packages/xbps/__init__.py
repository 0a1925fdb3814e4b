"""The database of Void Linux's xbps: reader, parsers, versions."""
