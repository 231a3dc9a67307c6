"""How CometBFT's headers, sets and votes are spelled; what a client of them may be told."""

from __future__ import annotations

import pytest

from caremesh import codec
from caremesh.consensus import comet_rpc
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered, WrongLedger
from caremesh.ledger.authenticated_map import AuthenticatedMap
from caremesh.ledger.blocks import HEADER_DOMAIN, HeaderSignature, SignedHeader, Validator
from caremesh.ledger.comet import CometHeader, Instant
from caremesh.ledger.light import Answer, LightBlock, LightClient, check_answer
from caremesh.ledger.proofs import Proof
from tests.support.comet import chain, recorded
from tests.support.comet_headers import CHAIN, FOUR, KEYS, NOW, header, members, name_of, signed
from tools import comet_cases


def client(validators: list[Validator] = FOUR) -> LightClient:
    return LightClient(CHAIN, validators, trusted_at=NOW)


def test_what_a_validator_signs_is_spelled_so() -> None:
    """Protobuf by hand, field by field: CanonicalVote of CometBFT's ``canonical.proto``."""
    made = header(300, FOUR)
    name = made.hash()
    said = made.signing_input(Instant(1, 5), name)
    fields = [
        b"\x08\x02",  # type: precommit
        b"\x11" + (300).to_bytes(8, "little"),  # height; the round is 0 and so is not written
        b"\x22\x48\x0a\x20" + name + b"\x12\x24\x08\x01\x12\x20" + bytes(32),
        b"\x2a\x04\x08\x01\x10\x05",
        b"\x32\x05comet",
    ]
    body = b"".join(fields)
    assert said == bytes([len(body)]) + body
    later = CometHeader(**{each: getattr(made, each) for each in made.__struct_fields__} | {"round": 2})
    assert b"\x19" + (2).to_bytes(8, "little") in later.signing_input(Instant(1, 5), name)


def test_a_long_vote_tells_its_length_in_two_bytes() -> None:
    made = header(2**40, FOUR, chain="c" * 50)
    said = made.signing_input(Instant(2**31, 999_999_999), made.hash())
    assert said[0] & 0x80
    assert (said[0] & 0x7F) | said[1] << 7 == len(said) - 2


@pytest.mark.promise("P4")
def test_power_counts_and_time_is_signed() -> None:
    made = header(1, FOUR)
    assert client().verify(signed(made, FOUR, 0, 1, 2), NOW + 2) == made
    with pytest.raises(Tampered, match=r"light\.01"):
        client().verify(signed(made, FOUR, 0, 1), NOW + 2)
    block = signed(made, FOUR, 0, 1, 2)
    moved = [HeaderSignature(vote.key, vote.signature, Instant(NOW, 0)) for vote in block.signed.signatures]
    timeless = [HeaderSignature(vote.key, vote.signature) for vote in block.signed.signatures]
    for votes in (moved, timeless):
        with pytest.raises(Tampered, match=r"light\.01"):
            client().verify(LightBlock(SignedHeader(block.signed.header, votes), FOUR), NOW + 2)


def test_a_signature_of_the_other_engine_does_not_count() -> None:
    made = codec.encode(header(1, FOUR))
    votes = [HeaderSignature(KEYS[each].public, KEYS[each].sign(HEADER_DOMAIN + made)) for each in range(4)]
    with pytest.raises(Tampered, match=r"light\.01"):
        client().verify(LightBlock(SignedHeader(made, votes), FOUR), NOW + 2)


def test_the_names_of_sets_differ_by_order_key_and_power() -> None:
    names = {name_of(each) for each in (FOUR, FOUR[::-1], FOUR[:3], members(0, 1, 2, 3, power=11))}
    assert len(names) == 4


def test_an_answer_is_of_the_state_before_the_block() -> None:
    made = header(4, FOUR, app_hash=AuthenticatedMap().root)
    proof = Proof(siblings=AuthenticatedMap().flat.siblings(0, {}))
    assert check_answer(made, Answer(b"k", 3, proof)) is None
    with pytest.raises(Tampered, match=r"light\.08"):
        check_answer(made, Answer(b"k", 4, proof))


@pytest.mark.promise("P4")
def test_trust_starts_from_a_header_that_somebody_has_named() -> None:
    block = signed(header(7, FOUR), FOUR, 0, 1, 2)
    name = block.signed.content().hash()
    following = LightClient.from_header(CHAIN, block, name)
    assert following.height == 7
    assert following.verify(signed(header(8, FOUR), FOUR, 1, 2, 3), NOW + 9).height == 8
    for code, attempt in {
        "light.06": lambda: LightClient.from_header("other", block, name),
        "light.08": lambda: LightClient.from_header(CHAIN, block, bytes(32)),
        "light.01": lambda: LightClient.from_header(CHAIN, signed(header(7, FOUR), FOUR, 0), name),
        "light.09": lambda: LightClient.from_header(CHAIN, LightBlock(block.signed, FOUR[:3]), name),
    }.items():
        with pytest.raises(CareMeshError) as caught:
            attempt()
        assert caught.value.code == code
    assert issubclass(WrongLedger, CareMeshError)


def test_a_chain_may_begin_later_than_at_one() -> None:
    begun = LightClient(CHAIN, FOUR, trusted_at=NOW, height=99)
    with pytest.raises(Refused, match=r"light\.05"):
        begun.verify(signed(header(99, FOUR), FOUR, 0, 1, 2), NOW + 99)
    assert begun.verify(signed(header(100, FOUR), FOUR, 0, 1, 2), NOW + 100).height == 100


def test_what_is_not_an_answer_is_refused_with_the_field() -> None:
    for data in (b"", b"[]", b"{", b"\xff", b"[" * 5_000, b'{"result": 1}'):
        with pytest.raises(BadInput, match=r"light\.10"):
            comet_rpc.light_block(data, [])
    with pytest.raises(BadInput, match=r"light\.10") as caught:
        comet_rpc.light_block(b" " * (comet_rpc.MAX_ANSWER_BYTES + 1), [])
    assert caught.value.place == "length"
    with pytest.raises(BadInput) as caught:
        comet_rpc.light_block(b'{"result": {"signed_header": {"header": {"version": []}}}}', [])
    assert caught.value.place == ".result.signed_header.header.version"


def test_a_kept_header_says_of_which_engine_it_is() -> None:
    block = recorded(1)
    assert isinstance(block.signed.content(), CometHeader)
    with pytest.raises(BadInput, match=r"codec\.03"):
        block.signed.own()


def answered(height: int, edits: list[comet_cases.Edit]) -> LightBlock:
    return comet_cases.as_light_block(comet_cases.edited(comet_cases.block(chain(), height), edits), height)


def test_an_address_is_that_of_its_key() -> None:
    with pytest.raises(Tampered, match=r"light\.09"):
        answered(1, [(["validators", 0, "address"], "AB" * 20)])


@pytest.mark.parametrize(
    ("field", "value"),
    [("timestamp", "1969-12-31T23:59:59Z"), ("timestamp", "soon"), ("signature", "AAAA"), ("block_id_flag", 3)],
)
def test_a_vote_that_cannot_be_kept_is_left_out(field: str, value: str | int) -> None:
    """A light block holds only what it can be read back with."""
    block = answered(3, [([*comet_cases.VOTES, 0, field], value)])
    assert len(block.signed.signatures) == len(recorded(3).signed.signatures) - 1
    assert codec.decode_as(codec.encode(block), LightBlock) == block
