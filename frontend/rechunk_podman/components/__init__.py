"""Which files change together: one module a source, SOURCES in order, and the assignment."""
