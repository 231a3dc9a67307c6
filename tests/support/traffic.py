"""Seeded blocks of transactions over all contracts: what members and subjects may send, and what attackers would.

A generator follows one replica, as a client does: it reads the committed state and hears the events, so that most of
what it makes refers to what is there. The rest is broken on purpose: fields at their extremes, other people's keys,
other chains, expired, replayed, damaged bytes, and messages of every type with random values.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, get_args

from caremesh import codec
from caremesh.contracts import Contracts
from caremesh.ledger.execution import Results
from caremesh.ledger.state import Reader, View
from caremesh.ledger.transactions import Message, Tx, encode, sign
from tests.support import any_value
from tests.support.any_value import AnyValue
from tests.support.participants import CHAIN, START_S, Participants, Who
from tests.support.traffic_access import AccessTraffic
from tests.support.traffic_members import Attempt, MembersTraffic, weighted
from tests.support.traffic_streams import StreamsTraffic

MESSAGES: tuple[type[Message], ...] = tuple(sorted(get_args(Contracts.messages), key=lambda kind: kind.__name__))
LATEST = 64
"""The rules can be brought to this version."""


def rules() -> Contracts:
    """The contracts, with upgrades that change nothing, so that traffic may contain them."""
    return Contracts({version: lambda _: None for version in range(2, LATEST)})


class Traffic:
    """Makes blocks. Every draw comes from the seed and from what the followed replica has committed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a seed must replay
        self.all = Participants(seed)
        self.now, self.height = START_S, 0
        self.accepted: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.restarts = 0
        values = AnyValue(self.rng, self._known, lambda: self.now)
        self.values = values
        self.members = MembersTraffic(self.rng, self.all)
        self.streams = StreamsTraffic(self.rng, self.all, self.members, values)
        self.access = AccessTraffic(self.rng, self.all, self.members, self.streams)
        self._sent: list[bytes] = []
        self._tags: dict[bytes, list[str]] = {}

    def block(self, reader: Reader, height: int, most: int) -> tuple[int, list[bytes]]:
        """(time, transactions) of the next block, up to ``most`` of them; ``reader``: the state under it."""
        self.now += self.rng.choice([0, 1, 1, 7, 7, 30, 30, 200, 1_000, 20_000])
        self.height = height
        self.members.begin(View(reader), self.now, height)
        self._tags.clear()
        return self.now, [self.transaction() for _ in range(self.rng.randint(most // 2, most))]

    def heard(self, results: Results) -> None:
        """Take in what became of a block."""
        for tx_id, result in zip(results.txs, results.results, strict=True):
            self.codes[result.code] += 1
            if not result.code:
                self.accepted.update(self._tags.get(tx_id, []))
        for event in results.events:
            self.codes.update([str(event.attributes["why"])] if event.attributes.get("why") else [])
            for listener in (self.members, self.streams, self.access):
                listener.heard(event.type, event.attributes)

    def transaction(self) -> bytes:
        """One transaction, as it travels."""
        chance = self.rng.random()
        if chance < 0.03 and self._sent:
            return self.rng.choice(self._sent[-2_000:])
        if chance < 0.05:
            return self.rng.randbytes(self.rng.randrange(200))
        raw = self._spoiled() if chance < 0.20 else self._signed(*self._attempts())
        if chance > 0.98:
            at = self.rng.randrange(len(raw))
            raw = raw[:at] + bytes([raw[at] ^ 1 << self.rng.randrange(8)]) + raw[at + 1 :]
        self._sent.append(raw)
        return raw

    # --- what is plausible --------------------------------------------------------------------------------

    def attempt(self) -> Attempt:
        """A message that someone in this state might send."""
        while True:
            actors: Sequence[Any] = (self.members, self.streams, self.access)
            actor = self.rng.choices(actors, [3, 5, 7])[0]
            made: Attempt | None = getattr(actor, weighted(self.rng, actor.kinds()))()
            if made is not None:
                return made

    def _attempts(self) -> list[Attempt]:
        """Mostly one message; now and then several in one transaction."""
        first = self.attempt()
        if self.rng.random() > 0.06:
            return [first]
        return [first, *(self.attempt() for _ in range(self.rng.randrange(1, 4)))]

    # --- what is not --------------------------------------------------------------------------------------

    def _spoiled(self) -> bytes:
        """A transaction with something wrong about it."""
        made = self.attempt()
        return self._signed(*self._spoil(made)) if self.rng.random() < 0.7 else self._envelope(made)

    def _envelope(self, made: Attempt) -> bytes:
        """A good message in a transaction of another chain, or of another time."""
        if self.rng.random() < 0.3:
            return self._signed(made, chain=self.rng.choice(["other", "test2"]))
        return self._signed(made, expires_at=max(0, self.now + self.rng.choice([-1, 601, 10**9, -self.now])))

    def _spoil(self, made: Attempt) -> list[Attempt]:
        """The wrong signers, the wrong company, or other content than it should have."""
        strangers = [*made.signers[:-1], Who(self.all.new_key())]
        too_few = made.signers[self.rng.randrange(len(made.signers)) :]
        others = [who._replace(did=self.rng.choice([None, *self.all.members])) for who in made.signers]
        anything = self.values.struct(self.rng.choice(MESSAGES))
        return self.rng.choice(
            [
                [Attempt(made.message, strangers)],
                [Attempt(made.message, too_few)],
                [Attempt(made.message, others)],
                [made, made],
                [Attempt(anything, self.rng.choice([made.signers, self.members.quorum()]))],
                *[[Attempt(self.values.change(made.message), made.signers)]] * 4,
            ]
        )

    def _signed(self, *attempts: Attempt, **changes: Any) -> bytes:
        """Everybody signs whom the messages need, each once, the last one's sponsor at the end."""
        everybody = [*attempts[-1].signers[:-1], *(who for made in attempts[:-1] for who in made.signers)]
        sponsor = attempts[-1].signers[-1]
        signers = {who.key.public: who for who in everybody if who.key.public != sponsor.key.public}
        # One place is kept for the sponsor.
        chosen = [*list(signers.values())[:15], sponsor]
        given: dict[str, Any] = {
            "chain": CHAIN,
            "expires_at": self.now + self.rng.choice([0, 60, 300, 600]),
            "salt": self.rng.randbytes(8),
            "signers": [who.signer for who in chosen],
            "msgs": [made.message for made in attempts],
        }
        data = encode(Tx(**given | changes))
        self._tags[bytes(codec.cid_of_cbor(data))] = [
            str(type(made.message).__struct_config__.tag) for made in attempts
        ]
        return sign(data, [who.key for who in chosen])

    def _known(self, kind: int) -> Sequence[Any]:
        """What the ledger knows: texts under ``TEXTS``, bytes by their length."""
        match kind:
            case any_value.TEXTS:
                return [*self.all.members, *self.all.people]
            case 32:
                return [*self.all.streams, *self.access.consents, *self.access.receipts, *self.access.offers]
            case 34:
                return list(self.all.keys)[-60:]
        return []
