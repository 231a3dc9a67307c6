"""Ask the ledger for access: a committed receipt, or a refusal with its reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from caremesh.consensus.interface import Committed
from caremesh.contracts.access import errors as access_errors
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.messages import Request
from caremesh.contracts.access.state import Receipt, Refusal
from caremesh.crypto.hashes import tagged_hash
from caremesh.errors import ErrorCode, Refused
from caremesh.gateway import errors
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signer, Signs, Tx, encode, sign
from caremesh.types import Code, ConsentId, Count, Did, Seconds

_TX_LIFE_S: Final[Seconds] = 300
_BY_CODE: Final = {error.code: error for error in vars(access_errors).values() if isinstance(error, ErrorCode)}


class Ledger(Protocol):
    """The way to the ledger."""

    def submit(self, raw: bytes) -> Committed:
        """Put a transaction into a block and wait until it is durable."""
        ...

    def reader(self) -> Reader:
        """Committed state."""
        ...


class Requester(NamedTuple):
    """Who asks: a practitioner and their own key."""

    did: Did
    key: Signs


class Asked(NamedTuple):
    """What a request is for. ``reason`` in words stays with the member; the ledger gets a salted hash."""

    consent: ConsentId
    action: Code
    purpose: Code
    legal_basis: Sequence[Code]
    segments: Sequence[Count] = ()
    reason: str = ""


def ask(
    chain: str,
    member: Requester,
    requester: Requester | None,
    asked: Asked,
    ledger: Ledger,
    clock: Callable[[], Seconds],
) -> Receipt:
    """The receipt. ``requester``: None when the member alone vouches for who asks (*asserted*).

    Raises Refused access.04 to access.21 when the ledger denied it, with the policies cited as the place; and
    gateway.05 when it did not take the request at all, with the code as the place.
    """
    message = Request(
        consent=asked.consent,
        action=asked.action,
        purpose=asked.purpose,
        legal_basis=list(asked.legal_basis),
        segments=list(asked.segments),
        reason=tagged_hash("caremesh/v1/reason", os.urandom(16), asked.reason.encode()),
        requester=member.did if requester is None else requester.did,
        asserted=requester is None,
    )
    signers = [member] if requester is None else [requester, member]
    tx = encode(
        Tx(
            chain=chain,
            expires_at=clock() + _TX_LIFE_S,
            salt=os.urandom(8),
            signers=[Signer(key=signer.key.public, did=signer.did) for signer in signers],
            msgs=[message],
        )
    )
    committed = ledger.submit(sign(tx, [signer.key for signer in signers]))
    if committed.result.code:
        raise Refused(errors.NOT_SUBMITTED, committed.result.code)
    identity = access.receipt_id(committed.tx, 0)
    for record in access.of_consent(ledger.reader(), asked.consent):
        if record.id == identity:
            if isinstance(record, Refusal):
                raise Refused(_BY_CODE[record.why], ", ".join(record.policies))
            return record
    raise Refused(errors.NOT_SUBMITTED, "no record")
