"""Ask the ledger for access: committed receipts, or refusals with their reasons."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import Final, NamedTuple, Protocol

from caremesh.consensus.interface import Committed
from caremesh.contracts.access import errors as access_errors
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.messages import Close, Request, SignedVisit
from caremesh.contracts.access.state import Receipt, Refusal
from caremesh.contracts.network import queries as network
from caremesh.crypto.hashes import tagged_hash
from caremesh.errors import ErrorCode, Refused
from caremesh.gateway import errors
from caremesh.ledger.state import Reader
from caremesh.ledger.succession import chain_of
from caremesh.ledger.transactions import Message, Signer, Signs, Tx, encode, sign
from caremesh.types import Code, ConsentId, Count, Did, ReceiptId, Seconds
from caremesh.wallet.transact import expiry

_BY_CODE: Final = {error.code: error for error in vars(access_errors).values() if isinstance(error, ErrorCode)}
_SHUFFLE: Final = SystemRandom()


class Ledger(Protocol):
    """The way to the ledger."""

    def submit(self, raw: bytes) -> Committed:
        """Put a transaction into a block and wait until it is durable."""
        ...

    def submit_many(self, raws: Sequence[bytes]) -> list[Committed]:
        """Put transactions into blocks, at once; what became of each, in order, when the blocks are durable."""
        ...

    def submit_batch(self, subject: bytes, transactions: Sequence[bytes]) -> list[Committed]:
        """Likewise, for what is not urgent: shuffled among those of other subjects. ``subject``: whom they are of."""
        ...

    def reader(self) -> Reader:
        """Committed state."""
        ...


class Requester(NamedTuple):
    """Who asks: a practitioner and their own key, or (``visit``) a key that they let ask in their name."""

    did: Did
    key: Signs
    visit: SignedVisit | None = None


class Asked(NamedTuple):
    """What a request is for. ``reason`` in words stays with the member; the ledger gets a salted hash."""

    consent: ConsentId
    action: Code
    purpose: Code
    legal_basis: Sequence[Code]
    segments: Sequence[Count] = ()
    reason: str = ""
    renews: ReceiptId | None = None


class Asker(NamedTuple):
    """What all requests of one member have in common."""

    chain: str
    member: Requester
    ledger: Ledger
    clock: Callable[[], Seconds]


def ask(asker: Asker, requester: Requester | None, asked: Asked) -> Receipt:
    """The receipt. ``requester``: None when the member alone vouches for who asks (*asserted*).

    Raises Refused access.04 to access.21 when the ledger denied it, with the policies cited as the place; and
    gateway.05 when it did not take the request at all, with the code as the place.
    """
    [answer] = ask_all(asker, requester, [asked])
    if isinstance(answer, Refused):
        raise answer
    return answer


def ask_all(
    asker: Asker, requester: Requester | None, asked: Sequence[Asked], *, subject: bytes | None = None
) -> list[Receipt | Refused]:
    """What the ledger says to each, in order; each goes in a transaction of its own, in random order.

    They go at once; with ``subject`` (whom they are of, for nobody else to know) they wait for company. See ``ask``
    for the refusals. Raises Unavailable when the ledger takes nothing.
    """
    messages = [_request(asker.member, requester, each) for each in asked]
    outcomes = _send(asker, requester, messages, subject)
    reader = asker.ledger.reader()
    return [_answer(reader, committed) for committed in outcomes]


def close_all(asker: Asker, receipts: Sequence[ReceiptId]) -> None:
    """End receipts before their time. One that is over already is left so. Raises Unavailable.

    They go at once, as the requests did: that they are of one visit is no news, and nobody waits on leaving.
    """
    _send(asker, None, [Close(receipt=receipt) for receipt in receipts], None)


def send_one(asker: Asker, message: Message) -> Committed:
    """A message of the member's own; what became of it. Raises Unavailable."""
    return _send(asker, None, [message], None)[0]


def _request(member: Requester, requester: Requester | None, asked: Asked) -> Request:
    return Request(
        consent=asked.consent,
        action=asked.action,
        purpose=asked.purpose,
        legal_basis=list(asked.legal_basis),
        segments=list(asked.segments),
        reason=tagged_hash("caremesh/v1/reason", os.urandom(16), asked.reason.encode()),
        requester=member.did if requester is None else requester.did,
        asserted=requester is None,
        visit=None if requester is None else requester.visit,
        renews=asked.renews,
    )


def _send(
    asker: Asker, requester: Requester | None, messages: Sequence[Message], subject: bytes | None
) -> list[Committed]:
    """Each message in a transaction of its own: what travels together is of one person."""
    signers = [asker.member] if requester is None else [requester, asker.member]
    reader = asker.ledger.reader()
    chain, expires_at = chain_of(reader, asker.chain), expiry(asker.clock(), network.params(reader).tx_ttl_s)
    order = list(range(len(messages)))
    _SHUFFLE.shuffle(order)
    raws = []
    for index in order:
        tx = encode(
            Tx(
                chain=chain,
                expires_at=expires_at,
                salt=os.urandom(8),
                signers=[Signer(key=signer.key.public, did=signer.did) for signer in signers],
                msgs=[messages[index]],
            )
        )
        raws.append(sign(tx, [signer.key for signer in signers]))
    outcomes = asker.ledger.submit_many(raws) if subject is None else asker.ledger.submit_batch(subject, raws)
    sent = dict(zip(order, outcomes, strict=True))
    return [sent[index] for index in range(len(messages))]


def _answer(reader: Reader, committed: Committed) -> Receipt | Refused:
    if committed.result.code:
        return Refused(errors.NOT_SUBMITTED, committed.result.code)
    record = access.record(reader, access.receipt_id(committed.tx, 0))
    if isinstance(record, Receipt):
        return record
    if isinstance(record, Refusal):
        return Refused(_BY_CODE[record.why], ", ".join(record.policies))
    return Refused(errors.NOT_SUBMITTED, "no record")
