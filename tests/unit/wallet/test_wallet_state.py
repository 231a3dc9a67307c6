"""What a wallet remembers: which of several relationships and streams is meant, by member, counter, category and id."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from caremesh.errors import Refused
from caremesh.wallet import state as states
from caremesh.wallet.derive import relationship
from caremesh.wallet.state import Relationship, Stream, WalletState

SEED = bytes(range(32))
HOSPITAL, LABORATORY, PRACTICE = (f"did:caremesh:vectors:{letter * 32}" for letter in "abc")


def stream(member: str, number: int, category: str, counter: int = 0) -> Stream:
    made = relationship(SEED, member, number).stream(category, counter)
    return Stream(category=category, counter=counter, id=made.id)


def with_them(member: str, number: int, *streams: tuple[str, int]) -> Relationship:
    known = [stream(member, number, category, counter) for category, counter in streams]
    return Relationship(member=member, counter=number, streams=known)


OLD = with_them(HOSPITAL, 0, ("conditions", 0))
OTHER = with_them(LABORATORY, 3, ("conditions", 0), ("laboratory", 2))
NEW = with_them(HOSPITAL, 1, ("conditions", 0), ("conditions", 1))
STATE = WalletState(chain="chain", seed=SEED, relationships=[OLD, OTHER, NEW])
EVERY = [(entry, known) for entry in STATE.relationships for known in entry.streams]


def test_every_stream_is_found_with_the_keys_of_its_own_relationship_and_counter() -> None:
    assert len({known.id for _, known in EVERY}) == 5
    found = states.streams(STATE)
    assert [(located.member, located.stream) for located in found] == [(entry.member, known) for entry, known in EVERY]
    assert [located.keys.id for located in found] == [known.id for _, known in EVERY]
    for entry, known in EVERY:
        located = states.locate(STATE, known.id)
        assert (located.member, located.stream, located.keys.id) == (entry.member, known, known.id)


def test_the_keys_with_a_member_are_those_of_the_newest_relationship_and_of_the_first_when_there_is_none() -> None:
    for member, number in ((HOSPITAL, 1), (LABORATORY, 3), (PRACTICE, 0)):
        keys = states.keys_of(STATE, member)
        assert keys.channel().signing.public == relationship(SEED, member, number).channel().signing.public


def test_streams_are_chosen_by_category_and_by_the_member_they_are_kept_with() -> None:
    def chosen(categories: list[str], *sources: str) -> list[bytes]:
        return states.choose(STATE, categories, list(sources) or None)

    conditions = [known.id for _, known in EVERY if known.category == "conditions"]
    assert chosen(["conditions"]) == conditions
    assert chosen(["conditions"], LABORATORY) == [OTHER.streams[0].id]
    assert chosen(["conditions"], HOSPITAL) == [known.id for entry in (OLD, NEW) for known in entry.streams]
    assert chosen(["laboratory", "conditions"], LABORATORY) == [known.id for known in OTHER.streams]
    for source in (HOSPITAL, PRACTICE):
        with pytest.raises(Refused, match=r"wallet\.67.*category 1"):
            chosen(["laboratory"], source)


def test_a_relationship_takes_the_place_of_its_own_older_self_and_of_no_other() -> None:
    for number, entry in enumerate(STATE.relationships):
        longer = replace(entry, streams=[*entry.streams, stream(entry.member, entry.counter, "imaging")])
        expected = [*STATE.relationships[:number], longer, *STATE.relationships[number + 1 :]]
        assert states.with_relationship(STATE, longer) == replace(STATE, relationships=expected)
        assert states.with_relationship(STATE, entry) == STATE
    for member, number in ((PRACTICE, 0), (HOSPITAL, 2), (LABORATORY, 0)):
        anew = Relationship(member=member, counter=number)
        assert states.with_relationship(STATE, anew) == replace(STATE, relationships=[*STATE.relationships, anew])
