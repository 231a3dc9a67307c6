"""A node's disk that is full, and has room again: a small file system of its own in memory, where we may mount one.

Where we may not, no process of the node may write to any file (``RLIMIT_FSIZE``): harder than a full disk, on which
what is there can be written over.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from caremesh.testing.nodes import NodeProcess

SIZE_MIB = 192
_FILLER = "filler"


class Disk(Protocol):
    kind: str
    over: bool
    """Whether what is there can be written over."""

    def fill(self) -> None: ...

    def free(self) -> None: ...


@contextmanager
def disk_of(node: NodeProcess, beside: Path) -> Iterator[Disk]:
    """The disk of a node that runs; the node is on its old one afterwards, and does not run."""
    if not _mounted(beside / "probe"):
        limited = _Limited(node)
        yield limited
        limited.free()
        node.stop()
        return
    _unmounted(beside / "probe")
    kept = beside / "kept"
    node.stop()
    node.home.rename(kept)
    try:
        assert _mounted(node.home)
        shutil.copytree(kept, node.home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("run"))
        node.start()
        node.wait(node.ready)
        yield _Mounted(node.home)
    finally:
        with suppress(FileNotFoundError):
            (node.home / _FILLER).unlink()
        node.stop()
        shutil.rmtree(kept)
        shutil.copytree(node.home, kept, ignore=shutil.ignore_patterns("run"))
        _unmounted(node.home)
        node.home.rmdir()
        kept.rename(node.home)


class _Mounted:
    kind = "a file system of its own"
    over = True

    def __init__(self, home: Path) -> None:
        self._file = home / _FILLER

    def fill(self) -> None:
        with suppress(OSError), self._file.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        with suppress(OSError), self._file.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(1 << 10))

    def free(self) -> None:
        self._file.unlink()


class _Limited:
    kind = "a limit of what processes may write"
    over = False

    def __init__(self, node: NodeProcess) -> None:
        self._node = node

    def fill(self) -> None:
        self._limit(0)

    def free(self) -> None:
        self._limit(None)

    def _limit(self, size: int | None) -> None:
        parts = [each["pid"] for each in self._node.parts().values()]
        for pid in [self._node.pid, *parts]:
            with suppress(ProcessLookupError, TypeError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def _mounted(path: Path) -> bool:
    path.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=700", "caremesh-test", str(path)]
    done = os.geteuid() == 0 and subprocess.run(words, capture_output=True, check=False).returncode == 0
    if not done:
        path.rmdir()
    return done


def _unmounted(path: Path) -> None:
    subprocess.run(["umount", str(path)], check=True)
