"""patterns.py: regular expressions that are compiled when they are first used."""

import re
import subprocess
import sys

import pytest

from rechunk_podman.patterns import compile_later


def test_it_is_used_like_a_pattern():
    pattern = compile_later(r"(?P<name>[a-z]+)-(\d+)", re.IGNORECASE)
    assert pattern.fullmatch("Bash-5")["name"] == "Bash"
    assert pattern.findall("a-1 b-2") == [("a", "1"), ("b", "2")]
    assert pattern.pattern == r"(?P<name>[a-z]+)-(\d+)"
    assert pattern.flags & re.IGNORECASE
    assert compile_later(rb"\d").sub(b"", b"a1") == b"a"


def test_it_is_compiled_at_its_first_use_and_once():
    pattern = compile_later("(")
    with pytest.raises(re.error):
        pattern.match("")
    pattern = compile_later("a")
    assert pattern.match is pattern.match  # the method of one object, kept


def test_the_start_of_a_build_compiles_hardly_any_and_loads_nothing_for_other_builds():
    unused = ["numpy.ma", "packaging", "plistlib"]
    unused += [f"rechunk_podman.{name}" for name in ("build.previous", "oci.read.unpack", "registry.tags")]
    code = (
        "import re, sys; ours = []; old = re._compile\n"
        "def counted(pattern, flags):\n"
        "    caller = sys._getframe(2).f_globals['__name__']\n"
        "    ours.extend([pattern] if caller.startswith('rechunk_podman') else [])\n"
        "    return old(pattern, flags)\n"
        "re._compile = counted\n"
        "import rechunk_podman.build.run\n"
        f"print(len(ours), *(name for name in {unused} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, *loaded = done.stdout.split()
    assert int(count) <= 1  # the one by which globs become regular expressions
    assert loaded == []
