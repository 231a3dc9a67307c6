"""A member changes keys of its own: the one that grants are made to, and the one that its validator signs with.

Patients delegate anew to the first; until then, old grants open nothing. Of the second nobody need know but the ledger:
the engine follows it from the second block after on.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from caremesh.contracts.members import queries as members
from caremesh.contracts.members.messages import SetKeys
from caremesh.contracts.network import queries as network
from caremesh.contracts.network.messages import RotateValidator
from caremesh.crypto.keys import SigningKey
from caremesh.errors import Refused
from caremesh.gateway.ask import Requester
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Message
from caremesh.node import errors, keystore
from caremesh.node.member import VALIDATOR, MemberHome
from caremesh.types import Height


def rotate_receiving_key(home: MemberHome, reader: Reader, send: Callable[[Message], object]) -> None:
    """A new receiving key: on the ledger first, then in use, then the old one is destroyed; again finishes what a crash
    left undone. ``send``: by the member, raises Refused with the ledger's code. Raises Refused node.04 for one that
    the ledger does not know, StorageFailed.
    """
    following = keystore.next_receiving_key(home.vault)
    known = members.member(reader, home.did)
    if known is None:
        raise Refused(errors.UNKNOWN_MEMBER, home.did)
    if known.keys.receiving != following.public:
        send(SetKeys(member=home.did, keys=replace(known.keys, receiving=following.public)))
    home.receiving = keystore.promote_receiving_key(home.vault)


def rotate_validator_key(
    home: MemberHome,
    reader: Reader,
    send: Callable[[Message, Requester], Height],
    use: Callable[[SigningKey, Height | None], None],
) -> None:
    """A new key for this member's validator: on the ledger first, then in use, then the old one is destroyed; again
    finishes what a crash left undone.

    ``send``: signed by the new key in the member's name, and by the member; the height of its block; raises Refused
    with the ledger's code. ``use``: CometBFT signs with it once that block is followed by another. Raises Refused
    node.32 for a member that orders no blocks, StorageFailed.
    """
    following = keystore.signing_key(home.vault, f"{VALIDATOR}/next")
    mine = [each.key for each in network.validators(reader) if each.member == home.did]
    if not mine:
        raise Refused(errors.NO_VALIDATOR, home.did)
    height = None
    if following.public not in mine:
        old = home.validator_key.public
        message = RotateValidator(old=old if old in mine else mine[0], new=following.public)
        height = send(message, Requester(home.did, following))
    use(following, height)
    keystore.promote_signing_key(home.vault, VALIDATOR)
