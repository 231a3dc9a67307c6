"""Take back: one transaction for each consent of a share; each works without the others."""

from __future__ import annotations

from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Revoke
from caremesh.ledger.state import Reader
from caremesh.types import Seconds
from caremesh.wallet import state as states
from caremesh.wallet import transact
from caremesh.wallet.ports import Sponsor
from caremesh.wallet.standing import standing
from caremesh.wallet.state import ShareRecord, WalletState


def revocations(state: WalletState, record: ShareRecord, reader: Reader, sponsor: Sponsor, now: Seconds) -> list[bytes]:
    """Signed transactions that revoke every consent of a share that is not revoked yet. Raises Refused wallet.NN."""
    found = []
    for item in record.items:
        consent = consents.consent(reader, item.consent)
        if consent is None or consent.status == "revoked":
            continue
        located = states.locate(state, item.stream)
        key = located.keys.signing(standing(reader, located).rotation)
        found.append(transact.signed(reader, state.chain, Revoke(consent=item.consent), key, sponsor, now))
    return found
