"""A wallet goes on from the newest header that it has verified: whose key was given up since deceives it no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from caremesh.cli.main import app
from caremesh.errors import CareMeshError, Refused, Tampered, WrongLedger
from caremesh.ledger import forks
from caremesh.ledger.blocks import HeaderSignature, Validator
from caremesh.ledger.light import FOREVER_S, Answer, LightBlock, LightClient
from caremesh.node.mesh import LocalMesh
from caremesh.types import DAY_S, Did, Height, Seconds
from caremesh.wallet import kept_network
from caremesh.wallet.kept_network import KeptNetwork
from caremesh.wallet.proven import TRUST_S, Fault, ProvenLedger
from tests.support.comet_headers import CHAIN, NOW, header, members, name_of, signed
from tests.support.network_file import network_file
from tests.support.serving import served as behind_a_door

FOUNDERS, LATER = members(0, 1, 2, 3), members(4, 5, 6, 7)
LAST = 5
"""The last block of the founders, who name others for the next."""


def honest(height: Height) -> LightBlock:
    """By who orders blocks then."""
    if height > LAST:
        return signed(header(height, LATER), LATER, 4, 5, 6)
    made = header(height, FOUNDERS)
    return signed(replace(made, next_validators=name_of(LATER)) if height == LAST else made, FOUNDERS, 0, 1, 2)


def false(height: Height) -> LightBlock:
    """By keys that the founders gave up."""
    return signed(header(height, FOUNDERS, bytes([1]) * 32), FOUNDERS, 0, 1, 2)


def forked(height: Height) -> LightBlock:
    """By those who order blocks now, a second time."""
    return signed(header(height, LATER, bytes([2]) * 32), LATER, 5, 6, 7) if height > LAST else honest(height)


KEPT = honest(6)


class Node:
    """Has such headers, and proves nothing."""

    def __init__(self, made: Callable[[Height], LightBlock], newest: Height = 9) -> None:
        self.did: Did = made.__name__
        self._made, self._newest = made, newest

    def light_block(self, height: Height | None = None) -> LightBlock:
        return self._made(self._newest if height is None else height)

    def answers(self, keys: Sequence[bytes], height: Height) -> list[Answer]:
        raise AssertionError(keys, height)


def ledger(*nodes: Node, kept: LightBlock | None = None, now: Seconds = NOW + 10) -> ProvenLedger:
    light = LightClient(CHAIN, FOUNDERS, trusted_at=NOW, trust_period_s=FOREVER_S)
    return ProvenLedger(light, lambda: nodes, lambda: now, kept=kept)


@pytest.mark.promise("P4")
@pytest.mark.promise("P6")
def test_keys_that_were_given_up_deceive_who_begins_and_not_who_goes_on() -> None:
    begins = ledger(Node(false))
    begins.reader()
    assert begins.block == false(9), "from the founders alone it cannot be told"
    for nodes in ([Node(false), Node(honest)], [Node(honest), Node(false)]):
        goes_on = ledger(*nodes, kept=KEPT)
        goes_on.reader()
        assert goes_on.block == honest(9)
        assert {fault.code for fault in goes_on.faults} <= {"light.02"}
    alone = ledger(Node(false), kept=KEPT)
    with pytest.raises(Tampered, match=r"light\.02"):
        alone.reader()
    assert alone.block == KEPT


@pytest.mark.promise("P4")
def test_a_fork_after_what_is_kept_is_found_and_shown_to_whoever_trusts_the_founders() -> None:
    found = ledger(Node(honest), Node(forked), kept=KEPT)
    with pytest.raises(Tampered, match=r"light\.07"):
        found.reader()
    assert found.fork is not None
    founders = LightClient(CHAIN, FOUNDERS, trusted_at=NOW, trust_period_s=FOREVER_S)
    shown = forks.verify(found.fork, founders, NOW + 10)
    assert sorted(shown.twice) == sorted(each.key for each in members(5, 6))
    assert found.faults == [Fault("forked", "light.07")]


@pytest.mark.promise("P4")
def test_what_was_verified_is_the_least_that_is_believed_later() -> None:
    same = ledger(Node(honest), kept=honest(9))
    same.reader()
    assert same.block == honest(9)
    with pytest.raises(Refused, match=r"wallet\.60"):
        ledger(Node(honest, 8), kept=honest(9)).reader()


@pytest.mark.promise("P4")
def test_a_kept_header_is_believed_for_a_year_and_then_says_what_to_do() -> None:
    at = KEPT.signed.content().time
    assert TRUST_S == 365 * DAY_S
    assert ledger(kept=KEPT, now=at + TRUST_S).block == KEPT
    with pytest.raises(Refused, match=r"wallet\.80.*trust-founders") as caught:
        ledger(kept=KEPT, now=at + TRUST_S + 1)
    assert caught.value.place == "height 6"


@pytest.mark.promise("P6")
def test_a_kept_header_has_to_be_one_of_this_network() -> None:
    with pytest.raises(WrongLedger, match=r"light\.06"):
        ledger(kept=signed(header(6, LATER, chain="other"), LATER, 4, 5, 6))
    with pytest.raises(Tampered, match=r"light\.01"):
        ledger(kept=signed(header(6, LATER), LATER, 4, 5))
    with pytest.raises(Tampered, match=r"light\.09"):
        ledger(kept=LightBlock(KEPT.signed, [*LATER[:3], Validator(FOUNDERS[0].key, 10)]))


@pytest.mark.slow
@pytest.mark.promise("P4")
def test_a_wallet_keeps_what_it_has_verified_until_it_is_told_to_begin_anew(mesh: LocalMesh, tmp_path: Path) -> None:
    hospital, wallet = mesh.did("hospital"), tmp_path / "my.wallet"
    with behind_a_door(mesh, "hospital", tmp_path) as door:
        kept = KeptNetwork(file=network_file(mesh), relay=hospital, addresses={hospital: door.url})
        for _ in range(2):
            mesh.tick()
            with kept.open(mesh.clock) as ways:
                block = ways.light_block()
                before, kept = kept, kept.learned(ways)
            assert kept == replace(before, newest=block)
            assert block == mesh.engine.light_block()
        kept_network.keep(wallet, kept)
        assert kept_network.load(wallet) == kept
        [vote] = block.signed.signatures
        forged = replace(block, signed=replace(block.signed, signatures=[HeaderSignature(vote.key, bytes(64))]))
        with pytest.raises(CareMeshError, match=r"light\.01"):
            replace(kept, newest=forged).open(mesh.clock)
    words = ["wallet", "trust-founders", "--wallet", str(wallet)]
    assert CliRunner().invoke(app, words, "n\n").exit_code == 1
    assert kept_network.load(wallet) == kept
    done = CliRunner().invoke(app, words, "y\n")
    assert (done.exit_code, "begins with the founders" in done.stdout) == (0, True)
    assert kept_network.load(wallet) == replace(kept, newest=before_all(kept))
    assert CliRunner().invoke(app, [*words, "--yes", "--json"]).exit_code == 0
    beside = ["wallet", "trust-founders", "--wallet", str(tmp_path / "other.wallet"), "--yes"]
    assert "wallet.81" in str(CliRunner().invoke(app, beside).exception)


def before_all(kept: KeptNetwork) -> object:
    """What nothing is kept by."""
    return KeptNetwork(file=kept.file, relay=kept.relay).newest
