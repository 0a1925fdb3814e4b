"""Gems: gem homes, Bundler's checkouts, versions."""

from __future__ import annotations

import subprocess
from functools import cmp_to_key

from images import applications
from rechunk_podman.changelog.installed import of_root
from rechunk_podman.packages.ruby.version import compare
from rechunk_podman.rootfs.root import Root
from support.assigning import assigned, make
from support.moments import changed, unclaimed
from support.needs import require

HOME = "usr/local/lib/ruby/gems/3.3.0"


def gem(name, version, platform="ruby", home=HOME):
    """Return the files of a gem with a program."""
    full = f"{name}-{version}" + ("" if platform == "ruby" else f"-{platform}")
    text = f"# -*- encoding: utf-8 -*-\n# stub: {name} {version} {platform} lib\n\n"
    text += "Gem::Specification.new do |s|\n"
    return {
        f"{home}/specifications/{full}.gemspec": f'{text}  s.executables = ["{name}".freeze]\nend\n',
        f"{home}/gems/{full}/lib/{name}.rb": version,
        f"{home}/cache/{full}.gem": version,
    }


def test_all_versions_of_a_gem_are_one_component(tmp_path):
    make(tmp_path, {**gem("rake", "13.0.6"), **gem("rake", "13.1.0"), "usr/local/bin/rake": "x"})
    make(tmp_path, gem("nokogiri", "1.16.0", "x86_64-linux"))
    make(
        tmp_path,
        {f"{HOME}/bundler/gems/own-0123abc/own.gemspec": "x", f"{HOME}/bundler/gems/own-0123abc/x": ""},
    )
    result = assigned(tmp_path)
    assert result["ruby/rake"].version == "13.0.6 13.1.0"
    assert len(result.paths["ruby/rake"]) == 7
    assert result["ruby/nokogiri"].version == "1.16.0"
    assert len(result.paths["ruby/nokogiri"]) == 3
    assert len(result.paths["ruby/own"]) == 2
    with Root(tmp_path) as root:
        assert of_root(root).binary["rake"].text == "13.0.6 13.1.0"


def test_a_specification_without_its_comment_is_known_by_its_name(tmp_path):
    make(tmp_path, {f"{HOME}/specifications/a-b-1.2.3-java.gemspec": b"\xff\0"})
    assert assigned(tmp_path)["ruby/a-b"].version == "1.2.3"


VERSIONS = [
    "0.9",
    "1.0.a",
    "1.0.a.2",
    "1.0.b1",
    "1.0.rc1",
    "1.0",
    "1.0.1.pre",
    "1.0.1",
    "1.1-1",
    "1.1",
    "1.10",
    "2",
]


def test_versions():
    by_text = sorted(VERSIONS, key=lambda version: version[::-1])
    assert sorted(by_text, key=cmp_to_key(compare)) == VERSIONS
    assert compare("1", "1.0.0") == 0
    assert compare("none", "0") == -1


def test_ruby_orders_versions_alike():
    require("ruby")
    script = "puts ARGV.sort_by { |text| Gem::Version.new(text) }"
    done = subprocess.run(["ruby", "-e", script, *VERSIONS[::-1]], capture_output=True, text=True, check=True)
    assert done.stdout.split() == VERSIONS


def test_a_real_gem(tmp_path):
    """A gem that is made here and installed by gem, at two versions."""
    require("gem")
    names, old, _ = changed(applications.gem)
    assert names == {"ruby/hammer"}
    assert old["ruby/hammer"].version == "1.0.0"
    assert unclaimed(old) == []
