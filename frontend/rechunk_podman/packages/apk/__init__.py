"""The database of Alpine's apk: reader, parser, versions."""
