"""A node's process looks for cycles seldom, and still finds them."""

from __future__ import annotations

import gc
import weakref

from caremesh.node.process import COLLECT_EVERY, spare_the_collector


class Cycle:
    """Something that only the collector frees."""

    def __init__(self) -> None:
        self.itself = self


def test_what_is_loaded_is_left_alone_and_new_cycles_are_still_found() -> None:
    before = gc.get_threshold()
    try:
        spare_the_collector()
        assert gc.get_threshold() == COLLECT_EVERY
        assert gc.get_freeze_count() > 0
        gone = weakref.ref(Cycle())
        gc.collect()
        assert gone() is None
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
