"""dpkg's database: reader and parsers."""
