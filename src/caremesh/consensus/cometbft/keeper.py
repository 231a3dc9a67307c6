"""Runs one program for as long as its own standard input is open: ``python keeper.py <program> <word> …``.

A process that is killed says goodbye to nobody. CometBFT would go on answering without an application, and hold its
files; the end of a pipe is what reaches the other side whatever happens. Then, and on SIGTERM, the program gets SIGTERM
and ``PATIENCE_S`` to end in order; should the keeper itself be killed, Linux kills the program. The first line of the
output is the program's process id. Nothing but Python's library is imported, so that it starts at once.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Final

PATIENCE_S: Final = 10
_PR_SET_PDEATHSIG: Final = 1


def main(words: Sequence[str]) -> int:
    """The program's exit code; negative the signal that ended it."""
    program = subprocess.Popen(  # noqa: S603 - what it was told to keep
        list(words),
        stdin=subprocess.DEVNULL,
        preexec_fn=_with_me,  # noqa: PLW1509 - there is one thread as yet
    )
    os.write(1, b"%d\n" % program.pid)

    def end() -> None:
        program.terminate()
        try:
            program.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            program.kill()

    def until_alone() -> None:
        while os.read(0, 4_096):
            pass
        end()

    def told(*_: object) -> None:
        threading.Thread(target=end, daemon=True).start()

    signal.signal(signal.SIGTERM, told)
    threading.Thread(target=until_alone, daemon=True).start()
    return program.wait()


def _with_me() -> None:
    """In the program's process, before it begins: it goes when its parent does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) & 0xFF)
