from rechunk_podman.model import More

def read_directories(
    root: int, directories: list[str], ignored: tuple[bytes, ...], pruned: tuple[bytes, ...], most: int, /
) -> tuple[list[str], bytes, bytes, dict[int, More], list[int], list[int]]:
    """Reads what directories hold: lstat(2), listxattr(2) and readlink(2) of every name in and below them.

    The interpreter's lock is not held, so that several threads read at once.

    Args:
        root: handle (O_PATH) of the root filesystem, which no read leaves.
        directories: canonical paths below it (model.py).
        ignored: names of extended attributes that are not read; one that ends in a dot stands for all that
            begin with it.
        pruned: paths of directories that are not read.
        most: once there are so many names, what remains is left to the next call. Each call reads a
            directory at least.

    Returns:
        The paths; a row of 64-bit NUMBERS (model.py) for each, whose kind is 6 for sockets; the place among
        the paths of the directory that each is in, 64 bits, -1 for the first of `directories`, -2 for the
        second, and so on; by places, what few have besides; the places of directories that are left to be
        read; and the places of what has to be looked at: sockets, FIFOs, devices, names that begin with
        `.wh.`, and whatever has extended attributes (all of them, sorted by name). Directories among those
        are not read.

    Raises:
        OSError: a directory or a name in it cannot be read; its `filename` is the path.
    """
