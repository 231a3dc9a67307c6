"""Before a restore each member is asked once for the streams that a seed could have with it, and for no other's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import pytest
from msgspec.structs import replace

from caremesh.consensus.interface import Committed
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.identity import queries as identity
from caremesh.contracts.members import queries as members
from caremesh.contracts.network import queries as network
from caremesh.contracts.streams import queries as streams
from caremesh.ledger import succession
from caremesh.wallet import ahead
from caremesh.wallet.derive import relationship
from caremesh.wallet.proven import ProvenLedger, ProvenReader
from tests.support.case import Case
from tests.support.honest_node import Honest

CATEGORIES = ["conditions", "laboratory"]


def reader_over(case: Case, nodes: Sequence[Honest]) -> ProvenReader:
    return ProvenLedger(case.mesh.light_client(), lambda: nodes, case.clock).reader()


@pytest.mark.promise("P1")
def test_each_member_is_asked_for_what_the_seed_could_have_with_it(case: Case) -> None:
    seed = case.wallet.state.seed
    nodes = [Honest(case, member.did) for member in members.members(case.reader)]
    first = reader_over(case, nodes)
    ahead.members_of(first)
    of_members = first.requests
    for node in nodes:
        node.asked.clear()
    reader = reader_over(case, nodes)
    ahead.restoring(reader, seed, CATEGORIES)
    assert reader.requests == of_members + len(nodes), "who the members are, and each of them once"
    prefix = streams.stream_key(bytes(32))[:-32]
    for node in nodes:
        of_streams = [asked for asked in node.asked if asked[0].startswith(prefix)]
        assert of_streams == [
            [
                streams.stream_key(relationship(seed, node.did, number).stream(category, counter).id)
                for number in range(4)
                for category in CATEGORIES
                for counter in range(4)
            ]
        ]
    ahead.restoring(case.reader, seed, CATEGORIES)  # a copy of the ledger needs none of it


@pytest.mark.promise("P1")
def test_taking_back_asks_the_source_for_its_streams_and_anybody_for_the_custodians(case: Case) -> None:
    share = case.share(categories=("conditions", "laboratory")).record
    source, sponsor = case.did("hospital"), case.did("payer")
    relay, hospital = Honest(case, "relay"), Honest(case, source)
    reader = reader_over(case, [relay, hospital])
    ahead.revoking(reader, case.wallet.state, share, sponsor)
    always = [network.params_key(), succession.KEY, identity.identity_key(sponsor)]
    each = [(streams.stream_key(item.stream), consents.consent_key(item.consent)) for item in share.items]
    assert hospital.asked == [[*always, *chain.from_iterable(each)]]
    known = consents.consent(case.reader, share.items[0].consent)
    assert known is not None
    assert relay.asked == [sorted(members.member_key(each.custodian) for each in known.fragments)]
    ahead.revoking(case.reader, case.wallet.state, share, sponsor)  # a copy of the ledger needs none of it
    nobody = replace(share, items=[replace(share.items[0], consent=bytes(32))])
    ahead.revoking(reader_over(case, [relay, hospital]), case.wallet.state, nobody, sponsor)


def test_who_reads_a_wallets_streams_ahead_knows_the_members(case: Case) -> None:
    reader = reader_over(case, [Honest(case, "relay"), Honest(case, case.did("hospital"))])
    ahead.streams_of(reader, case.wallet.state)
    before = reader.requests
    assert members.members(reader) == members.members(case.reader)
    assert reader.requests == before


class Proven:
    """The person's ledger, read with proofs only."""

    def __init__(self, case: Case, nodes: Sequence[Honest]) -> None:
        self._case, self._nodes = case, nodes

    def reader(self) -> ProvenReader:
        return reader_over(self._case, self._nodes)

    def submit_batch(self, transactions: Sequence[bytes]) -> list[Committed]:
        return self._case.ledger.submit_batch(transactions)


@pytest.mark.promise("P1")
def test_to_share_a_wallet_asks_the_source_for_the_chosen_streams_at_once_and_for_no_other(case: Case) -> None:
    relay, hospital = Honest(case, "relay"), Honest(case, case.did("hospital"))
    terms = case.person.terms("practice", ["conditions", "laboratory"], days=3)
    height = case.mesh.engine.status().height
    case.wallet.share(terms, Proven(case, [relay, hospital]), height, case.sponsor, case.mesh)
    prefix = streams.stream_key(bytes(32))[:-32]
    asked = [[key for key in keys if key.startswith(prefix)] for keys in hospital.asked]
    assert asked[0] == [streams.stream_key(stream) for stream in terms.streams]
    assert not any(asked[1:])
    assert not any(key.startswith(prefix) for keys in relay.asked for key in keys)


@pytest.mark.promise("P3")
def test_to_take_back_a_wallet_asks_the_reader_it_is_given_and_once_each(case: Case) -> None:
    shared = case.share(categories=("conditions", "laboratory"))
    relay, hospital = Honest(case, "relay"), Honest(case, case.did("hospital"))

    class Deaf:
        def submit(self, transactions: Sequence[bytes]) -> list[Committed]:
            return case.ledger.submit(transactions)

    given = reader_over(case, [relay, hospital])
    case.wallet.revoke(shared.record.id, Deaf(), case.sponsor, given)
    always = [network.params_key(), succession.KEY, identity.identity_key(case.sponsor.did)]
    each = [(streams.stream_key(item.stream), consents.consent_key(item.consent)) for item in shared.record.items]
    assert hospital.asked == [[*always, *chain.from_iterable(each)]]
    assert relay.asked == [[members.member_key(did) for did in sorted(case.mesh.custodians)]]
    assert case.consent(shared).status == "revoked"
