"""Who takes part in generated traffic: members, people, subjects, with all keys that they ever had."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from caremesh import codec
from caremesh.contracts import Genesis
from caremesh.contracts.identity import queries as identities
from caremesh.contracts.members.messages import Admit, Keys
from caremesh.contracts.network.messages import Authorities, Params
from caremesh.contracts.policy.library import shipped
from caremesh.contracts.streams import queries as streams
from caremesh.contracts.streams.state import Stream
from caremesh.crypto.envelope import hpke_from_seed
from caremesh.crypto.hashes import sha256
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import did_of, stream_of
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signer
from caremesh.types import DAY_S, Did, Multikey

CHAIN = "test"
START_S = 20_000 * DAY_S + 30_000
CHANNEL = hpke_from_seed(bytes(32))[1]
FOUNDERS = {
    "hospital": (["provider"], "US"),
    "practice": (["provider"], "US"),
    "clinic": (["provider", "emergency-service"], "US"),
    "hospice": (["provider"], "DE"),
    "payer": (["payer"], "US"),
    "study": (["researcher"], "FR"),
    **{f"keeper {number}": (["custodian", "regulator"], "DE" if number % 2 else "US") for number in range(5)},
}
QUORUM = 3


class Who(NamedTuple):
    """A key that signs, in a name or (a stream's) in none."""

    key: SigningKey
    did: Did | None = None

    @property
    def signer(self) -> Signer:
        """What the transaction says of it."""
        return Signer(key=self.key.public, did=self.did)


class Participants:
    """Everybody, and every key, from one seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._made = 0
        self.keys: dict[Multikey, SigningKey] = {}
        self.members: list[Did] = []
        self.people: list[Did] = []
        self.streams: list[bytes] = []
        self.founders = {name: self.new_key(name) for name in FOUNDERS}
        self.dids = {name: did_of(CHAIN, key.public) for name, key in self.founders.items()}
        self.members += self.dids.values()
        self.authorities = [did for name, did in self.dids.items() if name.startswith("keeper")]

    def new_key(self, name: str = "") -> SigningKey:
        """A key nobody has had."""
        self._made += 1
        key = SigningKey.from_seed(sha256(f"{self._seed} {name or self._made}".encode()))
        self.keys[key.public] = key
        return key

    def genesis(self) -> bytes:
        """The document of a network of these founders, with every set of regulations."""
        return codec.encode(
            Genesis(
                chain=CHAIN,
                time=START_S,
                params=Params(kept_heights=20, retain_blocks=400, recovery_wait_s=DAY_S),
                authorities=Authorities(self.authorities, QUORUM),
                members=[
                    self.admission(self.founders[name], roles, place) for name, (roles, place) in FOUNDERS.items()
                ],
                regulations=shipped(),
            )
        )

    def admission(self, key: SigningKey, roles: list[str], place: str, **changes: Any) -> Admit:
        """How a member comes in."""
        given: dict[str, Any] = {
            "member": did_of(CHAIN, key.public),
            "key": key.public,
            "name": "A member",
            "roles": roles,
            "jurisdiction": place,
            "keys": Keys(key.public, CHANNEL, b"\x02" + sha256(key.public)),
            "endpoints": [],
        }
        return Admit(**given | changes)

    def now(self, reader: Reader, did: Did) -> Who:
        """Who acts for a DID now; for one that nobody has, a key made up on the spot."""
        found = identities.identity(reader, did)
        known = None if found is None else self.keys.get(found.key)
        return Who(known or self.new_key(), did)

    def subject(self, stream: Stream) -> Who:
        """The current key of a stream."""
        return Who(self.keys.get(stream.key) or self.new_key())

    def stream(self, rng: random.Random, reader: Reader) -> Stream | None:
        """One of the streams that are open."""
        return streams.stream(reader, rng.choice(self.streams)) if self.streams else None

    def new_subject(self) -> tuple[SigningKey, bytes]:
        """The key of a stream to come, and the stream."""
        key = self.new_key()
        return key, stream_of(key.public)
