"""A transaction that the ledger has refused, as an error: blocks hold its code, and this program knows what to do."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Final

from caremesh.consensus.interface import Committed
from caremesh.errors import ErrorCode, Refused
from caremesh.types import Code

_CONTRACTS: Final = frozenset({"access", "consent", "identity", "members", "network", "policy", "records", "streams"})
_UNKNOWN: Final = "The ledger refused this."


def refusal(done: Committed) -> Refused:
    """Its code, its sentence, its place; and what to do, where a contract of this program says so."""
    result = done.result
    known = _codes(result.code.partition(".")[0]).get(result.code, ErrorCode(result.code, _UNKNOWN))
    return Refused(ErrorCode(result.code, result.sentence or known.sentence, known.cure), result.place)


@cache
def _codes(contract: str) -> dict[Code, ErrorCode]:
    """The codes of a contract; none of a word that is no contract."""
    if contract not in _CONTRACTS:
        return {}
    found = vars(import_module(f"caremesh.contracts.{contract}.errors")).values()
    return {each.code: each for each in found if isinstance(each, ErrorCode)}
