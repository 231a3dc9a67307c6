"""Before a restore each member is asked once for the streams that a seed could have with it, and for no other's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import pytest
from msgspec.structs import replace

from caremesh.contracts.consent import queries as consents
from caremesh.contracts.identity import queries as identity
from caremesh.contracts.members import queries as members
from caremesh.contracts.network import queries as network
from caremesh.contracts.streams import queries as streams
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
    always = [network.params_key(), identity.identity_key(sponsor)]
    each = [(streams.stream_key(item.stream), consents.consent_key(item.consent)) for item in share.items]
    assert hospital.asked == [[*always, *chain.from_iterable(each)]]
    known = consents.consent(case.reader, share.items[0].consent)
    assert known is not None
    assert relay.asked == [sorted(members.member_key(each.custodian) for each in known.fragments)]
    ahead.revoking(case.reader, case.wallet.state, share, sponsor)  # a copy of the ledger needs none of it
    nobody = replace(share, items=[replace(share.items[0], consent=bytes(32))])
    ahead.revoking(reader_over(case, [relay, hospital]), case.wallet.state, nobody, sponsor)
