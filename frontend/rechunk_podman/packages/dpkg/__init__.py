"""dpkg's database: its files read, and parsed."""
