"""What holds for every transaction, whatever its messages: chain, size, expiry, sponsor, quota."""

from __future__ import annotations

from typing import Final

import msgspec

from caremesh.errors import CareMeshError, ErrorCode, Refused
from caremesh.ledger.application import Application, Params, Result
from caremesh.ledger.state import Reader, Table, View
from caremesh.ledger.succession import chain_of
from caremesh.ledger.transactions import CheckedTx, Message, Tx
from caremesh.types import Count, Did, Seconds

WRONG_CHAIN = ErrorCode("ledger.06", "The transaction is for another chain.", "Sign it for this chain.")
EXPIRED = ErrorCode("ledger.07", "The transaction has expired.", "Sign it again.")
TOO_FAR_AHEAD = ErrorCode("ledger.08", "The transaction expires too far ahead.", "Let it expire sooner.")
QUOTA_USED_UP = ErrorCode("ledger.10", "The sponsor's quota of this window is used up.", "Wait, or ask another member.")
TOO_LARGE = ErrorCode("ledger.14", "The transaction is larger than the ledger allows.", "Send several.")


class Quota(msgspec.Struct, frozen=True):
    """How many messages a sponsor has sent in a window (block time divided by the window's length)."""

    window: Count
    used: Count


QUOTA: Final = Table(b"ledger/quota/", Quota)


class Admission:
    """The kernel's own checks of a transaction."""

    def __init__(self, chain: str, app: Application) -> None:
        self.name: Final = chain
        self._chain = chain
        self._app: Final = app

    def follow(self, state: Reader) -> None:
        """From here on transactions are for the chain that this state names."""
        self._chain = chain_of(state, self.name)

    def envelope(self, checked: CheckedTx, time: Seconds, params: Params) -> None:
        """Chain, size and expiry. Raises Refused ledger.06, .07, .08, .14."""
        tx = checked.tx
        if tx.chain != self._chain:
            raise Refused(WRONG_CHAIN)
        if len(checked.signed) > params.max_tx_bytes or len(tx.msgs) > params.max_tx_messages:
            raise Refused(TOO_LARGE)
        if tx.expires_at < time:
            raise Refused(EXPIRED)
        if tx.expires_at > time + params.tx_ttl_s:
            raise Refused(TOO_FAR_AHEAD)

    def could_return(self, checked: CheckedTx, time: Seconds) -> bool:
        """Whether a block from now on could hold it: then its id must be remembered, even if it is refused now."""
        return checked.tx.chain == self._chain and checked.tx.expires_at >= time

    def sponsor(self, reader: Reader, tx: Tx[Message]) -> Did:
        """The member who signed last. Raises what the application says of a sponsor that is none."""
        return self._app.sponsor(reader, tx.signers[-1])

    def cost(self, tx: Tx[Message]) -> int:
        """How many messages the transaction takes of its sponsor's quota: all but the exempt ones."""
        return sum(not self._app.quota_exempt(message) for message in tx.msgs)


class Quotas:
    """What sponsors spend in one block. Quota stays spent, whatever becomes of the messages."""

    def __init__(self, reader: Reader, time: Seconds, params: Params) -> None:
        self._reader: Final = reader
        self._window: Final = time // params.quota_window_s
        self._limit: Final = params.quota_messages
        self._used: Final[dict[Did, int]] = {}

    def spend(self, sponsor: Did, cost: int) -> None:
        """Take ``cost`` messages of the sponsor's quota. Raises Refused ledger.10."""
        if not cost:
            return
        used = self._used.get(sponsor)
        if used is None:
            used = used_quota(self._reader, sponsor, self._window)
        if used + cost > self._limit:
            raise Refused(QUOTA_USED_UP)
        self._used[sponsor] = used + cost

    def write(self, view: View) -> None:
        """Put what was spent into the state."""
        for sponsor in sorted(self._used):
            QUOTA.put(view, Quota(self._window, self._used[sponsor]), sponsor.encode())


def used_quota(reader: Reader, sponsor: Did, window: int) -> int:
    """How many messages a sponsor has sent in a window."""
    quota = QUOTA.get(reader, sponsor.encode())
    return quota.used if quota is not None and quota.window == window else 0


def refusal(error: CareMeshError, place: str = "") -> Result:
    """The result of a transaction that was refused for this reason, at this message."""
    where = f"{place}.{error.place}" if place and error.place else place or error.place
    return Result(code=error.code, sentence=error.error.sentence, place=where)
