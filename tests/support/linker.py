"""Someone who has the whole ledger, and knows for some streams whose they are: what ties two streams together?

For each field of each message (and of the transaction around it) two streams are compared: by the values that they
share, a rare one counting more; for times and places in the order, by how near they are. How well that tells pairs of
one person from other pairs is the area under the curve: 0.5 is guessing, 1 is certainty.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts import Contracts
from caremesh.contracts.access import queries as access
from caremesh.contracts.consent import queries as consents
from caremesh.ledger.blocks import Block
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import TransactionCodec
from caremesh.types import StreamId

Fields = dict[str, dict[StreamId, list[Any]]]
"""Field → stream → the values that it had."""


def fields(blocks: Iterable[Block], reader: Reader) -> tuple[Fields, Fields]:
    """(what is compared by value, what is compared by nearness), by field."""
    decoder = TransactionCodec(Contracts.messages)
    values: Fields = defaultdict(lambda: defaultdict(list))
    times: Fields = defaultdict(lambda: defaultdict(list))
    for block in blocks:
        header = block.signed.content()
        for place, raw in enumerate(block.txs):
            tx = decoder.decode_again(raw).tx
            for message in tx.msgs:
                given = msgspec.to_builtins(message, builtin_types=(bytes, CID))
                stream = _stream(given, reader)
                if stream is None:
                    continue
                kind = given["type"]
                for path, value in _flat(given):
                    values[f"{kind} {path}"][stream].append(value)
                values[f"{kind} tx.salt"][stream].append(tx.salt)
                values[f"{kind} tx.expires_at"][stream].append(tx.expires_at)
                for signer in tx.signers:
                    values[f"{kind} tx.signers"][stream].append(signer.key)
                times[f"{kind} height"][stream].append(header.height)
                times[f"{kind} time"][stream].append(header.time)
                times[f"{kind} place"][stream].append(header.height * 1_000 + place)
    return values, times


def _stream(given: Mapping[str, Any], reader: Reader) -> StreamId | None:
    if isinstance(given.get("stream"), bytes):
        return bytes(given["stream"])
    consent = consents.consent(reader, given["consent"]) if isinstance(given.get("consent"), bytes) else None
    receipt = access.receipt(reader, given["receipt"]) if isinstance(given.get("receipt"), bytes) else None
    return consent.stream if consent else receipt.stream if receipt else None


def _flat(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in sorted(value.items()):
            yield from _flat(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for item in value:
            yield from _flat(item, f"{path}[]")
    else:
        yield path, codec.encode(value) if isinstance(value, CID) else value


def area(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The chance that a score of the first kind is above one of the second, ties counting half."""
    ranked = sorted([(score, True) for score in positive] + [(score, False) for score in negative])
    ranks, at = 0.0, 0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        ranks += (at + 1 + end) / 2 * sum(own for _, own in ranked[at:end])
        at = end
    most = len(positive) * (len(positive) + 1) / 2
    return (ranks - most) / (len(positive) * len(negative))


def by_value(seen: Mapping[StreamId, Sequence[Any]], streams: Sequence[StreamId]) -> dict[frozenset[StreamId], float]:
    """Score of each pair: shared values, each by how few streams have it."""
    having = Counter(value for stream in streams for value in set(seen.get(stream, ())))
    sets = {stream: set(seen.get(stream, ())) for stream in streams}
    return {
        frozenset((one, two)): sum(math.log(len(streams) / having[value]) for value in sets[one] & sets[two])
        for one, two in itertools.combinations(streams, 2)
    }


def by_nearness(
    seen: Mapping[StreamId, Sequence[int]], streams: Sequence[StreamId]
) -> dict[frozenset[StreamId], float]:
    """Score of each pair: the nearer, the higher; what never happened is far from everything."""
    far = 10**12
    return {
        frozenset((one, two)): -min((abs(a - b) for a in seen.get(one, ()) for b in seen.get(two, ())), default=far)
        for one, two in itertools.combinations(streams, 2)
    }


def linked(scores: Mapping[frozenset[StreamId], float], person: Mapping[StreamId, int]) -> float:
    """How well scores tell pairs of one person from others; whichever way round says more."""
    same, other = [], []
    for pair, score in scores.items():
        one, two = pair
        (same if person[one] == person[two] else other).append(score)
    found = area(same, other)
    return max(found, 1 - found)


def shuffled(person: Mapping[StreamId, int], seed: int) -> dict[StreamId, int]:
    """The same streams, and as many to a person, dealt out anew."""
    dealt = list(person.values())
    random.Random(seed).shuffle(dealt)  # noqa: S311 -- the same deal on every run
    return dict(zip(person, dealt, strict=True))
