"""The spellings that decoders let pass, and ours does not."""

import base64
from collections.abc import Callable
from hashlib import sha256

import pytest
from msgspec import Struct

from caremesh import codec
from caremesh.codec import CID
from caremesh.errors import BadInput, CareMeshError, ErrorCode, Refused


class Pair(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    a: int
    b: bytes | None = None


class Link(Struct, frozen=True):
    to: CID


@pytest.mark.parametrize(
    ("spelling", "code"),
    [
        pytest.param("a26161016162f6", "codec.04", id="null where absent is the spelling"),
        pytest.param("a1616118ff00", "codec.01", id="trailing byte"),
        pytest.param("a161611801", "codec.01", id="non-minimal integer"),
        pytest.param("a261620061610", "codec.01", id="cut short"),
        pytest.param("a2616241006161", "codec.01", id="unsorted keys"),
        pytest.param("a2616101616102", "codec.01", id="duplicate key"),
        pytest.param("a16161fb3ff0000000000000", "codec.0[134]", id="float for an integer"),
        pytest.param("a26161016163 01", "codec.03", id="unknown field"),
        pytest.param("a16161f5", "codec.03", id="true for an integer"),
        pytest.param("bf616101ff", "codec.01", id="indefinite length"),
        pytest.param("a16161d82a450001551220", "codec.01", id="a link that is no CIDv1 with SHA-256"),
        pytest.param("81", "codec.01", id="missing item"),
        pytest.param("", "codec.01", id="nothing"),
    ],
)
def test_other_spellings_are_refused(spelling: str, code: str) -> None:
    spelling = spelling.replace(" ", "")
    data = bytes.fromhex(spelling if len(spelling) % 2 == 0 else spelling + "0")
    with pytest.raises(BadInput, match=code.replace(".", r"\.", 1)):
        codec.decode_as(data, Pair)


@pytest.mark.parametrize("inmost", [1, "text", [], {}, codec.cid_of_raw(b"")])
@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: [0, inner, 0]])
def test_sixteen_levels_are_the_deepest(inmost: object, wrap: Callable[[object], object]) -> None:
    levels = codec.MAX_DEPTH - isinstance(inmost, codec.CID)  # a link is a level; what is empty holds nothing
    value = inmost
    for _ in range(levels):
        value = wrap(value)
    assert codec.decode(codec.encode(value)) == value
    deeper = codec.encode(wrap(value))
    for spelled in (deeper, deeper + b"\0", deeper[:-1]):  # whatever else is wrong
        with pytest.raises(BadInput) as error:
            codec.decode(spelled)
        assert error.value.code == "codec.02"


def test_the_place_of_a_wrong_shape_is_told_without_its_value() -> None:
    with pytest.raises(BadInput) as caught:
        codec.decode_as(codec.encode({"a": "a name that must not be repeated"}), Pair)
    assert caught.value.place == "$.a"
    assert "name" not in str(caught.value)


def test_links_keep_their_type_and_random_bytes_never_become_links() -> None:
    cid = codec.cid_of_raw(b"block")
    assert codec.decode_as(codec.encode(Link(cid)), Link) == Link(cid)
    looks_like_a_cid = b"\x00" + bytes(cid)
    assert codec.decode(codec.encode({"a": looks_like_a_cid})) == {"a": looks_like_a_cid}
    with pytest.raises(BadInput, match=r"codec\.0[34]"):
        codec.decode_as(codec.encode({"to": bytes(cid)}), Link)


def test_cids_parse_from_their_own_text_only() -> None:
    cid = codec.cid_of_raw(b"block")
    assert codec.parse_cid(cid.encode()) == cid
    for text in ("", "b", cid.encode().upper(), cid.encode()[:-1], cid.encode() + "a", "z" + cid.encode()[1:], "bé"):
        with pytest.raises(BadInput, match=r"codec\.05"):
            codec.parse_cid(text)


def test_an_error_tells_code_sentence_place_and_cure() -> None:
    error = Refused(ErrorCode("x.01", "No.", "Ask."), "msgs[0]")
    assert str(error) == "x.01: No. (msgs[0]) Ask."
    assert error.code == "x.01"
    assert error.exit_code == 4


def test_every_kind_of_error_has_an_exit_code_of_its_own() -> None:
    codes = [kind.exit_code for kind in CareMeshError.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert 0 not in codes


class Names(Struct, frozen=True):
    nameX: int = 0  # noqa: N815 - a name that ends in what quotes a path


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (5, ""),
        ({"nameX": "text"}, "$.nameX"),
        ({"nameX": None}, "$.nameX"),
    ],
)
def test_the_place_is_a_path_or_nothing(value: object, place: str) -> None:
    with pytest.raises(BadInput, match=r"codec\.03") as caught:
        codec.decode_as(codec.encode(value), Names)
    assert caught.value.place == place


def test_text_is_no_other_spelling_of_bytes() -> None:
    with pytest.raises(BadInput, match=r"codec\.03"):
        codec.decode_as(codec.encode({"a": 1, "b": "AAAA"}), Pair)


def test_names_are_those_of_the_specification() -> None:
    digest = sha256(b"block").digest()
    assert bytes(codec.cid_of_raw(b"block")) == b"\x01\x55\x12\x20" + digest
    assert bytes(codec.cid_of_cbor(b"block")) == b"\x01\x71\x12\x20" + digest


@pytest.mark.parametrize("head", ["01701220", "01551320", "01551b20", "0155121f", "1220"])
def test_other_kinds_of_links_are_refused(head: str) -> None:
    other = bytes.fromhex(head) + bytes(32)
    data = b"\xd8\x2a\x58" + bytes([1 + len(other)]) + b"\x00" + other
    with pytest.raises(BadInput, match=r"codec\.01"):
        codec.decode(data)
    if head[:2] == "01":
        text = "b" + base64.b32encode(other).decode().lower().rstrip("=")
        with pytest.raises(BadInput, match=r"codec\.05"):
            codec.parse_cid(text)


def test_bits_that_the_text_has_too_many_are_zero() -> None:
    """58 characters hold two bits more than 36 bytes: a lax decoder reads four texts as one link."""
    text = codec.parse_cid(codec.cid_of_raw(b"block").encode()).encode()
    digits = "abcdefghijklmnopqrstuvwxyz234567"
    others = [text[:-1] + digits[digits.index(text[-1]) + extra] for extra in (1, 2, 3)]
    assert len({codec.CID.decode(other) for other in others}) == 1
    for other in others:
        with pytest.raises(BadInput, match=r"codec\.05"):
            codec.parse_cid(other)


def test_only_base32_spells_a_link() -> None:
    """The same bytes in another base are another text."""
    raw = bytes(codec.cid_of_raw(b"block"))
    for text in ("f" + raw.hex(), "B" + base64.b32encode(raw).decode().rstrip("=")):
        with pytest.raises(BadInput, match=r"codec\.05"):
            codec.parse_cid(text)


@pytest.mark.parametrize(
    "spelled", ["f93e00", "fa3fc00000", "fb3ff8000000000000", "fb4000000000000000", "fb7ff8000000000000"]
)
def test_floats_have_no_place(spelled: str) -> None:
    with pytest.raises(BadInput, match=r"codec\.0[13]"):
        codec.decode_as(b"\xa1\x61a" + bytes.fromhex(spelled), Pair)
