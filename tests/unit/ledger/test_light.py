"""The light client believes what enough validators have signed, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from caremesh import codec
from caremesh.crypto.hashes import tagged_hash
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered, WrongLedger
from caremesh.ledger.authenticated_map import AuthenticatedMap
from caremesh.ledger.blocks import (
    HEADER_DOMAIN,
    Header,
    HeaderSignature,
    SignedHeader,
    Validator,
    header_hash,
    validators_hash,
)
from caremesh.ledger.light import MAX_DRIFT_S, Answer, LightBlock, LightClient, check_answer
from caremesh.ledger.proofs import Proof

NOW = 1_800_000_000
KEYS = [SigningKey.from_seed(bytes([number]) * 32) for number in range(1, 12)]
PERIOD_S = 1_000


def members(*numbers: int) -> list[Validator]:
    return [Validator(KEYS[number].public, 1) for number in numbers]


def light_block(
    height: int,
    validators: list[Validator],
    *,
    signed_by: tuple[int, ...],
    following: list[Validator] | None = None,
    time: int | None = None,
    chain: str = "light",
    app_hash: bytes = bytes(32),
    domain: bytes = HEADER_DOMAIN,
) -> LightBlock:
    header = codec.encode(
        Header(
            chain=chain,
            height=height,
            time=NOW + height if time is None else time,
            previous=bytes(32),
            txs=bytes(32),
            app_hash=app_hash,
            validators=validators_hash(validators),
            next_validators=validators_hash(validators if following is None else following),
        )
    )
    signatures = [HeaderSignature(KEYS[number].public, KEYS[number].sign(domain + header)) for number in signed_by]
    return LightBlock(SignedHeader(header, signatures), validators)


FOUR = members(0, 1, 2, 3)


@pytest.fixture
def client() -> LightClient:
    return LightClient("light", FOUR, trusted_at=NOW, trust_period_s=PERIOD_S)


def test_more_than_two_thirds_are_enough(client: LightClient) -> None:
    assert client.verify(light_block(1, FOUR, signed_by=(0, 2, 3)), NOW + 1).height == 1
    assert client.height == 1
    assert client.verify(light_block(7, FOUR, signed_by=(0, 1, 2, 3)), NOW + 7).height == 7


@pytest.mark.promise("P4")
@pytest.mark.parametrize("signed_by", [(), (0,), (0, 1), (0, 1, 4, 5), (0, 0, 0, 1)])
def test_fewer_are_not(client: LightClient, signed_by: tuple[int, ...]) -> None:
    with pytest.raises(Tampered, match=r"light\.01"):
        client.verify(light_block(1, FOUR, signed_by=signed_by), NOW + 1)
    assert client.height == 0


def test_exactly_two_thirds_are_not(client: LightClient) -> None:
    three = members(0, 1, 2)
    fresh = LightClient("light", three, trusted_at=NOW, trust_period_s=PERIOD_S)
    with pytest.raises(Tampered, match=r"light\.01"):
        fresh.verify(light_block(1, three, signed_by=(0, 1)), NOW + 1)
    assert fresh.verify(light_block(1, three, signed_by=(0, 1, 2)), NOW + 1).height == 1
    assert client.height == 0


def test_power_counts_not_heads() -> None:
    heavy = [Validator(KEYS[0].public, 7), *members(1, 2, 3)]
    fresh = LightClient("light", heavy, trusted_at=NOW, trust_period_s=PERIOD_S)
    with pytest.raises(Tampered, match=r"light\.01"):
        fresh.verify(light_block(1, heavy, signed_by=(1, 2, 3)), NOW + 1)
    assert fresh.verify(light_block(1, heavy, signed_by=(0,)), NOW + 1).height == 1


def test_a_validator_listed_twice_counts_once() -> None:
    twice = [*members(0, 1, 2), *members(0, 0)]
    fresh = LightClient("light", twice, trusted_at=NOW, trust_period_s=PERIOD_S)
    with pytest.raises(Tampered, match=r"light\.01"):
        fresh.verify(light_block(1, twice, signed_by=(0,)), NOW + 1)
    often = [*members(1), *members(0, 0, 0)]  # three of the four that are listed
    fresh = LightClient("light", often, trusted_at=NOW, trust_period_s=PERIOD_S)
    with pytest.raises(Tampered, match=r"light\.01"):
        fresh.verify(light_block(1, often, signed_by=(0,)), NOW + 1)


def test_a_bad_signature_counts_nothing_and_hinders_nothing(client: LightClient) -> None:
    good = light_block(1, FOUR, signed_by=(0, 1, 2, 3))
    first = HeaderSignature(KEYS[0].public, bytes(64))
    three = [first, *good.signed.signatures[1:]]
    with pytest.raises(Tampered, match=r"light\.01"):
        client.verify(LightBlock(SignedHeader(good.signed.header, three[:3]), FOUR), NOW + 1)
    assert client.verify(LightBlock(SignedHeader(good.signed.header, three), FOUR), NOW + 1).height == 1


def test_signatures_are_of_this_header_and_domain(client: LightClient) -> None:
    good = light_block(1, FOUR, signed_by=(0, 1, 2))
    other = light_block(1, FOUR, signed_by=(0, 1, 2), app_hash=b"\1" * 32)
    mixed = LightBlock(SignedHeader(other.signed.header, good.signed.signatures), FOUR)
    with pytest.raises(Tampered, match=r"light\.01"):
        client.verify(mixed, NOW + 1)
    with pytest.raises(Tampered, match=r"light\.01"):
        client.verify(light_block(1, FOUR, signed_by=(0, 1, 2), domain=b"caremesh/tx/v1\0"), NOW + 1)


def test_the_set_is_the_one_that_the_header_names(client: LightClient) -> None:
    good = light_block(1, FOUR, signed_by=(0, 1, 2))
    with pytest.raises(Tampered, match=r"light\.09"):
        client.verify(LightBlock(good.signed, members(0, 1, 2)), NOW + 1)


def test_the_next_block_is_signed_by_the_set_that_was_announced(client: LightClient) -> None:
    later = members(1, 2, 3, 4)
    with pytest.raises(Tampered, match=r"light\.02"):
        client.verify(light_block(1, later, signed_by=(1, 2, 3, 4)), NOW + 1)
    client.verify(light_block(1, FOUR, signed_by=(0, 1, 2), following=later), NOW + 1)
    with pytest.raises(Tampered, match=r"light\.02"):
        client.verify(light_block(2, FOUR, signed_by=(0, 1, 2)), NOW + 2)
    assert client.verify(light_block(2, later, signed_by=(1, 2, 3)), NOW + 2).height == 2


def test_skipping_needs_a_third_of_the_trusted_set(client: LightClient) -> None:
    # Two of the four that are trusted are still there: enough. One is not.
    with pytest.raises(Tampered, match=r"light\.02"):
        client.verify(light_block(5, members(3, 4, 5, 6), signed_by=(3, 4, 5, 6)), NOW + 5)
    assert client.verify(light_block(5, members(2, 3, 4, 5), signed_by=(2, 3, 4, 5)), NOW + 5).height == 5


def test_exactly_a_third_of_the_trusted_set_is_not_enough() -> None:
    fresh = LightClient("light", members(0, 1, 2), trusted_at=NOW, trust_period_s=PERIOD_S)
    with pytest.raises(Tampered, match=r"light\.02"):
        fresh.verify(light_block(5, members(2, 3, 4), signed_by=(2, 3, 4)), NOW + 5)
    assert fresh.verify(light_block(5, members(1, 2, 3), signed_by=(1, 2, 3)), NOW + 5).height == 5


def test_the_set_that_was_believed_last_is_the_trusted_one(client: LightClient) -> None:
    client.verify(light_block(5, members(2, 3, 4, 5), signed_by=(2, 3, 4, 5)), NOW + 5)
    with pytest.raises(Tampered, match=r"light\.02"):
        client.verify(light_block(9, FOUR[:2], signed_by=(0, 1)), NOW + 9)
    assert client.verify(light_block(9, members(4, 5, 6, 7), signed_by=(4, 5, 6, 7)), NOW + 9).height == 9


def test_skipping_to_a_set_that_is_known_needs_nothing_else(client: LightClient) -> None:
    client.verify(light_block(1, FOUR, signed_by=(0, 1, 2), following=members(7, 8, 9)), NOW + 1)
    assert client.verify(light_block(3, members(7, 8, 9), signed_by=(7, 8, 9)), NOW + 3).height == 3


def test_errors_name_the_height(client: LightClient) -> None:
    client.verify(light_block(5, FOUR, signed_by=(0, 1, 2)), NOW + 5)
    good = light_block(6, FOUR, signed_by=(0, 1, 2))
    wrong = {
        "light.01": light_block(6, FOUR, signed_by=()),
        "light.02": light_block(6, members(4), signed_by=(4,)),
        "light.04": light_block(6, FOUR, signed_by=(0, 1, 2), time=NOW + 99),
        "light.05": light_block(4, FOUR, signed_by=(0, 1, 2)),
        "light.07": light_block(5, FOUR, signed_by=(0, 1, 2), app_hash=b"\1" * 32),
        "light.09": LightBlock(good.signed, members(0, 1, 2)),
    }
    for code, block in wrong.items():
        with pytest.raises(CareMeshError) as caught:
            client.verify(block, NOW + 5)
        assert (caught.value.code, caught.value.place) == (code, f"height {block.signed.content().height}")


def chain_of_sets(changes: int) -> Callable[[int], LightBlock]:
    """Blocks in which one of four validators is replaced at each height, up to ``changes``."""

    def at(height: int) -> LightBlock:
        first, second = (min(number, changes) for number in (height - 1, height))
        now, following = (tuple(number + at for at in range(4)) for number in (first, second))
        return light_block(height, members(*now), signed_by=now, following=members(*following))

    return at


def test_bisection_asks_for_what_lies_between(client: LightClient) -> None:
    fetch = chain_of_sets(7)
    asked: list[int] = []

    def provider(height: int) -> LightBlock:
        asked.append(height)
        return fetch(height)

    target = fetch(8)
    with pytest.raises(Tampered, match=r"light\.02"):
        client.verify(target, NOW + 8)
    assert client.advance(target, provider, NOW + 8).height == 8
    assert client.height == 8
    assert asked == [4, 2, 6]  # halfway each time: two of four change hands between 2, 4, 6 and 8


def test_bisection_goes_down_to_the_next_block_and_no_further(client: LightClient) -> None:
    """Every set is another: only neighbours vouch for each other."""
    asked: list[int] = []

    def at(height: int) -> LightBlock:
        asked.append(height)
        now, following = members(height), members(height + 1)
        return light_block(height, now, signed_by=(height,), following=following)

    fresh = LightClient("light", members(1), trusted_at=NOW, trust_period_s=PERIOD_S)
    assert fresh.advance(at(5), at, NOW + 5).height == 5
    assert asked == [5, 2, 1, 3, 4]
    asked.clear()
    with pytest.raises(Tampered, match=r"light\.02"):
        client.advance(at(1), at, NOW + 1)
    assert asked == [1]


def test_bisection_stops_at_any_other_fault(client: LightClient) -> None:
    fetch = chain_of_sets(7)

    def unsigned(height: int) -> LightBlock:
        return LightBlock(SignedHeader(fetch(height).signed.header, []), fetch(height).validators)

    with pytest.raises(Tampered, match=r"light\.01"):
        client.advance(fetch(8), unsigned, NOW + 8)


def test_bisection_ends_where_a_set_was_not_announced(client: LightClient) -> None:
    strangers = members(7, 8, 9, 10)

    def provider(height: int) -> LightBlock:
        return light_block(height, strangers, signed_by=(7, 8, 9, 10))

    with pytest.raises(Tampered, match=r"light\.02"):
        client.advance(provider(900), provider, NOW + 900)
    assert client.height == 0


def test_a_provider_that_lies_about_a_height_is_not_followed(client: LightClient) -> None:
    fetch = chain_of_sets(7)
    answers = iter([fetch(8)] * 3)
    with pytest.raises(Tampered, match=r"light\.08") as caught:
        client.advance(fetch(8), lambda _: next(answers), NOW + 8)
    assert caught.value.place == "height 4"
    assert client.height == 0


def test_trust_ends(client: LightClient) -> None:
    block = light_block(900, FOUR, signed_by=(0, 1, 2), time=NOW + PERIOD_S)
    assert client.verify(block, NOW + PERIOD_S).height == 900
    with pytest.raises(Refused, match=r"light\.03"):
        client.verify(light_block(901, FOUR, signed_by=(0, 1, 2), time=NOW + PERIOD_S + 1), NOW + 2 * PERIOD_S + 1)
    with pytest.raises(Refused, match=r"light\.03"):
        client.verify(block, NOW + 2 * PERIOD_S + 1)


def test_time_and_height_go_forward(client: LightClient) -> None:
    client.verify(light_block(5, FOUR, signed_by=(0, 1, 2)), NOW + 5)
    with pytest.raises(Refused, match=r"light\.05"):
        client.verify(light_block(4, FOUR, signed_by=(0, 1, 2)), NOW + 5)
    with pytest.raises(Refused, match=r"light\.05"):
        client.verify(light_block(6, FOUR, signed_by=(0, 1, 2), time=NOW + 4), NOW + 5)
    assert client.verify(light_block(6, FOUR, signed_by=(0, 1, 2), time=NOW + 5 + MAX_DRIFT_S), NOW + 5).height == 6
    with pytest.raises(Refused, match=r"light\.04"):
        client.verify(light_block(7, FOUR, signed_by=(0, 1, 2), time=NOW + 6 + MAX_DRIFT_S), NOW + 5)


def test_an_older_header_with_a_younger_date_is_not_newer(client: LightClient) -> None:
    with pytest.raises(Refused, match=r"light\.05"):
        client.verify(light_block(0, FOUR, signed_by=(0, 1, 2)), NOW + 5)
    client.verify(light_block(5, FOUR, signed_by=(0, 1, 2)), NOW + 5)
    with pytest.raises(Refused, match=r"light\.05"):
        client.verify(light_block(4, FOUR, signed_by=(0, 1, 2), time=NOW + 6), NOW + 6)


def test_a_fork_is_named(client: LightClient) -> None:
    block = light_block(5, FOUR, signed_by=(0, 1, 2))
    client.verify(block, NOW + 5)
    assert client.verify(block, NOW + 5).height == 5
    with pytest.raises(Tampered, match=r"light\.07"):
        client.verify(light_block(5, FOUR, signed_by=(0, 1, 3), app_hash=b"\1" * 32), NOW + 5)
    with pytest.raises(Tampered, match=r"light\.01"):
        client.verify(light_block(5, FOUR, signed_by=(), app_hash=b"\1" * 32), NOW + 5)


def test_another_chain_is_refused(client: LightClient) -> None:
    with pytest.raises(WrongLedger, match=r"light\.06"):
        client.verify(light_block(1, FOUR, signed_by=(0, 1, 2), chain="dark"), NOW + 1)


def test_checking_leaves_trust_as_it_was(client: LightClient) -> None:
    client.check(light_block(5, FOUR, signed_by=(0, 1, 2)), NOW + 5)
    assert client.height == 0
    client.verify(light_block(4, FOUR, signed_by=(0, 1, 2)), NOW + 5)


def test_a_header_has_one_spelling() -> None:
    block = light_block(1, FOUR, signed_by=(0, 1, 2))
    assert header_hash(block.signed.header) != header_hash(light_block(2, FOUR, signed_by=()).signed.header)
    fields = codec.decode(block.signed.header)
    with pytest.raises(BadInput):
        SignedHeader(codec.encode({**fields, "more": 1}), []).content()


def test_sets_are_named_whatever_their_order() -> None:
    assert validators_hash(members(0, 1)) == validators_hash(members(1, 0)) != validators_hash(members(0))


def test_a_set_is_named_by_its_keys_and_powers_in_order_of_keys() -> None:
    rows = sorted(({"key": validator.key, "power": 1} for validator in FOUR), key=lambda row: row["key"])
    assert validators_hash(FOUR) == tagged_hash("caremesh/v1/validators", codec.encode(rows))


def test_an_answer_is_of_the_header_and_proven() -> None:
    header = light_block(3, FOUR, signed_by=(0, 1, 2)).signed.content()
    proof = Proof(siblings=[bytes(32)] * 16)
    with pytest.raises(Tampered, match=r"light\.08") as caught:
        check_answer(header, Answer(b"k", 4, proof))
    assert caught.value.place == "height 4"
    with pytest.raises(Tampered, match=r"proof\.01"):
        check_answer(header, Answer(b"k", 3, proof))
    empty = light_block(3, FOUR, signed_by=(0, 1, 2), app_hash=AuthenticatedMap().root).signed.content()
    siblings = AuthenticatedMap().flat.siblings(0, {})
    assert check_answer(empty, Answer(b"k", 3, Proof(siblings=siblings))) is None


@pytest.mark.promise("P4")
def test_the_trusted_header_shown_again_changes_nothing(client: LightClient) -> None:
    """Its validators are not looked at then: they must not become those that are trusted."""
    client.verify(light_block(1, FOUR, signed_by=(0, 1, 2)), NOW + 1)
    strangers = members(6, 7, 8)
    again = LightBlock(light_block(1, FOUR, signed_by=(0, 1, 2)).signed, strangers)
    assert client.verify(again, NOW + 1).height == 1
    with pytest.raises(Tampered, match=r"light\.02"):
        client.verify(light_block(5, strangers, signed_by=(6, 7, 8)), NOW + 5)


@pytest.mark.promise("P4")
def test_strangers_cannot_cry_fork(client: LightClient) -> None:
    client.verify(light_block(1, FOUR, signed_by=(0, 1, 2)), NOW + 1)
    strangers = members(6, 7, 8)
    with pytest.raises(Tampered, match=r"light\.02"):
        client.check(light_block(1, strangers, signed_by=(6, 7, 8), app_hash=b"\1" * 32), NOW + 1)
    with pytest.raises(Tampered, match=r"light\.07"):
        client.check(light_block(1, FOUR, signed_by=(1, 2, 3), app_hash=b"\1" * 32), NOW + 1)


@pytest.mark.promise("P4")
def test_who_is_not_of_the_headers_set_does_not_vouch_for_it(client: LightClient) -> None:
    later = members(4, 5, 6, 7)
    with pytest.raises(Tampered, match=r"light\.02"):
        client.verify(light_block(5, later, signed_by=(4, 5, 6, 7, 0, 1)), NOW + 5)
