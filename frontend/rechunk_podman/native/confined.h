/* Directories and files of a root filesystem, which no call leaves.
 *
 * A path is relative to the root, "" is the root itself. Symlinks are never followed: the kernel refuses them
 * (openat2(2), Linux 5.6), or each component is opened from the one before it with O_NOFOLLOW.
 *
 * Threads: no function needs the interpreter's lock; one thread at a time uses a struct.
 */

#ifndef RECHUNK_CONFINED_H
#define RECHUNK_CONFINED_H

#include <stddef.h>

/* Open the directory at exactly this path, with these flags beside O_DIRECTORY. Return a descriptor, which the caller
 * closes, or -1 and errno: EINVAL if the path is not canonical, ENOTDIR if a component is a symlink. */
int confined_directory(int root, const char *path, size_t length, int flags);

/* The root, and the directory of the most recently opened file. */
typedef struct {
    int root;         /* the caller owns it */
    int parent;       /* or -1 */
    const char *path; /* of the parent; the caller owns it, and keeps it until confined_end() */
    size_t length;
} Confined;

/* Start without a directory. confined_end() closes what is open; the struct can be used again. */
void confined_start(Confined *self, int root);
void confined_end(Confined *self);

/* Errors of a file besides errno: it changed since the scan, or is not a regular file. */
enum { CONFINED_CHANGED = -1, CONFINED_IRREGULAR = -2 };

/* A file that is being read. */
typedef struct {
    int fd;                 /* or -1 */
    long long size, mtime;  /* as it was scanned */
    long long left;         /* bytes to be read */
    long nanoseconds;       /* of the mtime, for large files */
} ConfinedFile;

/* Open the file at exactly this path, which ends in a zero byte and which the caller keeps until confined_end(). Return 0,
 * or an error with no file open. confined_done() or confined_close() closes the file. */
int confined_open(Confined *self, const char *path, size_t length, long long size, long long mtime, ConfinedFile *file);

/* Read up to `room` of the remaining bytes (at least one remains). Return 0 and their number, or an error. */
int confined_read(ConfinedFile *file, char *buffer, size_t room, size_t *count);

/* Close a file that was read. Return 0 if it has not changed since the scan, or an error. */
int confined_done(ConfinedFile *file);

/* Close the file if it is open. */
void confined_close(ConfinedFile *file);

#endif
