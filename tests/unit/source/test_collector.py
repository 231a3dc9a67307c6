"""Python's cycle collector rests while any import is at work, and only then."""

from __future__ import annotations

import gc

import pytest

from caremesh.source.collector import resting


def test_it_rests_until_the_last_import_ends() -> None:
    assert gc.isenabled()
    with resting():
        assert not gc.isenabled()
        with resting():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_import_that_fails_wakes_it() -> None:
    with pytest.raises(KeyError), resting():
        raise KeyError
    assert gc.isenabled()


def test_it_is_left_as_it_was() -> None:
    gc.disable()
    try:
        with resting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
