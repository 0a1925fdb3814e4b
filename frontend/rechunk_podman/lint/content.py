"""Extract from the content of a file the facts that checks need; no content stays in memory. Pure.

Sources: PEP 552 (the header of a .pyc); sqlite.org/fileformat.html (bytes 18 and 19 of a database are 2 in
WAL mode); RFC 7468 and RFC 4880 section 6.2 (the form of a private key in text); the documented forms
of tokens: GitHub ("About authentication to GitHub"), GitLab ("Token overview"), AWS IAM ("unique
identifiers"), npm, Slack, Docker, Google's service account keys.
"""

from __future__ import annotations

import re

from rechunk_podman.components.sources.bytecode import recorded_mtime
from rechunk_podman.lint.checks import Facts
from rechunk_podman.native import holds_any
from rechunk_podman.packages.ecosystems import ECOSYSTEMS

SMALL = 64 << 10
"""Bytes of the largest file that is searched for secrets."""

TEXTS = frozenset(
    {
        "usr/lib/os-release",
        "etc/os-release",
        "etc/passwd",
        "etc/group",
        "usr/lib/passwd",
        "usr/lib/group",
        "etc/nsswitch.conf",
        "usr/etc/passwd",
        "usr/etc/group",
        "usr/etc/nsswitch.conf",
        "etc/machine-id",
        "usr/etc/machine-id",
        "var/lib/dbus/machine-id",
    }
)
"""Files that checks read whole."""

_DATABASES = frozenset(name for ecosystem in ECOSYSTEMS for name in ecosystem.locations.databases)
"""Names of files that may be package databases."""


_SQLITE_HEADER = 100
"""Bytes."""
_SQLITE = b"SQLite format 3\0"
_DULL = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/icons/", "usr/share/zoneinfo/")
_DULL_SUFFIXES: tuple[str, ...] = (
    ".so",
    ".o",
    ".a",
    ".mo",
    ".gz",
    ".xz",
    ".zst",
    ".png",
    ".svg",
    ".jpg",
    ".ttf",
    ".pyc",
    ".ko",
)
_DULL_SUFFIXES += (".h", ".hpp", ".c", ".woff2", ".jar", ".zip", ".elc", ".go", ".rst", ".html", ".css")

_PEM = re.compile(
    rb"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?)-----\r?\n"
    rb"(?:[A-Za-z-]+: [^\n]*\n|\r?\n)*[A-Za-z0-9+/=]{16,}"
)
# Kind of token; literals, one of which each token contains, for a quick search; pattern of the token.
_TOKENS = tuple(
    (what, literals, re.compile(form))
    for what, literals, form in (
        (
            "GitHub token",
            (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"),
            rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})",
        ),
        ("GitLab token", (b"glpat-",), rb"\bglpat-[A-Za-z0-9_-]{20}"),
        ("AWS access key", (b"AKIA", b"ASIA"), rb"\bA(?:KI|SI)A(?![A-Z0-9]*EXAMPLE)[A-Z0-9]{16}\b"),
        ("npm token", (b"npm_",), rb"\bnpm_[A-Za-z0-9]{36}\b"),
        ("Slack token", (b"xox",), rb"\bxox[abprs]-[0-9A-Za-z-]{20,}"),
        ("Docker token", (b"dckr_",), rb"\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}"),
    )
)
_LITERALS = (b"PRIVATE KEY", *(literal for _, literals, _ in _TOKENS for literal in literals))
_SERVICE_ACCOUNT = re.compile(rb'"type"\s*:\s*"service_account"')

