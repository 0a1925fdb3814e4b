"""Files that record mtimes, or whose users depend on mtimes: byte code, Java's shared archives, web roots.

Sources: PEP 552; Lib/py_compile.py (SOURCE_DATE_EPOCH makes hash-based .pyc); JEP 310 and 350 (an archive
checks the times and sizes of its jars); RFC 9110, sections 8.8.2 and 8.8.3 (Last-Modified, ETag).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rechunk_podman.components.sources.bytecode import source_of
from rechunk_podman.lint.checks import Check, Finding, Severity, Subject
from rechunk_podman.units import plural

_JAVA_ARCHIVES = re.compile(r".*\.jsa\Z", re.DOTALL)
_WEB_ROOTS = (
    "var/www",
    "srv/www",
    "srv/http",
    "usr/share/nginx/html",
    "usr/local/apache2/htdocs",
    "usr/share/caddy",
    "usr/share/httpd/noindex",
)


def _timestamped(subject: Subject) -> Iterator[Finding]:
    paths = tuple(p for p, facts in subject.facts.items() if facts.recorded is not None and p in subject.tree)
    if paths:
        yield Finding(f"{plural(len(paths), '.pyc file')} validated by the time of the .py", paths)


def _stale(subject: Subject) -> Iterator[Finding]:
    paths = []
    for path, facts in subject.facts.items():
        source = source_of(path) if facts.recorded is not None else None
        # Python uses the mtime of the target of a symlink.
        found = subject.find(source) if source is not None else None
        entry = subject.tree.get(found) if found is not None else None
        if entry is not None and entry.mtime & 0xFFFFFFFF != facts.recorded:
            paths.append(path)
    if paths:
        yield Finding(f"{plural(len(paths), '.pyc file')} not of the time of the .py beside it", tuple(paths))


def _java(subject: Subject) -> Iterator[Finding]:
    paths = tuple(path for path in subject.files(_JAVA_ARCHIVES) if subject.tree[path].size)
    if paths:
        yield Finding(f"{plural(len(paths), 'archive')} of shared classes", paths)


def _web(subject: Subject) -> Iterator[Finding]:
    for root in _WEB_ROOTS:
        files = tuple(path for path, entry in subject.below(root) if entry.size)
        if files:
            yield Finding(f"{plural(len(files), 'file')} that a web server serves from /{root}", files)


CHECKS = (
    Check(
        "pyc-timestamps",
        Severity.WARNING,
        "byte code is validated by hash, not by time",
        "A timestamped .pyc holds the mtime of its .py; where that is the time of the build (pip install, "
        "COPY) both differ at every build, and the times of these .py files cannot be made constant.",
        "set SOURCE_DATE_EPOCH in the environment of the steps that compile Python (Python then writes "
        "hash-based .pyc), or python3 -m compileall --invalidation-mode checked-hash",
        _timestamped,
    ),
    Check(
        "pyc-stale",
        Severity.WARNING,
        "byte code belongs to the source beside it",
        "Python compiles each of these modules again at every start, since nobody can store the result in a "
        "read-only image: a start of 60 ms becomes one of 1.4 s.",
        "compile after the last step that touches the sources; do not clamp mtimes afterwards",
        _stale,
    ),
    Check(
        "java-archives",
        Severity.NOTE,
        "Java class archives (.jsa) check the times of their jars",
        "A class data sharing archive records mtime and size of the jars it was made from; where a build "
        "sets other times, the JVM ignores it, or refuses to start with -Xshare:on.",
        "keep the times of jars and archives: --keep-mtime DIRECTORY, or the attribute user.mtime=keep",
        _java,
    ),
    Check(
        "web-roots",
        Severity.NOTE,
        "web servers tell versions of a file by its time",
        "nginx and others make the ETag of mtime and size: a constant mtime makes caches keep the old "
        "file after an update of the same size. Times made by rechunk-podman follow the content; those of "
        "other tools may not.",
        "nothing, where rechunk-podman writes the layers; else keep the times, or serve with "
        "Cache-Control: no-cache",
        _web,
    ),
)
