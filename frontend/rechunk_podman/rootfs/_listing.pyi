from rechunk_podman.model import Entry, Kind

def read_directories(
    root: int,
    directories: list[str],
    entry: type[Entry],
    kinds: tuple[Kind, ...],
    ignored: tuple[bytes, ...],
    /,
) -> tuple[dict[str, Entry], list[str], list[tuple[str, Entry]]]:
    """Reads what directories hold: lstat(2), listxattr(2) and readlink(2) of every name in them.

    The interpreter's lock is not held, so that several threads read at once.

    Args:
        root: handle (O_PATH) of the root filesystem, which no read leaves.
        directories: canonical paths below it (model.py).
        entry: Entry; kinds: its kinds, in the order of their numbers.
        ignored: names of extended attributes that are not looked at.

    Returns:
        Path -> Entry; those of them that are directories; and apart from these what has to be looked at:
        sockets (their kind is None), FIFOs, devices, names that begin with `.wh.`, and whatever has extended
        attributes (all of them, sorted by name).

    Raises:
        OSError: a directory or a name in it cannot be read; its `filename` is the path.
    """

def columns(entries: list[Entry], /) -> tuple[bytes, bytes, bytes]:
    """What entries hold, one column after the other, in one pass.

    Returns:
        A byte for the kind of each; modes, uids, gids, sizes and mtimes as 64 bits each, in this order; and a
        byte each: bit 0, it has a target, a device number or extended attributes; bit 1, it has the latter.

    Raises:
        TypeError: what is listed are no entries.
    """
