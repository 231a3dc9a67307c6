"""Network namespaces of Linux: a process enters a new one, or that of another process. Nothing is installed for it.

Root may make one; anyone else makes a user namespace with it, where the system allows that. What is in it is a
loopback interface of its own, and nothing else.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

_NEW_USER: Final = 0x10000000
_NEW_NET: Final = 0x40000000
_SET_FLAGS: Final = 0x8914
"""SIOCSIFFLAGS of linux/sockios.h."""
_UP: Final = 0x1
MODULE: Final = "caremesh.testing.namespaces"


@cache
def are_to_be_had() -> bool:
    """Whether this machine lets us have them: a process tries."""
    if sys.platform != "linux":
        return False
    done = subprocess.run([sys.executable, "-m", MODULE, "new", "true"], capture_output=True, check=False)  # noqa: S603
    return done.returncode == 0


def isolate() -> None:
    """Put this process, which has one thread, into a new one, with its loopback up. Raises OSError."""
    user, group = os.getuid(), os.getgid()
    if user == 0:
        _call("unshare", _NEW_NET)
    else:
        _call("unshare", _NEW_USER | _NEW_NET)
        Path("/proc/self/setgroups").write_text("deny", "ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", "ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", "ascii")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))


def enter(pid: int) -> None:
    """Put this process into those of another. Raises OSError."""
    kinds = ("net",) if os.getuid() == 0 else ("user", "net")
    for kind in kinds:
        with Path(f"/proc/{pid}/ns/{kind}").open("rb") as there:
            _call("setns", there.fileno(), 0)


def entering(pid: int) -> list[str]:
    """What a command begins with that is to run there; it keeps its process id."""
    return [sys.executable, "-m", MODULE, str(pid)]


def _call(name: str, *words: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*words):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


if __name__ == "__main__":
    where, *command = sys.argv[1:]
    if where == "new":
        isolate()
    else:
        enter(int(where))
    os.execvp(command[0], command)  # noqa: S606 - our own commands
