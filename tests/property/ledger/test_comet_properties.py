"""Whatever is changed in what a CometBFT node answers: it is refused with a code, or does no harm."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from caremesh.consensus import comet_rpc
from caremesh.errors import CareMeshError
from caremesh.ledger.blocks import BlockHeader
from caremesh.ledger.light import LightClient
from tests.support.comet import chain, recorded
from tools import comet_cases
from tools.comet_cases import answers

TARGET = 3
COMMIT, PAGE = answers(comet_cases.block(chain(), TARGET), TARGET)
FIRST = recorded(1)
TRUSTING = LightClient.from_header(chain()["chain"], FIRST, FIRST.signed.content().hash())
SIGNED = recorded(TARGET).signed.content().hash()
NOW = recorded(TARGET).signed.content().time + 5


def believed(commit: bytes, page: bytes) -> BlockHeader | None:
    """The header that a client of the first block believes; None when it refuses with a code."""
    try:
        return TRUSTING.check(comet_rpc.light_block(commit, [page]), NOW)
    except CareMeshError as error:
        if error.code.startswith("light."):
            return None
        raise


def harmless(found: BlockHeader | None) -> bool:
    """Nothing was believed, or what the validators have signed."""
    return found is None or found.hash() == SIGNED


def test_unchanged_it_is_believed() -> None:
    assert believed(COMMIT, PAGE) == recorded(TARGET).signed.content()


@pytest.mark.slow
@pytest.mark.promise("P4")
def test_every_byte_of_an_answer_changed() -> None:
    """Each byte once: a bit flipped; the header believed is the one that was signed, or none."""
    refused = 0
    for number, part in enumerate((COMMIT, PAGE)):
        for at in range(len(part)):
            bent = part[:at] + bytes([part[at] ^ 1]) + part[at + 1 :]
            found = believed(bent, PAGE) if number == 0 else believed(COMMIT, bent)
            assert harmless(found), f"byte {at} of part {number}"
            refused += found is None
    assert refused > (len(COMMIT) + len(PAGE)) // 2


@given(st.integers(0, len(COMMIT) - 1), st.integers(0, 255), st.integers(0, len(PAGE) - 1), st.integers(0, 255))
def test_any_byte_becomes_any_other(at: int, value: int, place: int, other: int) -> None:
    bent = COMMIT[:at] + bytes([value]) + COMMIT[at + 1 :]
    assert harmless(believed(bent, PAGE))
    assert harmless(believed(COMMIT, PAGE[:place] + bytes([other]) + PAGE[place + 1 :]))


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(found for key, entry in inner for found in paths(entry, (*at, key)))]


PATHS = [path for path in paths(json.loads(COMMIT)["result"]["signed_header"]) if path]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(PATHS), JSON)
@example(("header", "version", "block"), "11")
def test_any_field_becomes_anything(path: tuple[Any, ...], value: Any) -> None:
    bent = comet_cases.edited(json.loads(COMMIT), [(["result", "signed_header", *path], value)])
    assert harmless(believed(json.dumps(bent).encode(), PAGE))


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_are_refused(commit: bytes, page: bytes) -> None:
    assert believed(commit, PAGE) is None
    assert harmless(believed(COMMIT, page))
