/* Entries of a Tree, as model.py defines them. */

#ifndef RECHUNK_ENTRY_H
#define RECHUNK_ENTRY_H

/* Kind; a socket has none and is KIND_COUNT here, a name that is listed and not found is KIND_ABSENT. */
enum { KIND_FILE, KIND_DIRECTORY, KIND_SYMLINK, KIND_FIFO, KIND_CHAR, KIND_BLOCK, KIND_COUNT, KIND_ABSENT };

/* NUMBERS: the fields of an Entry that are numbers, 64 bits each. */
enum { ROW_KIND, ROW_MODE, ROW_UID, ROW_GID, ROW_SIZE, ROW_MTIME, ROW_DEV, ROW_INO, ROW_NLINK, ROW_COUNT };

/* More: the rare fields of entries. */
enum { MORE_TARGET, MORE_RDEV, MORE_XATTRS, MORE_COUNT };

#endif
