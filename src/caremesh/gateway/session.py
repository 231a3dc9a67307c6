"""A practitioner signs in once: a key of the session asks in their name, for at most twelve hours.

One session serves all patients of that time: the ledger shows the same key beside the same practitioner for all of
them, so that it ties no two streams together more than the practitioner's own name does. A key for each patient's visit
would be a mark that all streams of that patient share.
"""

from __future__ import annotations

from caremesh import codec
from caremesh.contracts.access.logic import MAX_VISIT_S
from caremesh.contracts.access.messages import VISIT_DOMAIN, SignedVisit, Visit
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput
from caremesh.gateway.ask import Requester
from caremesh.gateway.errors import TOO_LONG
from caremesh.types import Did, Seconds


def sign_in(chain: str, person: Requester, member: Did, starts: Seconds, life_s: Seconds = MAX_VISIT_S) -> Requester:
    """The practitioner under a fresh key that theirs has signed, from ``starts`` for ``life_s`` seconds.

    Raises BadInput gateway.13. Source: Visit in the access contract.
    """
    if not 0 < life_s <= MAX_VISIT_S:
        raise BadInput(TOO_LONG)
    key = SigningKey.generate()
    visit = codec.encode(
        Visit(
            chain=chain,
            practitioner=person.did,
            member=member,
            key=key.public,
            starts=starts,
            ends=starts + life_s,
        )
    )
    return Requester(person.did, key, SignedVisit(visit=visit, signature=person.key.sign(VISIT_DOMAIN + visit)))
