"""One meaning, one spelling, one id; nothing else is read."""

from __future__ import annotations

from typing import Any

import cbrrr
import pytest

from caremesh import codec
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, Tampered
from caremesh.ledger import transactions
from caremesh.ledger.transactions import SIGNING_DOMAIN, TransactionCodec, Tx, assemble, encode, sign, tx_id
from tests.support.kv import CHAIN, MEMBER, START_S, Kv, Put, as_signer, transaction

CODEC = TransactionCodec(Kv([]).messages)
OTHER = SigningKey.from_seed(b"other".ljust(32, b"."))


def plain(**changes: Any) -> dict[str, Any]:
    """A well-spelled transaction as plain values, with changes; None as a value leaves a field out."""
    fields: dict[str, Any] = {
        "v": 1,
        "chain": CHAIN,
        "expires_at": START_S,
        "salt": b"12345678",
        "signers": [{"key": MEMBER.public}],
        "msgs": [{"type": "kv/put", "key": b"k", "value": b"v"}],
    }
    fields.update(changes)
    return {name: value for name, value in fields.items() if value is not Ellipsis}


def signed(data: bytes, *keys: SigningKey) -> bytes:
    return sign(data, keys or [MEMBER])


def test_what_is_signed_is_read_back_with_its_id() -> None:
    raw = transaction(Put(key=b"k", value=b"v"), salt=b"saltsalt")
    checked = CODEC.decode(raw)
    data = encode(checked.tx)
    assert checked.id == tx_id(data) == codec.cid_of_cbor(data)
    assert checked.signed == raw
    assert checked.tx.msgs == [Put(key=b"k", value=b"v")]
    assert signed(data) == raw


def test_the_signing_input_has_its_domain() -> None:
    data = codec.encode(plain())
    assert CODEC.decode(assemble(data, [MEMBER.sign(SIGNING_DOMAIN + data)])).tx.chain == CHAIN
    for wrong in (data, b"caremesh/header/v1\0" + data):
        with pytest.raises(Tampered):
            CODEC.decode(assemble(data, [MEMBER.sign(wrong)]))


SHAPE, SPELLING = "codec.03", "codec.04"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"v": 2}, SHAPE),
        ({"v": ...}, SPELLING),
        ({"chain": ...}, SHAPE),
        ({"chain": "Upper"}, SHAPE),
        ({"chain": ""}, SHAPE),
        ({"chain": "a" * 33}, SHAPE),
        ({"expires_at": -1}, SHAPE),
        ({"expires_at": 2**40}, SHAPE),
        ({"expires_at": 1.5}, SHAPE),
        ({"expires_at": float(START_S)}, SHAPE),
        ({"salt": b"1234567"}, SHAPE),
        ({"salt": b"123456789"}, SHAPE),
        ({"salt": "12345678"}, SHAPE),
        ({"salt": ...}, SHAPE),
        ({"signers": []}, SHAPE),
        ({"signers": [{"key": MEMBER.public[:-1]}]}, SHAPE),
        ({"signers": [{"key": MEMBER.public, "did": None}]}, SPELLING),
        ({"signers": [{"key": MEMBER.public, "did": "did:web:example.org"}]}, SHAPE),
        ({"signers": [{"key": MEMBER.public, "role": "x"}]}, SHAPE),
        ({"msgs": []}, SHAPE),
        ({"msgs": [{"type": "kv/unknown"}]}, SHAPE),
        ({"msgs": [{"key": b"k", "value": b"v"}]}, SHAPE),
        ({"msgs": [{"type": "kv/put", "key": b"k", "value": b"v", "note": None}]}, SPELLING),
        ({"msgs": [{"type": "kv/put", "key": b"k", "value": b"v", "more": 1}]}, SHAPE),
        ({"msgs": [{"type": "kv/put", "key": b"k", "value": None}]}, SHAPE),
        ({"note": "unknown field"}, SHAPE),
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_every_other_shape_is_refused(changes: dict[str, Any], code: str) -> None:
    data = cbrrr.encode_dag_cbor(plain(**changes))
    signers = changes.get("signers", [{}])
    with pytest.raises(BadInput) as caught:
        CODEC.decode(assemble(data, [MEMBER.sign(SIGNING_DOMAIN + data) for _ in signers]))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"av\x01", b"av\x18\x01"),  # an integer that is not minimal
        (b"cbaddsaltH", b"dsaltHcbad"),
        (b"av\x01", b"av\x01av\x01"),  # a key twice
        (b"\xa6", b"\xbf"),  # indefinite length
        (b"esalt", b"esalt"),
    ],
)
def test_other_spellings_of_the_same_are_refused(old: bytes, new: bytes) -> None:
    data = codec.encode(plain())
    changed = data.replace(old, new, 1)
    if changed == data:
        changed = data + b"\xf6"  # trailing bytes
    with pytest.raises(BadInput):
        CODEC.decode(signed(changed))


