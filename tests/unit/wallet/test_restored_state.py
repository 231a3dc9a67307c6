"""What a restore makes of the ledger, and of an index that is older than it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from caremesh.contracts.streams import queries as streams
from caremesh.crypto.hashes import tagged_hash
from caremesh.ledger.state import Reader
from caremesh.types import DAY_S
from caremesh.wallet import restore as restoring
from caremesh.wallet.state import WalletState
from tests.support.case import CATEGORIES, Case

pytestmark = pytest.mark.promise("P9")


def restored(case: Case, kept: WalletState | None = None) -> WalletState:
    return restoring.restore(case.mesh.chain, case.wallet.state.seed, case.reader, CATEGORIES, kept)


def test_what_was_granted_after_the_index_was_kept_is_found(case: Case) -> None:
    first = case.share()
    kept = case.wallet.state
    second = case.share(purposes=["HPAYMT"])
    found = restored(case, kept)
    assert [[item.consent for item in share.items] for share in found.shares] == [
        [item.consent for item in share.record.items] for share in (first, second)
    ]
    assert found.version == kept.version + 1, "its keepers have the one before"


def test_shares_come_in_the_order_of_their_beginning_each_under_a_name_that_is_always_the_same(case: Case) -> None:
    terms = case.person.terms("practice", ["conditions"], days=30)
    later = case.person.grant(replace(terms, from_=terms.from_ + DAY_S)).record
    sooner = case.share(purposes=["HPAYMT"]).record
    found = restored(case).shares
    assert [share.at for share in found] == [terms.from_, terms.from_ + DAY_S]
    assert [share.id for share in found] == [
        tagged_hash("caremesh/v1/restored-share", share.items[0].consent)[:16] for share in (sooner, later)
    ]


def test_a_stream_is_as_the_ledger_has_it_and_its_next_serial_was_never_used(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, asked = streams.stream(case.reader, case.stream), streams.stream
    assert there is not None

    def stream(reader: Reader, identity: bytes) -> object:
        return replace(there, rotation=3, epoch=2, serial=7) if identity == case.stream else asked(reader, identity)

    monkeypatch.setattr(restoring.streams, "stream", stream)
    [relationship] = restored(case).relationships
    [found] = [each for each in relationship.streams if each.id == case.stream]
    assert (found.rotation, found.epoch, found.serial) == (3, 2, 8)