# End of the path; pattern of the content, None for any content; kind of credential.
_CREDENTIALS: tuple[tuple[re.Pattern[str], re.Pattern[bytes] | None, str], ...] = tuple(
    (re.compile(rf"(?:^|/){path}\Z"), None if content is None else re.compile(content), what)
    for path, content, what in (
        (r"\.netrc", rb"\bpassword\s+\S", ".netrc with a password"),
        (r"(?:\.docker/config|auth)\.json", rb'"(?:auth|identitytoken)"\s*:\s*"[^"]', "registry login"),
        (r"\.dockercfg", rb'"auth"\s*:\s*"[^"]', "registry login"),
        (r"\.aws/credentials", rb"aws_secret_access_key\s*=\s*\S", "AWS credentials"),
        (r"\.config/gcloud/(?:.*\.json|credentials\.db|access_tokens\.db)", None, "Google Cloud credentials"),
        (
            r"\.azure/(?:accessTokens|msal_token_cache|service_principal_entries)\.(?:json|bin)",
            None,
            "Azure login",
        ),
        (r"\.kube/config", rb"(?:token|client-key-data|password)\s*:\s*\S", "Kubernetes login"),
        (r"\.git-credentials", rb"://[^/\s:]{1,255}:[^@\s]{1,1000}@", "git password"),
        (r"\.?npmrc", rb"_(?:authToken|password|auth)\s*=\s*(?!\$)\S", "npm login"),
        (r"\.pypirc", rb"(?m)^[ \t]*password\s*[:=]\s*\S", "PyPI login"),
        (r"\.pgpass", rb":[^:\s]+\s*$", "PostgreSQL password"),
        (r"\.my\.cnf", rb"(?m)^[ \t]*password\s*=\s*\S", "MySQL password"),
        (r"\.config/gh/hosts\.yml", rb"oauth_token\s*:\s*\S", "GitHub login"),
        (r"\.cargo/credentials(?:\.toml)?", rb"token\s*=\s*\S", "crates.io token"),
        (r"\.vault-token", rb"\S", "Vault token"),
        (r"\.terraform\.d/credentials\.tfrc\.json", rb'"token"\s*:\s*"[^"]', "Terraform token"),
        (r"run/secrets/.+", rb"\S", "build secret"),
    )
)
_KEYS = (
    (re.compile(r"(?:^|/)\.gnupg/private-keys-v1\.d/.+\.key\Z"), "GnuPG private key"),
    (re.compile(r"(?:^|/)\.gnupg/secring\.gpg\Z"), "GnuPG private key"),
)


def may_be_database(path: str) -> bool:
    """Return True if the name of a file is that of a package database."""
    return path.rpartition("/")[2] in _DATABASES


def bytes_wanted(path: str, size: int) -> int:
    """Return the number of bytes of a file that `facts_of()` needs; 0 if it needs none."""
    if path.endswith(".pyc"):
        return 16
    if size == 0 or size > SMALL:
        return _SQLITE_HEADER if may_be_database(path) else 0
    if path in TEXTS:
        return size
    if path.startswith(_DULL) or path.endswith(_DULL_SUFFIXES):
        return 0
    return size


def may_hold_secrets(data: bytes) -> bool:
    """Return False if nothing in the joined contents of files can be a key or a token of a known form."""
    return holds_any(data, _LITERALS)


def facts_of(path: str, size: int, data: bytes, *, has_secrets: bool | None = None) -> Facts | None:
    """Return the Facts of a file from its first `bytes_wanted()` bytes; None if there are none.

    Args:
        has_secrets: may_hold_secrets() of the data; None: ask it.
    """
    if path.endswith(".pyc"):
        recorded = recorded_mtime(data)
        return None if recorded is None else Facts(recorded=recorded)
    if data.startswith(_SQLITE) and may_be_database(path):
        return Facts(wal=True) if data[18:20] == b"\2\2" else None
    searched = data if (may_hold_secrets(data) if has_secrets is None else has_secrets) else b""
    keys, tokens = _keys(path, searched), _tokens(path, data, searched)
    text = data if path in TEXTS else None
    return Facts(text, keys=keys, tokens=tokens) if text is not None or keys or tokens else None


def _keys(path: str, data: bytes) -> tuple[str, ...]:
    found = [what for pattern, what in _KEYS if pattern.search(path)] if ".gnupg/" in path else []
    if b"PRIVATE KEY" in data:
        found += [match[1].decode().lower() for match in _PEM.finditer(data)]
        if _SERVICE_ACCOUNT.search(data):
            found.append("Google service account key")
    return tuple(dict.fromkeys(found))


def _tokens(path: str, data: bytes, searched: bytes) -> tuple[str, ...]:
    found = [
        what
        for pattern, content, what in (_CREDENTIALS if _may_be_credentials(path) else ())
        if pattern.search(path) and (content is None or content.search(data))
    ]
    return tuple(dict.fromkeys([*found, *tokens_in(searched)]))


def _may_be_credentials(path: str) -> bool:
    """Return False if no pattern of _CREDENTIALS matches: most of their names begin with a dot."""
    return (
        path.startswith(".")
        or "/." in path
        or path.endswith(("auth.json", "npmrc"))
        or "run/secrets/" in path
    )


def tokens_in(data: bytes) -> list[str]:
    """Return the kinds of tokens in a text."""
    return [
        what
        for what, literals, form in (_TOKENS if data else ())
        if any(literal in data for literal in literals) and form.search(data)
    ]
