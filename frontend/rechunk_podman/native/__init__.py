"""The C extension: the confined walk, directory listing, file contents, the tar stream of a layer."""
