"""Let Python's cycle collector rest while an import is at work.

Parsed JSON is trees: what is no longer needed goes by its reference counts, at once. The collector would only walk over
all of it again and again, which costs as much as parsing. It is the process's, so it rests until the last import ends
its piece of work; a piece is a file or some thousand lines, after which it may run.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_resting = 0
_was_on = False


@contextmanager
def resting() -> Iterator[None]:
    """No automatic collection within."""
    global _resting, _was_on  # noqa: PLW0603 - it is the state of the process
    with _lock:
        if not _resting:
            _was_on = gc.isenabled()
            gc.disable()
        _resting += 1
    try:
        yield
    finally:
        with _lock:
            _resting -= 1
            if not _resting and _was_on:
                gc.enable()
