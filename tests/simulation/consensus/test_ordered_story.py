"""Splits, crashes, lost disks, liars and late blocks around the real application, by a seed: one history, in which
everything that was acknowledged is once; and nobody releases what was taken back longer ago than a copy may be old."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from caremesh.consensus import kept
from caremesh.consensus.cometbft import snapshot_files
from caremesh.custodian.checks import check_fresh
from caremesh.errors import CareMeshError
from caremesh.ledger.application import Params
from caremesh.types import Seconds
from tests.conftest import Evidence
from tests.support.kv import MEMBER, START_S, VALUES, Append, Delete, Put, Refuse, Revoke, transaction
from tests.support.ordered import COUNT, Ordering

STEPS = 120
AT_ONCE = 10
"""Stories of one test: thousands are told by `make sim`."""
MAX_AGE_S: Seconds = 30
RELEASABLE = [b"consent-%d" % number for number in range(3)]
QUOTA = Params(quota_messages=8, quota_window_s=10**10, kept_heights=50, retain_blocks=10_000)


class Story:
    """What happens, and an account of what was acknowledged that shares nothing with what it judges."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - a story, told again by its seed
        self.net = Ordering(folder, self.dice, QUOTA, START_S)
        self.sent: list[bytes] = []
        self.revoked: dict[bytes, Seconds] = {}
        """Of each consent that is gone, when that was acknowledged."""
        self.acknowledged: dict[bytes, str] = {}
        self.codes: Counter[str] = Counter()
        self.heard = 0
        """The height up to which somebody has told their submitters."""
        self.revocations: dict[bytes, bytes] = {}
        for key in RELEASABLE:
            assert self.net.send(0, self._tx(Put(key=key, value=b"1")))
        assert self.net.propose()
        self._all_come()

    def step(self) -> None:
        net, dice = self.net, self.dice
        happens = dice.choices(
            [self.time_passes, self.a_transaction, net.propose, self.a_lie, self.blocks_come, self.a_fault],
            [3, 6, 10, 1, 10, 1],
        )[0]
        happens()
        self.hear()
        self.nobody_releases_too_late()

    # --- what happens ---------------------------------------------------------------------------------

    def time_passes(self) -> None:
        self.net.now += self.dice.choice([1, 1, 3, 10, 40])

    def a_transaction(self) -> None:
        dice, key = self.dice, b"%d" % self.dice.randrange(5)
        kind = dice.randrange(9)
        if kind == 0 and self.sent:
            raw = dice.choice(self.sent)  # again
        elif kind == 1:
            raw = dice.randbytes(dice.randrange(200))
        elif kind == 2:
            raw = self._tx(Put(key=key, value=key), ahead=dice.choice([-60, -1, 601, 10**6]))
        elif kind == 3:
            consent = dice.choice(RELEASABLE)
            raw = self._tx(Revoke(key=consent))
            self.revocations[raw] = consent
        else:
            message = dice.choice([Put(key=key, value=os.urandom(4)), Append(owner=key, item=key), Refuse(key=key)])
            raw = self._tx(message if dice.random() < 0.8 else Delete(key=key))
        self.net.send(dice.randrange(COUNT), raw)

    def a_lie(self) -> None:
        """Somebody proposes what no honest member puts together: it is judged by all alike."""
        sound, far = self._tx(Put(key=b"x", value=b"1")), self._tx(Put(key=b"x", value=b"1"), ahead=10**6)
        free = self._tx(Revoke(key=b"nothing"))
        lies = [[self.dice.randbytes(40)], [far], [sound, free], [sound[:-1] + bytes([sound[-1] ^ 1])]]
        assert not self.net.propose(self.dice.choice(lies))

    def blocks_come(self) -> None:
        for number in self.dice.sample(range(COUNT), COUNT):
            for _ in range(self.dice.choice([0, 2, 4, 8])):
                crash = self.dice.choice(["before", "executed", "committed"]) if self.dice.random() < 0.02 else ""
                self.net.deliver(number, crash)

    def a_fault(self) -> None:
        net, dice = self.net, self.dice
        number = dice.randrange(COUNT)
        match dice.randrange(7):
            case 0:
                net.apart = frozenset(dice.sample(range(COUNT), dice.randrange(1, 3)))
                net.done["splits"] += 1
            case 1 | 2:
                net.apart = frozenset()
                self.blocks_come()
            case 3:
                net.crash(number)
            case 4:
                net.lose_disk(number)
            case 5:
                net.replicas[number].skew = dice.choice([0, -3_600, 3_600])
            case _:
                for each in range(COUNT):
                    net.crash(each)
        for each in range(COUNT):
            if dice.random() < 0.6:
                net.restart(each)

    def _tx(self, message: Put | Append | Refuse | Delete | Revoke, ahead: int = 0) -> bytes:
        ahead = ahead or self.dice.choice([5, 60, 300])
        made = transaction(message, key=MEMBER, expires_at=self.net.now + ahead, salt=self.dice.randbytes(8))
        self.sent.append(made)
        return made

    # --- what is true ---------------------------------------------------------------------------------

    def hear(self) -> None:
        """Whoever has committed a block has told its submitters."""
        net = self.net
        highest = max(replica.height for replica in net.replicas)
        for height in range(self.heard, highest):
            node = next(each.node for each in net.replicas if each.node is not None and each.height == highest)
            results = node.machine.results(height + 1)
            assert len(results.results) == len(net.decided[height].txs)
            for raw, tx_id, result in zip(net.decided[height].txs, results.txs, results.results, strict=True):
                self.codes[result.code] += 1
                if result.code not in ("ledger.07", "ledger.09"):
                    assert bytes(tx_id) not in self.acknowledged, "twice"
                    self.acknowledged[bytes(tx_id)] = result.code
                if raw in self.revocations:
                    assert result.code in ("", "ledger.07", "ledger.09"), "a revocation costs no quota"
                    if not result.code:
                        self.revoked.setdefault(self.revocations[raw], net.now)
        self.heard = max(self.heard, highest)

    def nobody_releases_too_late(self) -> None:
        """A custodian's own rule at each replica, for what was taken back."""
        for replica in self.net.replicas:
            if replica.node is None or not replica.height:
                continue
            head = replica.node.machine.head
            try:
                check_fresh(head.time, self.net.now - replica.seen, self.net.now)
            except CareMeshError:
                continue
            for key, since in self.revoked.items():
                if self.net.now - since > MAX_AGE_S:
                    assert VALUES.get(replica.node.machine.reader(), key) is None, "released although taken back"

    def ends_well(self) -> None:
        """Everything is up and together again: work goes on, and all copies are one."""
        net = self.net
        net.apart = frozenset()
        for number in range(COUNT):
            net.restart(number)
            net.replicas[number].skew = 0
        self._all_come()
        for replica in net.replicas:
            replica.pool = []
        last = self._tx(Revoke(key=b"last"))
        assert net.send(0, last)
        assert net.propose()
        self._all_come()
        self.hear()
        heads = {(each.height, each.node.machine.head.app_hash) for each in net.replicas if each.node is not None}
        assert len(heads) == 1
        assert heads.pop()[0] == len(net.decided)
        nodes = [each.node for each in net.replicas if each.node is not None]
        for node in nodes:
            first = next(iter(kept.blocks_from(node.machine, kept.status_of(node.machine, running=True).oldest)))
            for tx_id, code in self.acknowledged.items():
                found = kept.outcome_of(node.machine, tx_id)
                assert found is not None or first.signed.own().height > 1, "acknowledged, and gone"
                assert found is None or found.code == code
        for raw in (*self.sent[-20:], self._tx(Put(key=b"a", value=b"1")), self._tx(Put(key=b"a", value=b"1"), -1)):
            assert len({self._said(node, raw) for node in nodes}) == 1, "not decided alike"

    def _all_come(self) -> None:
        for number in list(range(COUNT)) * 2:
            while (height := self.net.replicas[number].height) < len(self.net.decided):
                self.net.deliver(number)
                assert self.net.replicas[number].height == height + 1, "nobody has the next block"

    def _said(self, node: object, raw: bytes) -> str:
        machine = node.machine  # type: ignore[attr-defined]
        try:
            machine.check(machine.codec.decode(raw), self.net.now)
        except CareMeshError as error:
            return error.code
        return ""


