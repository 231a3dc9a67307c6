"""Invitations: a link says where, whom and which network; it is read back or refused, and claims are signed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from caremesh import codec
from caremesh.crypto.hashes import sha256, tagged_hash
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, CareMeshError
from caremesh.sealing.custody import sign_payload
from caremesh.sealing.invitation import (
    ENROLMENT,
    MAX_LINK,
    Enrolment,
    Invitation,
    check_words,
    claim,
    code_digest,
    link,
    network_digest,
    new_code,
    read_claim,
    read_link,
)

MEMBER = f"did:caremesh:test:{'a' * 32}"
KEY = SigningKey.from_seed(bytes(32))
INVITED = Invitation(
    node="https://clinic.example:8443", member=MEMBER, network=bytes(range(32)), id=b"12345678", code="a" * 16
)


def refused(text: str) -> bool:
    with pytest.raises(BadInput, match=r"relay\.03"):
        read_link(text)
    return True


def test_a_link_is_read_back() -> None:
    text = link(INVITED)
    assert text.startswith("caremesh:invite?n=https://clinic.example:8443&m=did:caremesh:test:")
    assert read_link(f" {text}\n") == INVITED
    assert len(text) < 300, "a QR code that a phone reads"


def test_a_link_that_is_not_whole_is_refused() -> None:
    text = link(INVITED)
    assert all(refused(text[:end]) for end in range(len(text)))
    assert refused(text + "&x=1")
    assert refused(text + "&c=" + "a" * 16)
    assert refused(text.replace("https:", "http:"))
    assert refused(text.replace("a" * 16, "A" * 16))
    assert refused(text + " " * 3 + "x" * MAX_LINK)
    assert refused(text.replace("m=did", "m=DID"))


@given(st.text())
def test_reading_a_link_never_crashes(text: str) -> None:
    refused(text)
    refused("caremesh:invite?" + text)


@pytest.mark.promise("P1")
def test_a_link_and_its_text_hold_no_more_than_that() -> None:
    assert repr(INVITED) == "Invitation(3132333435363738)", "the code is not shown"
    codes = {new_code() for _ in range(50)}
    assert len(codes) == 50
    assert all(read_link(link(replace(INVITED, code=code))).code == code for code in codes)


def test_a_claim_is_of_one_ledger_member_and_key() -> None:
    data = claim(INVITED, "test", b"profile", KEY)
    said = read_claim("test", MEMBER, data)
    assert (said.code, said.invitation, said.profile) == (INVITED.code, INVITED.id, b"profile")
    assert repr(said) == "Enrolment(3132333435363738)"

    def code(chain: str, member: str, given: bytes) -> str:
        with pytest.raises(CareMeshError) as caught:
            read_claim(chain, member, given)
        return caught.value.code

    assert code("other", MEMBER, data) == "relay.04"
    assert code("test", MEMBER[:-1] + "b", data) == "relay.04"
    other = SigningKey.from_seed(bytes([1]) * 32)
    stolen = codec.encode(sign_payload(ENROLMENT, replace(said, channel_key=KEY.public), other))
    assert code("test", MEMBER, stolen) == "relay.04", "a channel key that somebody else has"
    assert code("test", MEMBER, codec.encode(sign_payload("another", said, KEY))) == "custody.01"
    assert code("test", MEMBER, b"") == "custody.01"
    assert isinstance(said, Enrolment)


def test_a_code_is_kept_as_a_hash_of_its_own_and_people_compare_six_digits() -> None:
    assert code_digest(b"1" * 8, "a") != code_digest(b"2" * 8, "a")
    shown = check_words(KEY.public)
    assert (len(shown), shown[3], shown.replace(" ", "").isdigit()) == (7, " ", True)
    assert shown != check_words(SigningKey.from_seed(bytes([1]) * 32).public)


def test_what_is_hashed_and_compared_follows_from_the_design() -> None:
    assert code_digest(b"1" * 8, "abc") == tagged_hash("caremesh/v1/claim-code", b"1" * 8, b"abc")
    for seed in range(40):
        key = SigningKey.from_seed(bytes([seed]) * 32).public
        number = int.from_bytes(tagged_hash("caremesh/v1/check-number", key)[:8], "big") % 1_000_000
        digits = f"{number:06d}"
        assert check_words(key) == f"{digits[:3]} {digits[3:]}"
    assert network_digest(b"network") == sha256(b"network")


def test_what_is_no_claim_is_named() -> None:
    signed = sign_payload("caremesh/other/v1", Enrolment(
        chain="test", member=MEMBER, channel_key=KEY.public, invitation=INVITED.id, code="", profile=b""
    ), KEY)  # fmt: skip
    for data in (b"\xa0", codec.encode(signed), codec.encode(replace(signed, payload=b"\xa0"))):
        with pytest.raises(CareMeshError) as caught:
            read_claim("test", MEMBER, data)
        assert (caught.value.code, caught.value.place) == ("custody.01", "enrolment")


LINK = (
    f"caremesh:invite?n=https://clinic.example:8443&m={MEMBER}"
    "&g=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8&i=MTIzNDU2Nzg&c=aaaaaaaaaaaaaaaa"
)


def test_a_link_has_one_spelling_of_each_field() -> None:
    assert link(INVITED) == LINK
    assert read_link(LINK) == INVITED
    assert refused(LINK.removeprefix("caremesh:invite?"))
    assert refused(LINK + "&x=")
    for spelled in ("MTIzNDU2N", "MTIzNDU2", "MTIzNDU2Nzh", "MTIzNDU2Nzg%3D", "MTIzNDU2Nzg5"):
        assert refused(LINK.replace("i=MTIzNDU2Nzg", f"i={spelled}"))


def test_a_link_is_read_to_its_greatest_length() -> None:
    """Escaping makes a link longer, and no other: each sign that is escaped takes two more."""

    def escaped(text: str, signs: int) -> str:
        return "".join(f"%{ord(sign):02x}" for sign in text[:signs]) + text[signs:]

    def made(node: str, signs: int) -> str:
        rest = link(replace(INVITED, node=node)).partition("&g=")
        return (
            rest[0].replace("https:", "%68ttps%3a").replace(MEMBER, escaped(MEMBER, len(MEMBER)))
            + "&g="
            + escaped(rest[2][:43], signs)
            + rest[2][43:]
        )

    node = "https://" + "a" * 253
    node += "a" * ((MAX_LINK - len(made(node, 0))) % 2)
    signs = (MAX_LINK - len(made(node, 0))) // 2
    assert len(made(node, signs)) == MAX_LINK
    assert read_link(made(node, signs)).node == node
    assert refused(made(node + "a", signs))
