"""Ask a custodian, as the owner of a stream, for what it keeps of it: seals, or the log of releases."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from caremesh import codec
from caremesh.contracts.members import queries as members
from caremesh.errors import Refused, Tampered
from caremesh.ledger.state import Reader
from caremesh.sealing import custody
from caremesh.sealing.custody import LogAnswer, SealAnswer, Signed, StreamRequest
from caremesh.types import Did, Seconds
from caremesh.wallet.errors import OTHER_ANSWER, UNKNOWN_MEMBER
from caremesh.wallet.standing import standing
from caremesh.wallet.state import Located

NONCE_BYTES: Final = 16
A = TypeVar("A", SealAnswer, LogAnswer)
Send = Callable[[Did, bytes], bytes]
"""(custodian, signed request) → its signed answer. Raises CareMeshError."""


class SealKeepers(Protocol):
    """The way to the custodians' seals."""

    def own_seals(self, custodian: Did, request: bytes) -> bytes:
        """The custodian's signed ``SealAnswer`` to a signed ``StreamRequest``. Raises CareMeshError."""


class LogKeepers(Protocol):
    """The way to the custodians' logs."""

    def own_log(self, custodian: Did, request: bytes) -> bytes:
        """The custodian's signed ``LogAnswer`` to a signed ``StreamRequest``. Raises CareMeshError."""


def ask(
    reader: Reader,
    located: Located,
    custodian: Did,
    domains: tuple[str, str],
    kind: type[A],
    send: Send,
    now: Seconds,
    entropy: Callable[[int], bytes] = os.urandom,
) -> tuple[A, Signed]:
    """(what it says, the same under its signature). ``domains``: of the request and of the answer.

    Raises Tampered custody.01, custody.02, wallet.30; Refused wallet.13, wallet.21,
    wallet.25; what ``send`` raises.
    """
    key = located.keys.signing(standing(reader, located).rotation)
    request = StreamRequest(stream=located.stream.id, custodian=custodian, nonce=entropy(NONCE_BYTES), at=now)
    keeper = members.member(reader, custodian)  # one that is suspended may still answer
    if keeper is None:
        raise Refused(UNKNOWN_MEMBER, custodian)
    signed = custody.read_signed(
        send(custodian, codec.encode(custody.sign_payload(domains[0], request, key))), custodian
    )
    said = custody.open_signed(domains[1], signed, kind, keeper.keys.node, custodian)
    if (said.stream, said.custodian, said.nonce) != (request.stream, custodian, request.nonce):
        raise Tampered(OTHER_ANSWER, custodian)
    return said, signed