def told(folder: Path, seed: int) -> Story:
    story = Story(folder, seed)
    try:
        for _ in range(STEPS):
            story.step()
        story.ends_well()
    except BaseException as error:
        error.add_note(f"the story of seed {seed}")
        raise
    finally:
        story.net.close()
    return story


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process reads a database before it is opened, and snapshots are taken without a pause: both have tests
    of their own."""
    monkeypatch.setattr(kept, "check_pages", lambda *_: None)
    monkeypatch.setattr(snapshot_files, "_PAUSE_S", 0.0)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.promise("P3", "P5", "P7", "P10")
def test_one_history_by_the_model_of_cometbfts_ordering(seed: int, tmp_path: Path, evidence: Evidence) -> None:
    """One story; a seed that fails is in the note of what it raises."""
    done: Counter[str] = Counter()
    for number in range(AT_ONCE):
        mine = seed * AT_ONCE + number
        story = told(tmp_path / str(mine), mine)
        done += story.net.done
        for code, count in story.codes.items():
            done[f"results {code or 'done'}"] += count
    for what, count in sorted(done.items()):
        evidence.fault(what, count)
    assert done["blocks"]


@pytest.mark.usefixtures("quick")
@pytest.mark.promise("P5")
def test_a_block_that_one_alone_has_stored_is_not_lost_with_its_disk(tmp_path: Path) -> None:
    """Those who voted for it have it: in this story it is the last one that is decided."""
    told(tmp_path, 503)
