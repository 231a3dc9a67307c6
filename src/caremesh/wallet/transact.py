"""One message of a subject, one transaction: signed by the stream's key, then by a sponsor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from random import SystemRandom
from typing import Final

from caremesh.consensus.interface import Committed
from caremesh.consensus.refusals import refusal
from caremesh.contracts.identity import queries as identity
from caremesh.contracts.network import queries as network
from caremesh.crypto.keys import SigningKey
from caremesh.errors import Refused
from caremesh.ledger import transactions
from caremesh.ledger.state import Reader
from caremesh.ledger.succession import chain_of
from caremesh.ledger.transactions import Message, Signer, Tx
from caremesh.types import Seconds
from caremesh.wallet.errors import UNKNOWN_MEMBER
from caremesh.wallet.ports import Ledger, Sponsor

_SHUFFLE: Final = SystemRandom()


def signed(reader: Reader, chain: str, message: Message, key: SigningKey, sponsor: Sponsor, now: Seconds) -> bytes:
    """A transaction with this message alone, signed by ``key`` and the sponsor. ``chain``: the network's name;
    ``now``: seconds UTC.

    Raises Refused wallet.13 when the ledger does not know the sponsor, and what the sponsor raises.
    """
    member = identity.identity(reader, sponsor.did)
    if member is None:
        raise Refused(UNKNOWN_MEMBER, sponsor.did)
    tx: Tx[Message] = Tx(
        chain=chain_of(reader, chain),
        expires_at=expiry(now, network.params(reader).tx_ttl_s),
        salt=os.urandom(8),
        signers=[Signer(key=key.public), Signer(key=member.key, did=sponsor.did)],
        msgs=[message],
    )
    data = transactions.encode(tx)
    return transactions.assemble(data, [key.sign(transactions.SIGNING_DOMAIN + data), sponsor.sponsor(data, key)])


def expiry(now: Seconds, ttl_s: Seconds) -> Seconds:
    """When a transaction made now expires: the same for all that are made within a quarter of ``ttl_s``.

    Between a half and three quarters of ``ttl_s`` ahead, so that clocks may differ by a quarter of it, and coarse, so
    that the field does not tie the transactions of one person together.
    """
    step = max(1, ttl_s // 4)
    return (now + 3 * step) // step * step


def submit(ledger: Ledger, signed_transactions: Sequence[bytes], *, urgent: bool) -> list[Committed]:
    """Submit in random order, and give the outcomes in the order of the arguments."""
    order = list(range(len(signed_transactions)))
    _SHUFFLE.shuffle(order)
    send = ledger.submit if urgent else ledger.submit_batch
    outcomes = send([signed_transactions[index] for index in order])
    by_index = dict(zip(order, outcomes, strict=True))
    return [by_index[index] for index in range(len(order))]


def accepted(outcomes: Sequence[Committed]) -> None:
    """Return when the ledger took everything. Raises its first refusal."""
    for outcome in outcomes:
        if outcome.code:
            raise refusal(outcome)
