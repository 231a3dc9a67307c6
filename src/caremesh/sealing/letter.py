"""A letter: what a wallet sends a member by way of any other, who learns neither kind nor content; and the reply.

    letter = HPKE(member's channel key, frame of Letter), info = domain, aad = member's DID
    reply  = HPKE(the letter's reply key, frame of Reply), info = domain, aad = SHA-256(letter)
    frame  = uint32 length ‖ DAG-CBOR ‖ zeros to the next of ``SIZES``

Who carries it sees for whom it is and one of four sizes. ``content`` is a message as it is without a relay (a sealing
profile, a share, a dispute), sealed and signed by the person's channel key; the letter adds no authority. The reply
key is made for one letter and then forgotten, so that two letters of one person have nothing in common.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NamedTuple, TypeAlias, TypeVar

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.crypto import envelope
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, CareMeshError, ErrorCode, Refused, StorageFailed, Tampered, Unavailable
from caremesh.types import Did

LETTER: Final = "caremesh/letter/v1"
REPLY: Final = "caremesh/letter-reply/v1"
SIZES: Final = tuple(2**bits for bits in (14, 16, 18, 20))
OVERHEAD_BYTES: Final = 1_120 + envelope.TAG_BYTES
"""Of HPKE: the encapsulated key and the tag."""
MAX_LETTER_BYTES: Final = SIZES[-1] + OVERHEAD_BYTES
_LENGTH_BYTES: Final = 4

LetterKind: TypeAlias = Literal["enrolment", "profile", "share", "dispute"]

TOO_LONG = ErrorCode("relay.01", "This is more than one letter can hold.", "Share fewer categories at once.")
NOT_A_LETTER = ErrorCode("relay.02", "This letter or reply was changed, or is for somebody else.", "Send it again.")

_KINDS: Final[dict[str, type[CareMeshError]]] = {
    kind.__name__: kind for kind in (BadInput, Refused, Tampered, StorageFailed, Unavailable)
}


class Letter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the member reads. ``about``: the receipt of a dispute, else empty."""

    kind: LetterKind
    content: bytes
    about: Annotated[bytes, Meta(max_length=32)] = b""
    reply_key: Annotated[bytes, Meta(min_length=envelope.HPKE_PUBLIC_BYTES, max_length=envelope.HPKE_PUBLIC_BYTES)]

    def __repr__(self) -> str:
        return "Letter(…)"


class Reply(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of it: ``value``, or the error that it met, as the error tree names it."""

    value: bytes = b""
    error: str = ""
    code: Annotated[str, Meta(max_length=64)] = ""
    sentence: Annotated[str, Meta(max_length=500)] = ""
    cure: Annotated[str, Meta(max_length=500)] = ""
    place: Annotated[str, Meta(max_length=500)] = ""


T = TypeVar("T", Letter, Reply)


class Posted(NamedTuple):
    """A letter on its way: ``sealed`` is to be carried, ``reply_private`` opens the reply to it."""

    sealed: bytes
    reply_private: bytes

    def __repr__(self) -> str:
        return "Posted(…)"


def write(member: Did, member_hpke: bytes, kind: LetterKind, content: bytes, about: bytes = b"") -> Posted:
    """A letter for one member. Raises BadInput relay.01, envelope.01."""
    private, public = envelope.hpke_generate()
    letter = Letter(kind=kind, content=content, about=about, reply_key=public)
    return Posted(envelope.hpke_seal(member_hpke, _frame(letter), LETTER.encode(), member.encode()), private)


def read(member: Did, hpke_private: bytes, sealed: bytes) -> Letter:
    """The member's side. Raises Tampered relay.02."""
    return _open(hpke_private, sealed, LETTER, member.encode(), Letter)


def answer(letter: Letter, sealed: bytes, value: bytes = b"", error: CareMeshError | None = None) -> bytes:
    """The reply to a letter that came as ``sealed``. Raises BadInput relay.01, envelope.01."""
    reply = Reply(value=value)
    if error is not None:
        told = error.error
        reply = Reply(
            error=type(error).__name__, code=told.code, sentence=told.sentence, cure=told.cure, place=error.place[:500]
        )
    return envelope.hpke_seal(letter.reply_key, _frame(reply), REPLY.encode(), sha256(sealed))


def outcome(posted: Posted, reply: bytes) -> bytes:
    """What the member answered. Raises Tampered relay.02, and the error that the reply names."""
    said = _open(posted.reply_private, reply, REPLY, sha256(posted.sealed), Reply)
    if said.error:
        raise _KINDS.get(said.error, Refused)(ErrorCode(said.code, said.sentence, said.cure), said.place)
    return said.value


def _frame(content: Letter | Reply) -> bytes:
    data = codec.encode(content)
    data = len(data).to_bytes(_LENGTH_BYTES, "big") + data
    for size in SIZES:
        if len(data) <= size:
            return data.ljust(size, b"\0")
    raise BadInput(TOO_LONG)


def _open(private: bytes, sealed: bytes, domain: str, aad: bytes, kind: type[T]) -> T:
    try:
        if len(sealed) > MAX_LETTER_BYTES:
            raise Tampered(NOT_A_LETTER)
        frame = envelope.hpke_open(private, sealed, domain.encode(), aad)
        end = _LENGTH_BYTES + int.from_bytes(frame[:_LENGTH_BYTES], "big")
        return codec.decode_as(frame[_LENGTH_BYTES:end], kind)
    except (BadInput, Tampered) as error:
        raise Tampered(NOT_A_LETTER) from error
