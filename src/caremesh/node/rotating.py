"""A member changes the key that grants are made to. Patients delegate anew; until then, old grants open nothing."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from caremesh.contracts.members import queries as members
from caremesh.contracts.members.messages import SetKeys
from caremesh.errors import Refused
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Message
from caremesh.node import errors, keystore
from caremesh.node.member import MemberHome


def rotate_receiving_key(home: MemberHome, reader: Reader, send: Callable[[Message], None]) -> None:
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
