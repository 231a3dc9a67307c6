"""Disputes at the member: hear what a patient asks about an access, and answer, in words that the ledger never sees."""

from __future__ import annotations

from typing import NamedTuple

from caremesh.blobs.vault import Vault
from caremesh.consensus.refusals import refusal
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.messages import Answer
from caremesh.contracts.access.state import Disputed
from caremesh.errors import Refused
from caremesh.gateway.ask import Asker, send_one
from caremesh.gateway.errors import NO_DISPUTE
from caremesh.ledger.transactions import Signs
from caremesh.sealing import statement as statements
from caremesh.sealing.channel import Share
from caremesh.sealing.statement import Statement
from caremesh.types import ReceiptId


class Question(NamedTuple):
    """A dispute of an access by this member, and the patient's words once they came."""

    dispute: Disputed
    words: Statement


def hear(
    asker: Asker, vault: Vault, hpke_private: bytes, shares: list[Share], receipt: ReceiptId, sealed: bytes
) -> Question:
    """Keep the patient's words. Raises Refused gateway.14; Tampered custody.NN for other words."""
    dispute, share = _found(asker, shares, receipt)
    words = statements.hear(
        statements.QUESTION, asker.chain, receipt, dispute.statement, hpke_private, share.channel_key, sealed
    )
    vault.put({f"dispute/{receipt.hex()}": sealed})
    return Question(dispute, words)


def answer(asker: Asker, node_key: Signs, shares: list[Share], receipt: ReceiptId, text: str) -> bytes:
    """Answer on the ledger; the words, sealed for the patient. Raises Refused gateway.14, and the ledger's refusal."""
    _, share = _found(asker, shares, receipt)
    said = statements.statement(asker.chain, receipt, text)
    sealed = statements.tell(statements.ANSWER, said, share.channel_hpke, node_key)
    committed = send_one(asker, Answer(receipt=receipt, statement=said.digest))
    if committed.code:
        raise refusal(committed)
    return sealed


def _found(asker: Asker, shares: list[Share], receipt: ReceiptId) -> tuple[Disputed, Share]:
    """The dispute, and how to reach the patient. Raises Refused gateway.14."""
    reader = asker.ledger.reader()
    dispute, given = access.dispute(reader, receipt), access.receipt(reader, receipt)
    if dispute is None or given is None or dispute.member != asker.member.did:
        raise Refused(NO_DISPUTE)
    for share in reversed(shares):
        if any(item.consent == given.consent for item in share.streams):
            return dispute, share
    raise Refused(NO_DISPUTE)
