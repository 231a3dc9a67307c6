"""A stream of work over five nodes while their processes are killed, and an account of what was acknowledged."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from caremesh.client import errors as client
from caremesh.codec import CID
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.errors import CareMeshError, ErrorCode, Refused, StorageFailed, Unavailable
from caremesh.testing.nodes import NodeProcess
from caremesh.wallet.proven import STALE
from caremesh.wallet.state import ShareRecord
from tests.support.apart import Apart, eventually, known

SUPERVISOR = "supervisor"
PARTS = (SUPERVISOR, "ledger", "api-1")
COMETBFT = "cometbft"
BOTH = (SUPERVISOR, "ledger", COMETBFT)
"""Where CometBFT orders: the application, by itself or with all around it, and CometBFT."""
PAUSE_S = 1.2
_OF_KILLS = (client.BEHIND.code, STALE.code)
"""What is refused, too, when processes are killed: no block is fresh."""
_REVOKED = 0.4
"""How often a share is taken back when that is tried: the others are used for longer."""


class Work:
    """Imports, shares, visits, revocations and plain transactions, one after the other, in a thread of its own.

    ``beside``: threads that send plain transactions meanwhile, by way of any member.
    """

    def __init__(self, world: Apart, dice: random.Random, beside: int = 0) -> None:
        self._world = world
        self._dice = dice
        self._ending = threading.Event()
        self._turn = threading.Lock()
        self._threads = [threading.Thread(target=self._run, name="work")]
        for _ in range(beside):
            mine = random.Random(dice.random())  # noqa: S311 - it chooses by way of whom
            self._threads.append(threading.Thread(target=self._run_beside, args=[mine], name="notes"))
        self._told: set[bytes] = set()
        self.imported: set[str] = set()
        self.transactions: list[CID] = []
        self.receipts: list[Receipt] = []
        self.opened: list[Receipt] = []
        self.shares: list[bytes] = []
        self.revoked: list[bytes] = []
        self.failed: Counter[str] = Counter()
        self.unexpected: list[str] = []
        self.rounds = 0

    def __enter__(self) -> Work:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def round(self) -> None:
        """Every kind of work once, each until it is acknowledged: reads and writes go on."""
        for step in (self._imports, self._notes, self._shares, self._asks, self._opens, self._revokes):
            eventually(lambda step=step: self._tried(step))  # type: ignore[misc]
        self.rounds += 1

    def _run(self) -> None:
        while not self._ending.is_set():
            step = self._dice.choice([self._imports, self._notes, self._shares, self._asks, self._opens, self._revokes])
            if not self._tried(step):
                self._ending.wait(0.1)

    def _run_beside(self, dice: random.Random) -> None:
        while not self._ending.is_set():
            self._tried(lambda: self._note(dice))
            self._ending.wait(0.2)

    def _tried(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except (Unavailable, StorageFailed) as error:
            with self._turn:
                self.failed[error.code] += 1
            return False
        except CareMeshError as error:
            if error.code in _OF_KILLS:
                with self._turn:
                    self.failed[error.code] += 1
            else:
                self.unexpected.append(f"{step.__name__} {error}")
            return False
        return True

    def _imports(self) -> None:
        self.imported |= set(self._world.import_next())

    def _notes(self) -> None:
        self._note(self._dice)

    def _note(self, dice: random.Random) -> None:
        """A transaction by way of any member."""
        done = self._world.ledger(dice.choice(self._world.names)).submit(self._world.transaction())
        assert not done.code
        self.transactions.append(CID(done.tx))

    def _shares(self) -> None:
        if self._world.standing() is None:
            try:
                share = self._world.share()
            except Refused as error:  # what was sent before and not acknowledged has come meanwhile
                raise Unavailable(error.error) from error
            self.shares.append(share)
            self._told.add(share)

    def _shared(self) -> ShareRecord | None:
        """See ``_standing``; custodians and grantee have what they need for it."""
        record, person = self._world.standing(), self._world.person
        if record is None:
            return None
        if record.id not in self._told:
            person._tell(record.grantee, "share", person.wallet.message(record, person.ledger.reader()))
            self._told.add(record.id)
        if missing := person.deposit_again():
            raise Unavailable(ErrorCode(missing[0].code, "A custodian has no fragment yet."))
        return record

    def _asks(self) -> None:
        if self._shared() is not None:
            self.receipts.append(self._world.receipt())

    def _opens(self) -> None:
        if self._shared() is not None:
            before, receipt = set(self.imported), self._world.receipt()
            self.receipts.append(receipt)
            assert before <= self._world.opened(receipt)
            self.opened.append(receipt)

    def _revokes(self) -> None:
        record = self._world.standing()
        if record is not None and self._dice.random() < _REVOKED:
            self._world.person.revoke(record.id)
            self.revoked.append(record.id)

    def check(self) -> None:
        """Nothing that was acknowledged is lost."""
        assert not self.unexpected, self.unexpected
        world, reader = self._world, self._world.reader()
        for name in world.names:
            ledger = world.ledger(name)
            assert all(known(ledger, tx) for tx in self.transactions), name
        assert self.imported <= {record.id for _, record in world.person.records("laboratory")}
        for receipt in self.receipts:
            assert access.receipt(reader, receipt.id) is not None
        records = {record.id: record for record in world.person.wallet.state.shares}
        for share in self.shares:
            for item in records[share].items:
                assert consents.consent(reader, item.consent) is not None
        for share in self.revoked:
            for item in records[share].items:
                found = consents.consent(reader, item.consent)
                assert found is not None
                assert found.status == "revoked"
        audit = world.person.audit()
        assert not audit.findings
        released = {entry.receipt for entry in audit.accesses if entry.released == "yes"}
        assert {receipt.id for receipt in self.opened} <= released


def kill_at_random(
    world: Apart, dice: random.Random, times: int, parts: Sequence[str] = PARTS, pause_s: float = PAUSE_S
) -> Counter[str]:
    """Kill so many processes of any member, one after the other; how often which kind. ``pause_s``: the longest."""
    killed: Counter[str] = Counter()
    for _ in range(times):
        time.sleep(dice.uniform(0.0, pause_s))
        node, part = world.node(dice.choice(world.names)), dice.choice(parts)
        if part == SUPERVISOR:
            node.kill()
            node.start()  # as the service manager does
        elif part == COMETBFT:
            kill_cometbft(node)
        else:
            node.kill_part(part)
        killed[part] += 1
    return killed


def kill_cometbft(node: NodeProcess) -> None:
    """End a node's CometBFT as a crash would, once there is one."""
    with suppress(ProcessLookupError):
        os.kill(node.wait(lambda: cometbft_of(node)), signal.SIGKILL)


def cometbft_of(node: NodeProcess) -> int:
    """The process id of a node's CometBFT; 0 while it is started again."""
    words = ["start", "--home", str(node.home / "cometbft"), ""]
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if (folder / "cmdline").read_text("utf-8", errors="replace").split("\0")[1:] == words:
                    return int(folder.name)
    return 0
