"""Small applications, as the package managers of languages install them, at two moments.

Each builder returns a folder with a root filesystem `release` and its update `updated`, in which one
dependency is newer. Nothing in them runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from images.cache import MissingTool, cached, call, need

MOMENTS = ("release", "updated")

WHEELS = ("click==8.1.7", "six==1.16.0", "Jinja2==3.1.4", "MarkupSafe==2.1.5")
IDNA = {"release": "idna==3.6", "updated": "idna==3.7"}


def folder(name: str, version: str, build: Callable[[Path], None]) -> Path:
    """Return a cached folder, as cached() does.

    Raises:
        MissingTool: a program is missing, or its registry cannot be reached.
    """
    try:
        return cached(name, version, build)
    except RuntimeError as error:
        raise MissingTool(f"a package from the registry: {str(error)[-500:]}") from error


def pip() -> Path:
    """A virtual environment /opt/venv by pip, and a folder /srv/target by `pip install --target`.

    The files hold no times of their own: byte code is validated by hash.
    """
    return folder("application-pip", "3", _pip)


def _pip(aside: Path) -> None:
    stamped = {"SOURCE_DATE_EPOCH": "1700000000"}
    for moment in MOMENTS:
        # at one path, which stands in programs and byte code
        top = aside / "root"
        environment = top / "opt/venv"
        environment.parent.mkdir(parents=True)
        call(sys.executable, "-m", "venv", environment, env=stamped)
        python, quiet = environment / "bin/python", ("--quiet", "--disable-pip-version-check")
        call(python, "-m", "pip", "install", *quiet, *WHEELS, IDNA[moment], env=stamped)
        target = top / "srv/target"
        # byte code would hold the path of a temporary directory
        call(python, "-m", "pip", "install", *quiet, "--no-compile", "--target", target, "six==1.16.0")
        top.rename(aside / moment)


def uv() -> Path:
    """A virtual environment /app/.venv by uv."""
    return folder("application-uv", "2", _uv)


def _uv(aside: Path) -> None:
    tools = aside / "tools"
    call(sys.executable, "-m", "venv", tools)
    call(tools / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "uv==0.5.11")
    own = {"UV_CACHE_DIR": str(aside / "cache"), "UV_LINK_MODE": "copy"}
    for moment in MOMENTS:
        top = aside / "root"
        environment = top / "app/.venv"
        environment.parent.mkdir(parents=True)
        call(tools / "bin/uv", "venv", "--quiet", "--python", sys.executable, environment, env=own)
        packages = (*WHEELS, IDNA[moment])
        call(tools / "bin/uv", "pip", "install", "-q", "--python", environment, *packages, env=own)
        top.rename(aside / moment)
    call("rm", "-rf", tools, aside / "cache")


DEPENDENCIES = {"chalk": "2.4.2", "debug": "4.3.4", "@sindresorhus/is": "4.6.0", "semver": "7.5.4"}
"""debug needs ms@2.1.2; chalk brings a dozen of packages; semver has a program."""

MS = {"release": "2.1.2", "updated": "2.1.3"}


def npm() -> Path:
    """The application /srv/app by npm, with npm itself in /usr/local/lib/node_modules."""
    return folder("application-npm", "1", _npm)


def _manifest(app: Path, moment: str) -> None:
    app.mkdir(parents=True)
    manifest = {"name": "app", "version": "1.0.0", "dependencies": {**DEPENDENCIES, "ms": MS[moment]}}
    (app / "package.json").write_text(json.dumps(manifest))
    (app / "index.js").write_text("require('debug')('app')('started')\n")


def _npm(aside: Path) -> None:
    need("npm")
    modules = Path(call("npm", "root", "--global").strip())
    if not (modules / "npm").is_dir():
        raise MissingTool("npm among its own global packages")
    own = {"npm_config_cache": str(aside / "cache"), "npm_config_update_notifier": "false"}
    for moment in MOMENTS:
        app = aside / moment / "srv/app"
        _manifest(app, moment)
        call("npm", "install", "--prefix", app, "--no-audit", "--no-fund", "--ignore-scripts", env=own)
        call("npm", "install", "--prefix", app / "..", "--no-audit", "--no-save", "ms@2.0.0", env=own)
        top = aside / moment / "usr/local/lib/node_modules"
        top.mkdir(parents=True)
        call("cp", "-a", modules / "npm", top)
    call("rm", "-rf", aside / "cache")


def pnpm() -> Path:
    """The application /srv/app by pnpm."""
    return folder("application-pnpm", "1", _pnpm)


def _pnpm(aside: Path) -> None:
    need("npm", "node")
    tools = _tool(aside, "pnpm@9.15.0")
    for moment in MOMENTS:
        app = aside / moment / "srv/app"
        _manifest(app, moment)
        command = ("node", tools / "pnpm/bin/pnpm.cjs", "install", "--ignore-scripts")
        call(*command, "--dir", app, "--store-dir", aside / "store", "--package-import-method", "copy")
    call("rm", "-rf", aside / "tools", aside / "store")


def yarn() -> Path:
    """The application by yarn: /srv/classic by version 1, /srv/pnp and /srv/linked by version 4."""
    return folder("application-yarn", "1", _yarn)


def _yarn(aside: Path) -> None:
    need("npm", "node")
    classic = _tool(aside, "yarn@1.22.22") / "yarn/bin/yarn.js"
    berry = _tool(aside, "@yarnpkg/cli-dist@4.6.0") / "@yarnpkg/cli-dist/bin/yarn.js"
    registry = call("npm", "config", "get", "registry").strip()
    for moment in MOMENTS:
        app = aside / moment / "srv/classic"
        _manifest(app, moment)
        own = ("--registry", registry, "--cache-folder", aside / "cache", "--non-interactive")
        call("node", classic, "install", "--ignore-scripts", "--cwd", app, *own)
        for linker in ("pnp", "pnpm"):
            app = aside / moment / "srv" / {"pnp": "pnp", "pnpm": "linked"}[linker]
            _manifest(app, moment)
            settings = (
                f"nodeLinker: {linker}\nenableGlobalCache: false\nenableTelemetry: false\n"
                f"npmRegistryServer: '{registry.rstrip('/')}'\nunsafeHttpWhitelist: ['*']\n"
            )
            (app / ".yarnrc.yml").write_text(settings)
            (app / "yarn.lock").touch()
            own_home = {"HOME": str(aside), "YARN_ENABLE_IMMUTABLE_INSTALLS": "false"}
            call("node", berry, "--cwd", app, "install", env=own_home)
    call("rm", "-rf", aside / "tools", aside / "cache", aside / ".yarn")


def _tool(aside: Path, package: str) -> Path:
    """Install a program by npm; return the directory of its packages."""
    tools = aside / "tools"
    own = {"npm_config_cache": str(aside / "cache"), "npm_config_update_notifier": "false"}
    call("npm", "install", "--prefix", tools, "--no-audit", "--no-fund", package, env=own)
    return tools / "node_modules"


def gem() -> Path:
    """Two gems that are made here, saw and hammer, in /usr/local/lib/ruby/gems/3.1.0 by gem."""
    return folder("application-gem", "1", _gem)


def _gem(aside: Path) -> None:
    need("gem")
    for moment in MOMENTS:
        top = aside / "root"
        home = top / "usr/local/lib/ruby/gems/3.1.0"
        home.mkdir(parents=True)
        for name, version in (("saw", "2.0.0"), ("hammer", {"release": "1.0.0", "updated": "1.1.0"}[moment])):
            source = aside / name
            (source / "bin").mkdir(parents=True)
            (source / "lib").mkdir()
            (source / f"bin/{name}").write_text("#!/usr/bin/env ruby\n")
            (source / f"lib/{name}.rb").write_text(f"VERSION = '{version}'\n")
            (source / f"{name}.gemspec").write_text(
                f"Gem::Specification.new('{name}', '{version}') do |s|\n"
                "  s.summary = 's'\n  s.authors = ['a']\n"
                f"  s.files = ['bin/{name}', 'lib/{name}.rb']\n  s.executables = ['{name}']\nend\n"
            )
            stamped = {"SOURCE_DATE_EPOCH": "1700000000"}
            call("gem", "build", "--silent", "-C", source, f"{name}.gemspec", env=stamped)
            own = ("--local", "--no-document", "--install-dir", home)
            call("gem", "install", *own, source / f"{name}-{version}.gem", env=stamped)
            call("rm", "-rf", source)
        top.rename(aside / moment)


def composer() -> Path:
    """The application /srv/www with two packages that are made here, own/saw and own/hammer, by composer."""
    return folder("application-composer", "1", _composer)


def _composer(aside: Path) -> None:
    need("composer")
    own = {
        "COMPOSER_HOME": str(aside / "home"),
        "COMPOSER_ALLOW_SUPERUSER": "1",
        "COMPOSER_MIRROR_PATH_REPOS": "1",
    }
    for moment in MOMENTS:
        versions = {"saw": "2.0.0", "hammer": {"release": "1.0.0", "updated": "1.1.0"}[moment]}
        for name, version in versions.items():
            (aside / name).mkdir()
            manifest = {"name": f"own/{name}", "version": version, "autoload": {"classmap": [f"{name}.php"]}}
            (aside / name / "composer.json").write_text(json.dumps(manifest))
            (aside / name / f"{name}.php").write_text(f"<?php class {name} {{ const V = '{version}'; }}\n")
        app = aside / "root/srv/www"
        app.mkdir(parents=True)
        repositories = [{"type": "path", "url": str(aside / name)} for name in versions]
        required = {f"own/{name}": version for name, version in versions.items()}
        project = {"repositories": [*repositories, {"packagist.org": False}], "require": required}
        (app / "composer.json").write_text(json.dumps(project))
        call("composer", "install", "--quiet", "--no-interaction", "--working-dir", app, env=own)
        (aside / "root").rename(aside / moment)
        call("rm", "-rf", *(aside / name for name in versions))
    call("rm", "-rf", aside / "home")
