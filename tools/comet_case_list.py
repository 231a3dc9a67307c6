"""The cases of vectors/comet themselves. See ``tools/comet_cases.py``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tools.comet_cases import (
    ABSENT,
    COMMIT,
    HEADER,
    PERIOD_S,
    VOTES,
    Edit,
    Forger,
    block,
    find,
    flipped,
    seconds,
    sets,
    votes_of,
)

DRIFT_S: Final = 10
OTHER_HASH: Final = "AB" * 32


class Book:
    """Cases as they are written down."""

    def __init__(self, chain: dict[str, Any], keys: Mapping[str, bytes]) -> None:
        """``keys``: address → seed of each validator."""
        self.chain, self.forger = chain, Forger(chain, keys)
        self.starts = [height for height, _ in sets(chain)]
        self.three = self.starts[-1]
        """The first height of the last set: three validators, one of whom is of the first set."""
        self.plain = find(chain, lambda commit: int(commit["height"]) >= 3 and self._all_voted(int(commit["height"])))
        """A height of the first set where all have voted, as they have at the height before."""
        self.cases: list[dict[str, Any]] = []
        self._after = seconds(chain, max(map(int, chain["blocks"]))) + 60

    def _all_voted(self, height: int) -> bool:
        votes = [*votes_of(self.chain, height), *votes_of(self.chain, height - 1)]
        return height < self.starts[1] and all(vote["block_id_flag"] == 2 for vote in votes)

    def add(self, name: str, expect: str, target: int, edits: list[Edit] | None = None, **more: Any) -> None:
        """One case. ``more``: other values than the first height, the end of the chain and its name."""
        case = {"name": name, "expect": expect, "trusted": 1, "target": target, "now": self._after}
        self.cases.append(case | {"edits": edits or []} | more)


def cases(chain: dict[str, Any], keys: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """All of them."""
    book = Book(chain, keys)
    for write in (_untouched, _votes, _commits, _headers, _validators, _times, _other_sets):
        write(book)
    for path, value in _malformed():
        book.add(f"malformed {'.'.join(map(str, path))}: {str(value)[:20]}", "light.10", book.plain, [(path, value)])
    return book.cases


def _untouched(book: Book) -> None:
    """What was recorded, as it is."""
    book.add("the next header", "", 2)
    book.add("a later header of the same set", "", book.plain)
    book.add("a vote is absent", "", _absent(book.chain))
    book.add("a second round", "", find(book.chain, lambda commit: commit["round"] > 0))
    book.add("the next header, by the set that was announced", "", book.starts[1], trusted=book.starts[1] - 1)
    book.add("a later set, signed by more than a third of the trusted one", "", book.starts[2])
    book.add("a later set, signed by less than a third of the trusted one", "light.02", book.three)
    book.add("that set, from one in between", "", book.three, trusted=book.three - 1)
    book.add("the trusted header itself", "", 1)
    book.add("an older header", "light.05", 1, trusted=2)


def _votes(book: Book) -> None:
    """Votes that are bad, missing, dated otherwise or misplaced."""
    book.add("one bad signature of four", "", book.plain, _flip(book.chain, book.plain, 1))
    book.add("two bad signatures of four", "light.01", book.plain, _flip(book.chain, book.plain, 0, 3))
    book.add("all signatures bad", "light.01", book.plain, _flip(book.chain, book.plain, 0, 1, 2, 3))
    book.add("two absent of four", "light.01", book.plain, [([*VOTES, place], ABSENT) for place in (1, 2)])
    book.add("one for no block of four", "", book.plain, [(_at_vote(1, "block_id_flag"), 3)])
    book.add(
        "two for no block of four", "light.01", book.plain, [(_at_vote(place, "block_id_flag"), 3) for place in (1, 2)]
    )
    book.add(
        "exactly two thirds of the power",
        "light.01",
        book.three,
        _two_thirds(book.chain, book.forger, book.three),
        trusted=book.three - 1,
    )
    book.add(
        "two votes dated otherwise",
        "light.01",
        book.plain,
        [(_at_vote(at, "timestamp"), "2026-01-01T00:00:00Z") for at in (0, 1)],
    )
    book.add("one vote dated before 1970", "", book.plain, [(_at_vote(0, "timestamp"), "1969-12-31T23:59:59Z")])
    book.add("one validator's vote twice", "light.09", book.plain, [([*VOTES, 1], votes_of(book.chain, book.plain)[0])])
    book.add("votes of two validators in each other's place", "light.09", book.plain, _swapped(book.chain, book.plain))
    book.add(
        "a vote too many",
        "light.09",
        book.plain,
        [([*VOTES], [*votes_of(book.chain, book.plain), votes_of(book.chain, book.plain)[0]])],
    )
    book.add("no votes", "light.09", book.plain, [([*VOTES], [])])
    book.add(
        "all votes of the block before", "light.01", book.plain, [([*VOTES], votes_of(book.chain, book.plain - 1))]
    )


def _commits(book: Book) -> None:
    """What the votes say."""
    book.add("another round", "light.01", book.plain, [([*COMMIT, "round"], 1)])
    book.add("votes of another height", "light.11", book.plain, [([*COMMIT, "height"], str(book.plain + 1))])
    book.add("votes for another block", "light.11", book.plain, [([*COMMIT, "block_id", "hash"], OTHER_HASH)])
    book.add("votes for other parts", "light.01", book.plain, [([*COMMIT, "block_id", "parts", "hash"], OTHER_HASH)])
    book.add("votes for more parts", "light.01", book.plain, [([*COMMIT, "block_id", "parts", "total"], 2)])


def _headers(book: Book) -> None:
    """What the header says."""
    for field, value in _other_fields(book.chain, book.plain).items():
        book.add(f"another {field}", "light.11", book.plain, [([*HEADER, *field.split(".")], value)])
    book.add(
        "another app_hash, and votes that name it",
        "light.01",
        book.plain,
        book.forger.renamed(book.plain, {"app_hash": OTHER_HASH}),
    )
    book.add(
        "another book.chain, and votes that name it",
        "light.06",
        book.plain,
        book.forger.renamed(book.plain, {"chain_id": "other"}),
    )
    book.add("another chain is followed", "light.06", book.plain, chain="other")
    book.add(
        "another set, and votes that name it",
        "light.09",
        book.plain,
        book.forger.renamed(book.plain, {"validators_hash": OTHER_HASH}),
    )


def _validators(book: Book) -> None:
    """Who the validators are said to be."""
    validators = block(book.chain, book.plain)["validators"]
    book.add("a validator of more power", "light.09", book.plain, [(["validators", 0, "voting_power"], "11")])
    book.add(
        "a validator's key is another",
        "light.09",
        book.plain,
        [(["validators", 0, "pub_key"], validators[1]["pub_key"])],
    )
    book.add("a validator is missing", "light.09", book.plain, [(["validators"], validators[:3])])
    book.add("a validator twice", "light.09", book.plain, [(["validators", 1], validators[0])])
    book.add("the set in another order", "light.09", book.plain, [(["validators"], validators[::-1])])
    book.add(
        "a set with a validator twice, which it has signed",
        "light.09",
        book.plain,
        _twice(book.chain, book.forger, book.plain),
    )
    book.add(
        "a key of another kind",
        "light.12",
        book.plain,
        [(["validators", 0, "pub_key", "type"], "tendermint/PubKeySecp256k1")],
    )


def _times(book: Book) -> None:
    """Clocks and the trust period."""
    book.add(
        "signed by all after the trusted header, dated before",
        "light.05",
        book.plain,
        book.forger.signed(book.plain, _at(book.chain, 1, -5)),
    )
    soon = seconds(book.chain, book.plain) - DRIFT_S
    book.add("dated as far ahead as clocks may differ", "", book.plain, now=soon)
    book.add("dated in the future", "light.04", book.plain, now=soon - 2)
    ends = seconds(book.chain, 1) + PERIOD_S
    book.add("within the trust period", "", book.plain, now=ends - 1)
    book.add("after the trust period", "light.03", book.plain, now=ends + 1)


def _other_sets(book: Book) -> None:
    """Headers that others have signed, and forks."""
    book.add(
        "the next header, by a set that was not announced",
        "light.02",
        book.plain,
        book.forger.by_set(book.plain, book.three),
        trusted=book.plain - 1,
    )
    book.add(
        "a later header, by a set of strangers",
        "light.02",
        book.three - 1,
        book.forger.by_set(book.three - 1, book.three),
    )
    book.add(
        "another header of the trusted height, signed",
        "light.07",
        book.plain,
        _fork(book.forger, book.plain),
        trusted=book.plain,
    )
    book.add(
        "another header of the trusted height, by strangers",
        "light.02",
        book.plain,
        book.forger.by_set(book.plain, book.three),
        trusted=book.plain,
    )
    book.add(
        "another header of the trusted height, unsigned",
        "light.01",
        book.plain,
        book.forger.renamed(book.plain, _FORK),
        trusted=book.plain,
    )
    book.add("a fork at a later height, signed by all", "", book.plain, _fork(book.forger, book.plain))


def _at_vote(place: int, field: str) -> list[Any]:
    return [*VOTES, place, field]


def _flip(chain: dict[str, Any], height: int, *places: int) -> list[Edit]:
    votes = votes_of(chain, height)
    return [(_at_vote(place, "signature"), flipped(votes[place]["signature"])) for place in places]


def _absent(chain: dict[str, Any]) -> int:
    return find(chain, lambda commit: any(vote["block_id_flag"] == 1 for vote in commit["signatures"]))


_FORK: Final = {"app_hash": OTHER_HASH}


def _fork(forger: Forger, height: int) -> list[Edit]:
    return forger.signed(height, _FORK)


def _two_thirds(chain: dict[str, Any], forger: Forger, height: int) -> list[Edit]:
    """A set of three like powers of which two have signed."""
    validators = [{**each, "voting_power": "10"} for each in block(chain, height)["validators"]]
    edits = forger.signed_set(height, validators)
    return [*edits, ([*VOTES, 2], ABSENT)]


def _twice(chain: dict[str, Any], forger: Forger, height: int) -> list[Edit]:
    validators = block(chain, height)["validators"]
    return forger.signed_set(height, [*validators, validators[0]])


def _swapped(chain: dict[str, Any], height: int) -> list[Edit]:
    votes = votes_of(chain, height)
    return [([*VOTES, 0], votes[1]), ([*VOTES, 1], votes[0])]


def _at(chain: dict[str, Any], height: int, later_s: int) -> dict[str, Any]:
    at = datetime.fromtimestamp(seconds(chain, height) + later_s, UTC)
    return {"time": f"{at:%Y-%m-%dT%H:%M:%S}Z"}


def _other_fields(chain: dict[str, Any], height: int) -> dict[str, Any]:
    """Every field of a header with another value."""
    header = block(chain, height)["signed_header"]["header"]
    hashes = {name: OTHER_HASH for name, value in header.items() if name.endswith("_hash") and len(value) == 64}
    return hashes | {
        "version.block": "12",
        "version.app": "2",
        "chain_id": "other",
        "height": str(height + 1),
        "time": "2026-01-01T00:00:00.000000001Z",
        "last_block_id.hash": OTHER_HASH,
        "last_block_id.parts.total": 9,
        "last_block_id.parts.hash": OTHER_HASH,
        "app_hash": "00",
        "proposer_address": "AB" * 20,
    }


def _malformed() -> list[tuple[list[Any], Any]]:
    """Values that no node answers, a field each."""
    parts = [*COMMIT, "block_id", "parts"]
    return [
        ([*HEADER, "height"], 3),
        ([*HEADER, "height"], "03"),
        ([*HEADER, "height"], "-3"),
        ([*HEADER, "height"], "0"),
        ([*HEADER, "height"], str(2**53)),
        ([*HEADER, "time"], "yesterday"),
        ([*HEADER, "time"], "1969-12-31T23:59:59Z"),
        ([*HEADER, "time"], "2026-02-30T00:00:00Z"),
        ([*HEADER, "chain_id"], ""),
        ([*HEADER, "chain_id"], "x" * 51),
        ([*HEADER, "app_hash"], "ABC"),
        ([*HEADER, "app_hash"], "AB" * 65),
        ([*HEADER, "data_hash"], "AB"),
        ([*HEADER, "data_hash"], None),
        ([*HEADER, "validators_hash"], ""),
        ([*HEADER, "proposer_address"], ""),
        ([*HEADER, "version"], []),
        ([*COMMIT, "round"], -1),
        ([*COMMIT, "round"], 2**31),
        ([*COMMIT, "round"], "0"),
        ([*parts, "total"], -1),
        ([*parts, "total"], 2**32),
        ([*parts, "hash"], "xyz"),
        ([*VOTES, 0, "block_id_flag"], 4),
        ([*VOTES, 0, "signature"], "%"),
        ([*VOTES, 0, "signature"], None),
        ([*VOTES, 0, "validator_address"], "AB"),
        ([*VOTES, 0], None),
        ([*VOTES], {}),
        (["validators", 0, "voting_power"], "-1"),
        (["validators", 0, "voting_power"], str(2**53)),
        (["validators", 0, "pub_key", "value"], "AAAA"),
        (["validators", 0, "pub_key", "value"], "%"),
        (["validators", 0, "address"], 7),
    ]
