"""A member changes the key that grants are made to. Patients delegate anew; until then, old grants open nothing."""

from __future__ import annotations

from msgspec.structs import replace

from caremesh.contracts.members import queries as members
from caremesh.contracts.members.messages import SetKeys
from caremesh.errors import ErrorCode, Refused
from caremesh.node import errors, keystore
from caremesh.node.mesh import LocalMesh


def rotate_receiving_key(mesh: LocalMesh, name: str) -> None:
    """A new receiving key: on the ledger first, then in use, then the old one is destroyed; again finishes what a crash
    left undone. Raises BadInput node.04, Refused with the ledger's code, StorageFailed.
    """
    home = mesh.member(name).home
    following = keystore.next_receiving_key(home.vault)
    known = members.member(mesh.engine.reader(), home.did)
    if known is None:
        raise Refused(errors.UNKNOWN_MEMBER, name)
    if known.keys.receiving != following.public:
        keys = replace(known.keys, receiving=following.public)
        done = mesh.send([home.requester], SetKeys(member=home.did, keys=keys))
        if done.code:
            raise Refused(ErrorCode(done.code, done.result.sentence), done.result.place)
    home.receiving = keystore.promote_receiving_key(home.vault)
