"""What the ledger has refused is told with what to do about it."""

from __future__ import annotations

import pytest

from caremesh.codec import cid_of_cbor
from caremesh.consensus.interface import Committed
from caremesh.consensus.refusals import refusal
from caremesh.contracts.members.errors import TOO_FEW_AUTHORITIES
from caremesh.contracts.network.errors import NO_QUORUM
from caremesh.errors import ErrorCode
from caremesh.ledger.application import Result


def refused(code: str, sentence: str = "", place: str = "") -> ErrorCode:
    done = Committed(TX, 7, Result(code=code, sentence=sentence, place=place), [])
    error = refusal(done)
    assert error.place == place
    return error.error


TX = bytes(cid_of_cbor(b"a transaction"))


@pytest.mark.parametrize("known", [TOO_FEW_AUTHORITIES, NO_QUORUM])
def test_a_code_of_a_contract_says_what_to_do(known: ErrorCode) -> None:
    assert known.cure
    assert refused(known.code, known.sentence, "msgs[0]") == known
    assert refused(known.code) == known, "of a refusal that was proven there is the code alone"
    assert refused(known.code, "In other words.") == ErrorCode(known.code, "In other words.", known.cure)


@pytest.mark.parametrize("code", ["members.99", "others.01", "os.01", "..01", ""])
def test_a_code_that_is_not_known_here_is_told_as_it_is(code: str) -> None:
    assert refused(code, "So.") == ErrorCode(code, "So.")
    assert refused(code) == ErrorCode(code, "The ledger refused this.")
