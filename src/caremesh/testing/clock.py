"""A clock that can be set."""

import time

from caremesh.types import Seconds


class SettableClock:
    """Real time plus an offset; calling it gives whole seconds UTC."""

    def __init__(self) -> None:
        self.offset_s: Seconds = 0

    def __call__(self) -> Seconds:
        return int(time.time()) + self.offset_s

    def advance(self, seconds: Seconds) -> None:
        """Let time pass; it never goes back."""
        self.offset_s += max(0, seconds)