def test_unsorted_keys_are_refused() -> None:
    data = codec.encode(plain())
    first, second = b"av\x01", b"dmsgs"
    assert data[1 : 1 + len(first)] == first
    assert data[4 : 4 + len(second)] == second
    end = data.index(b"dsalt")
    swapped = data[:1] + data[4:end] + first + data[end:]
    with pytest.raises(BadInput):
        CODEC.decode(signed(swapped))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(BadInput, match=r"codec\.02"):
        CODEC.decode(b"\x81" * 60_000)


def test_too_long_input_is_not_looked_at() -> None:
    with pytest.raises(BadInput, match=r"tx\.01"):
        CODEC.decode(b"\x00" * (transactions.MAX_SIGNED_BYTES + 1))


def test_each_signer_signs_once_and_in_order() -> None:
    two = codec.encode(plain(signers=[{"key": OTHER.public}, {"key": MEMBER.public}]))
    assert len(CODEC.decode(signed(two, OTHER, MEMBER)).tx.signers) == 2
    with pytest.raises(Tampered):
        CODEC.decode(signed(two, MEMBER, OTHER))
    with pytest.raises(BadInput, match=r"tx\.02"):
        CODEC.decode(signed(two, OTHER))
    with pytest.raises(BadInput, match=r"tx\.02"):
        CODEC.decode(signed(two, OTHER, MEMBER, MEMBER))
    twice = codec.encode(plain(signers=[{"key": MEMBER.public}, {"key": MEMBER.public}]))
    with pytest.raises(BadInput, match=r"tx\.03"):
        CODEC.decode(signed(twice, MEMBER, MEMBER))
    with pytest.raises(BadInput):
        CODEC.decode(signed(codec.encode(plain(signers=[{"key": key.public} for key in KEYS])), *KEYS))


KEYS = [SigningKey.from_seed(bytes([number]) * 32) for number in range(transactions.MAX_SIGNERS + 1)]


def test_a_signature_of_another_key_message_or_length_is_refused() -> None:
    data = codec.encode(plain())
    good = MEMBER.sign(SIGNING_DOMAIN + data)
    with pytest.raises(Tampered):
        CODEC.decode(assemble(data, [OTHER.sign(SIGNING_DOMAIN + data)]))
    with pytest.raises(Tampered):
        CODEC.decode(assemble(data, [good[:-1] + bytes([good[-1] ^ 1])]))
    with pytest.raises(BadInput):
        CODEC.decode(assemble(data, [good[:-1]]))
    # A scalar S + L is the same signature to a careless verifier: libsodium's rules refuse it.
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(good[32:], "little") + order
    with pytest.raises(Tampered):
        CODEC.decode(assemble(data, [good[:32] + scalar.to_bytes(32, "little")]))


def test_weak_keys_sign_nothing() -> None:
    weak = b"\xed\x01" + b"\x01" + bytes(31)  # the neutral element: R = identity, S = 0 would verify anything
    data = codec.encode(plain(signers=[{"key": weak}]))
    with pytest.raises(Tampered):
        CODEC.decode(assemble(data, [b"\x01" + bytes(63)]))


def test_the_envelope_has_one_spelling() -> None:
    data = codec.encode(plain())
    signature = MEMBER.sign(SIGNING_DOMAIN + data)
    for wrong in (
        [data, [signature], None],
        [data],
        {"tx": data},
        [data, signature],
        [data, [signature, None]],
        ["text", [signature]],
    ):
        with pytest.raises(BadInput):
            CODEC.decode(codec.encode(wrong))
    with pytest.raises(BadInput):
        CODEC.decode(assemble(data, [signature]) + b"\x00")


def test_reading_without_verifying_is_for_showing() -> None:
    data = codec.encode(plain())
    checked, (tx_bytes, signatures) = CODEC.read(assemble(data, [bytes(64)]))
    assert checked.tx.signers == [as_signer(MEMBER).__class__(key=MEMBER.public)]
    assert tx_bytes == data
    assert signatures == [bytes(64)]


def test_every_field_is_written() -> None:
    tx: Tx[Put] = Tx(
        chain=CHAIN, expires_at=0, salt=bytes(8), signers=[as_signer(MEMBER)], msgs=[Put(key=b"", value=b"")]
    )
    assert set(codec.decode(encode(tx))) == {"v", "chain", "expires_at", "salt", "signers", "msgs"}


def test_what_was_accepted_is_read_again_alike() -> None:
    raw = transaction(Put(key=b"k", value=b"v"), Put(key=b"l", value=b"w", note="n"), salt=b"saltsalt")
    assert CODEC.decode_again(raw) == CODEC.decode(raw)
