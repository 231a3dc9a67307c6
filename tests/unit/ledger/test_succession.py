"""Which chains are of a network, and for which of them a transaction is."""

from __future__ import annotations

import pytest

from caremesh.ledger.state import View
from caremesh.ledger.succession import KEY, SUCCESSION, Succession, chain_of, following, is_of, succeed


class Nothing:
    """A state without anything in it."""

    def get(self, _: bytes, /) -> bytes | None:
        return None


@pytest.mark.promise("P4")
@pytest.mark.parametrize(
    ("chain", "belongs"),
    [
        ("net", True),
        ("net.7", True),
        ("other", False),
        ("other.7", False),
        ("net.7.9", False),
        ("", False),
        (".7", False),
        (".", False),
        ("netXX.XX7", False),
    ],
)
def test_the_chains_of_a_network_are_its_name_and_that_with_one_height(chain: str, belongs: bool) -> None:
    assert is_of(chain, "net") is belongs


@pytest.mark.promise("P4")
def test_transactions_are_for_the_first_chain_until_its_successor_is_written() -> None:
    view = View(Nothing())
    assert chain_of(view, "net") == "net"
    succeed(view, "net", 7)
    assert SUCCESSION.get(view) == Succession("net.7", 7)
    assert view.get(KEY) is not None
    assert chain_of(view, "net") == following("net", 7) == "net.7"
