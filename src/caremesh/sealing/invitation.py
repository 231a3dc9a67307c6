"""An invitation: how a front desk tells one person's wallet where to enrol, and as whom, without saying a name.

    link      = "caremesh:invite?" and fields as in a URL's query: n (the node's address, https), m (the member's DID),
                g (SHA-256 of the network file: genesis and founding validators), i (the invitation), c (the claim code)
    enrolment = Signed { chain, member, invitation, code, profile } by the channel key of the profile

The code is 16 letters and digits (80 bits) that the member keeps only as a hash. It is bound to one patient when it is
made; the link says neither who that is nor what is the matter. Whoever holds a link can enrol as that patient, once.
"""

from __future__ import annotations

import base64
import re
import secrets
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlencode

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.crypto.hashes import sha256, tagged_hash
from caremesh.errors import BadInput, ErrorCode, Tampered
from caremesh.ledger.transactions import ChainId, Signs
from caremesh.sealing.custody import Signed, open_signed, read_signed, sign_payload
from caremesh.types import Bytes8, Did, Digest, Multikey

SCHEME: Final = "caremesh:invite?"
ENROLMENT: Final = "caremesh/enrolment/v1"
NO_NODE: Final = "https://localhost"
"""The address of a mesh in one process, where nobody listens."""
CODE_LETTERS: Final = 16
MAX_LINK: Final = 600
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without those that look alike: 31 signs, a little under 5 bits each."""
_CODE: Final = re.compile(f"[{_ALPHABET}]{{{CODE_LETTERS}}}")
_NODE: Final = re.compile(r"https://[A-Za-z0-9.\-\[\]:]{1,255}")
_DID: Final = re.compile(r"did:caremesh:[a-z0-9-]{1,32}:[a-z2-7]{32}")

NOT_A_LINK = ErrorCode("relay.03", "This is not an invitation.", "Copy it whole, or scan it again.")
NOT_AN_ENROLMENT = ErrorCode("relay.04", "This enrolment was changed, or contradicts itself.", "Enrol again.")


class Invitation(Struct, frozen=True, kw_only=True):
    """What a link says. ``network``: SHA-256 of the network file; ``id`` is no secret, ``code`` is."""

    node: str
    member: Did
    network: Digest
    id: Bytes8
    code: str

    def __repr__(self) -> str:
        return f"Invitation({self.id.hex()})"


class Enrolment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A claim: this code, and the sealing profile (as it is sent without a code, sealed to the same member)."""

    chain: ChainId
    member: Did
    channel_key: Multikey
    invitation: Bytes8
    code: Annotated[str, Meta(max_length=64)]
    profile: bytes

    def __repr__(self) -> str:
        return f"Enrolment({self.invitation.hex()})"


def new_code() -> str:
    """A claim code from the operating system's entropy."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(CODE_LETTERS))


def code_digest(identity: bytes, code: str) -> Digest:
    """What the member keeps of a code."""
    return tagged_hash("caremesh/v1/claim-code", identity, code.encode())


def check_words(channel_key: Multikey) -> str:
    """Six digits of a wallet's channel key, for two people to compare: the front desk's screen and the wallet's."""
    number = int.from_bytes(tagged_hash("caremesh/v1/check-number", channel_key)[:8], "big") % 1_000_000
    return f"{number // 1000:03d} {number % 1000:03d}"


def link(invitation: Invitation) -> str:
    """The link, which is also what the QR code holds."""
    fields = {
        "n": invitation.node,
        "m": invitation.member,
        "g": _text(invitation.network),
        "i": _text(invitation.id),
        "c": invitation.code,
    }
    return SCHEME + urlencode(fields, safe=":/[]")


def read_link(text: str) -> Invitation:
    """What a link says. Raises BadInput relay.03."""
    text = text.strip()
    if not text.startswith(SCHEME) or len(text) > MAX_LINK:
        raise BadInput(NOT_A_LINK)
    rows = parse_qsl(text.removeprefix(SCHEME), keep_blank_values=True)
    fields = dict(rows)
    if len(rows) != len(fields) or set(fields) != {"n", "m", "g", "i", "c"}:
        raise BadInput(NOT_A_LINK)
    network, identity = _bytes(fields["g"], 32), _bytes(fields["i"], 8)
    if not (_NODE.fullmatch(fields["n"]) and _DID.fullmatch(fields["m"]) and _CODE.fullmatch(fields["c"])):
        raise BadInput(NOT_A_LINK)
    return Invitation(node=fields["n"], member=fields["m"], network=network, id=identity, code=fields["c"])


def claim(invitation: Invitation, chain: str, profile: bytes, channel_key: Signs) -> bytes:
    """The enrolment that goes with an invitation; not sealed yet (``letter`` seals it)."""
    enrolment = Enrolment(
        chain=chain,
        member=invitation.member,
        channel_key=channel_key.public,
        invitation=invitation.id,
        code=invitation.code,
        profile=profile,
    )
    return codec.encode(sign_payload(ENROLMENT, enrolment, channel_key))


def read_claim(chain: str, member: Did, data: bytes) -> Enrolment:
    """The member's side. Raises Tampered custody.01, custody.02, relay.04."""
    signed: Signed = read_signed(data, "enrolment")
    said = open_signed(ENROLMENT, signed, Enrolment, signed.key, "enrolment")
    if (said.chain, said.member, said.channel_key) != (chain, member, signed.key):
        raise Tampered(NOT_AN_ENROLMENT)
    return said


def network_digest(network_file: bytes) -> Digest:
    """What a link says of a network file."""
    return sha256(network_file)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str, length: int) -> bytes:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise BadInput(NOT_A_LINK) from error
    if len(data) != length or _text(data) != text:
        raise BadInput(NOT_A_LINK)
    return data
