"""Question an access: a salted hash on the ledger, the words to the member alone; and hear its answer."""

from __future__ import annotations

from typing import NamedTuple

from caremesh.contracts.access import queries as access
from caremesh.contracts.access.messages import Dispute
from caremesh.crypto.keys import SigningKey
from caremesh.errors import Refused
from caremesh.ledger.state import Reader
from caremesh.sealing import statement as statements
from caremesh.sealing.statement import Statement
from caremesh.types import Did, ReceiptId
from caremesh.wallet import state as states
from caremesh.wallet.errors import NOT_MY_ACCESS, NOT_MY_DISPUTE
from caremesh.wallet.members import active_member
from caremesh.wallet.standing import standing
from caremesh.wallet.state import Located, WalletState


class Raised(NamedTuple):
    """A dispute that has not left the wallet: the message with the key that signs it, and the words for the member."""

    key: SigningKey
    message: Dispute
    member: Did
    sealed: bytes


def prepare(state: WalletState, reader: Reader, receipt: ReceiptId, text: str) -> Raised:
    """Question an access of one of this wallet's streams, emergency access too.

    Raises Refused wallet.11, wallet.51, wallet.13, wallet.14, wallet.21, wallet.25; BadInput envelope.01.
    """
    located, member = _asked(state, reader, receipt)
    said = statements.statement(state.chain, receipt, text)
    channel = states.keys_of(state, member).channel()
    keys = active_member(reader, member).keys
    sealed = statements.tell(statements.QUESTION, said, keys.channel, channel.signing)
    key = located.keys.signing(standing(reader, located).rotation)
    return Raised(key, Dispute(receipt=receipt, statement=said.digest), member, sealed)


def hear_answer(state: WalletState, reader: Reader, receipt: ReceiptId, sealed: bytes) -> Statement:
    """What the member says to it, when the ledger has the hash of these words.

    Raises Refused wallet.11, wallet.51, wallet.52, wallet.13, wallet.14; Tampered custody.NN.
    """
    _, member = _asked(state, reader, receipt)
    raised = access.dispute(reader, receipt)
    if raised is None or raised.answer is None:
        raise Refused(NOT_MY_DISPUTE)
    channel = states.keys_of(state, member).channel()
    node_key = active_member(reader, member).keys.node
    return statements.hear(
        statements.ANSWER, state.chain, receipt, raised.answer, channel.hpke_private, node_key, sealed
    )


def _asked(state: WalletState, reader: Reader, receipt: ReceiptId) -> tuple[Located, Did]:
    given = access.receipt(reader, receipt) or access.emergency(reader, receipt)
    if given is None:
        raise Refused(NOT_MY_ACCESS)
    return states.locate(state, given.stream), given.member
