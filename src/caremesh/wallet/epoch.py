"""Begin a new epoch of a stream: a new reading key, and a write permit that names it. Pure.

Only a new epoch is a cryptographic boundary: *t* custodians together with a grantee know the old epoch's reading key.
"""

from __future__ import annotations

from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.streams.messages import NewEpoch
from caremesh.errors import Refused
from caremesh.ledger.state import Reader
from caremesh.types import SignedPermit, StreamId
from caremesh.wallet import state as states
from caremesh.wallet.enrol import Custody, Writing, permitted
from caremesh.wallet.errors import NOT_BEGUN
from caremesh.wallet.standing import caught_up, standing
from caremesh.wallet.state import Located, WalletState


def beginning(state: WalletState, reader: Reader, stream: StreamId, writing: Writing) -> tuple[Located, NewEpoch]:
    """The stream as it will be, and the message that makes it so, with the source's permit of the new epoch.

    Raises Refused wallet.11, wallet.25, wallet.37.
    """
    located = states.locate(state, stream)
    where = standing(reader, located)
    if where.permit is not None:
        raise Refused(NOT_BEGUN, stream.hex())
    known = caught_up(reader, located.stream)
    kept = Custody(custodians=where.custodians, threshold=where.threshold)
    next_ = permitted(state.chain, located.member, replace(known, epoch=known.epoch + 1), located.keys, kept, writing)
    message = NewEpoch(
        stream=stream,
        reading_key=located.keys.reading(next_.epoch).public,
        permit=codec.decode_as(next_.permit, SignedPermit),
    )
    return Located(located.member, next_, located.keys), message
