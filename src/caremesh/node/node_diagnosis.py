"""What ``caremesh doctor`` looks at in the home of a node: the likeliest faults, whether it runs or not.

Nothing is opened that the node's own process has open but the ledger, which any process may read.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from caremesh.api.serving import listen
from caremesh.client.node import Node as Way
from caremesh.client.node import Patience, Target
from caremesh.consensus.compaction import open_for_reading
from caremesh.contracts import Contracts
from caremesh.contracts.members import queries as members
from caremesh.contracts.members.state import Member
from caremesh.contracts.network import queries as network
from caremesh.contracts.network.state import Rules
from caremesh.custodian.checks import MAX_AGE_S, MAX_AHEAD_S
from caremesh.errors import CareMeshError
from caremesh.ledger.past import StateAt
from caremesh.node import doors, founding, joining, restored
from caremesh.node.desk import Desk
from caremesh.node.diagnosis import Finding
from caremesh.node.founding import Founding
from caremesh.node.running import LEDGER
from caremesh.node.supervisor import STATE
from caremesh.settings import Settings, load

RESTLESS: Final = 3
"""So many starts of one process are told."""


def diagnose_node(home: Path) -> Iterator[Finding]:
    """All checks, in order, as far as there is something to look at."""
    settings: Settings | None = None
    try:
        settings = load(home, environment=list(os.environ))
        yield Finding("settings", ok=True, found="valid", cure="")
    except CareMeshError as error:
        yield _wrong("settings", error)
    yield _key_file(home)
    try:
        admission = joining.load_admission(home)
        known = founding.load(home)
    except CareMeshError as error:
        yield _wrong("network", error)
        return
    if known is None:
        yield Finding("network", ok=False, found="not joined", cure="`caremesh join` with the operator's network file.")
        return
    yield Finding("network", ok=True, found=f"{known.chain}, fingerprint {joining.fingerprint(known)}", cure="")
    running = _runs(home)
    yield _processes(home, running=running)
    if not running and settings is not None:
        yield _port("network's address", settings.listen_host, settings.listen_port)
        yield _port("admin address", settings.admin_host, settings.admin_port)
    if settings is not None:
        yield _room(home, settings.min_free_bytes)
    yield _restored(home)
    try:
        store = open_for_reading(home / LEDGER, known.chain)
    except CareMeshError as error:
        yield _wrong("ledger", error)
        return
    try:
        reader = StateAt(store)
        with store.read() as read:
            head = read.head()
        yield _age(0 if head is None else head.time, running=running)
        yield _rules(network.rules(reader))
        yield _membership(members.member(reader, admission.admit.member), admission.admit.keys.node)
        others = [each for each in members.members(reader) if each.did != admission.admit.member]
    except CareMeshError as error:
        yield _wrong("ledger", error)
        return
    finally:
        store.close()
    yield from _peers(others, known)


def _key_file(home: Path) -> Finding:
    path = home / "secrets.key"
    cure = "Bring it back from where you keep its copy; `chmod 600` it."
    try:
        found = path.stat()
    except OSError as error:
        return Finding("key file", ok=False, found=error.strerror or "not there", cure=cure)
    mode = stat.S_IMODE(found.st_mode)
    return Finding("key file", not mode & 0o077 and found.st_size == 32, f"mode {mode:o}, {found.st_size} bytes", cure)


def _runs(home: Path) -> bool:
    desk = Desk(home / doors.RUN / doors.SOCKET)
    try:
        desk.where()
    except CareMeshError:
        return False
    finally:
        desk.close()
    return True


def _processes(home: Path, *, running: bool) -> Finding:
    cure = "The log says why: look for `died`, and for `cannot go on` before it."
    try:
        parts = json.loads((home / doors.RUN / STATE).read_text("utf-8"))["parts"]
    except (OSError, ValueError, KeyError):
        return Finding("processes", ok=True, found="never started", cure="")
    often = {name: said for name, said in parts.items() if said["starts"] > RESTLESS}
    restless = [f"{name} {said['starts']} times ({said['last']})" for name, said in often.items()]
    told = f"started {', '.join(restless)}" if restless else "run" if running else "do not run"
    return Finding("processes", not restless, told, cure)


def _port(name: str, host: str, port: int) -> Finding:
    try:
        listen(host, port).close()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        cure = "Stop the program that uses it, or set another port." if taken else "Set an address of this machine."
        return Finding(name, ok=False, found=f"{host}:{port} {error.strerror}", cure=cure)
    return Finding(name, ok=True, found=f"{host}:{port} is free", cure="")


def _room(home: Path, least: int) -> Finding:
    free = shutil.disk_usage(home).free
    cure = "Make room: a node with less than `min_free_bytes` is not ready. docs/how-to/runbooks.md says what grows."
    return Finding("disk", free >= least, f"{free // 2**20:,} MiB free", cure)


def _restored(home: Path) -> Finding:
    try:
        known = restored.read(home)
    except CareMeshError as error:
        return _wrong("restored", error)
    told = "no" if known is None else "yes: releases only for streams opened since"
    return Finding("restored", ok=True, found=told, cure="")


def _age(head_time: int, *, running: bool) -> Finding:
    age = int(time.time()) - head_time
    cure = "Look at the clock, and at whether the operator can be reached." if running else "Start the node."
    if age < -MAX_AHEAD_S:
        return Finding("ledger", ok=False, found=f"{-age} s ahead of this clock", cure="Set the clock right.")
    return Finding("ledger", age <= MAX_AGE_S, f"newest block {age} s old" if head_time else "no block yet", cure)


def _membership(mine: Member | None, key: bytes) -> Finding:
    if mine is None:
        return Finding("member", ok=False, found="not on the ledger", cure="Wait until the node has caught up.")
    if mine.status != "active":
        return Finding("member", ok=False, found=mine.status, cure="Ask the authorities of the network.")
    same = mine.keys.node == key
    told = "active, keys as on the ledger" if same else "the ledger names another node key"
    return Finding("member", same, told, "Restore the home that has this key, or set the keys on the ledger.")


def _rules(now: Rules) -> Finding:
    """Whether this program has the rules that count, and those that are to."""
    program = Contracts()
    if not program.knows(now.version):
        lacks = f"version {now.version} counts, which this program does not have"
    elif now.following is not None and not program.knows(now.following):
        lacks = f"version {now.following} counts from block {now.height:,} on, and this program does not have it"
    else:
        after = "" if now.following is None else f"; version {now.following} from block {now.height:,} on"
        return Finding("rules", ok=True, found=f"version {now.version}{after}", cure="")
    return Finding("rules", ok=False, found=lacks, cure="Install the version of CareMesh that has it, and start again.")


def _peers(others: list[Member], known: Founding) -> Iterator[Finding]:
    answers = asyncio.run(_ask_all(others))
    ahead = [seconds for _, seconds in answers.values() if seconds is not None]
    if ahead:
        middle = sorted(ahead)[len(ahead) // 2]
        cure = "Set the clock right: custodians refuse when clocks differ."
        yield Finding("clock against others", abs(middle) <= MAX_AHEAD_S, f"{middle:+d} s", cure)
    signers = {each.key for each in known.validators} if known.orders == "embedded" else set()
    for each in others:
        code, _ = answers[each.did]
        role = "operator" if each.keys.node in signers else "member"
        cure = (
            "Another program answers there, or with another key than the ledger names: ask that member."
            if code == "client.03"
            else "Look at the network and the firewall; ask whether that node runs."
        )
        yield Finding(f"{role} {each.name}", not code, code or "answers, with the key on the ledger", cure)


async def _ask_all(others: list[Member]) -> dict[str, tuple[str, int | None]]:
    found = await asyncio.gather(*map(_ask, others))
    return dict(zip((each.did for each in others), found, strict=True))


async def _ask(other: Member) -> tuple[str, int | None]:
    """The code of what is wrong, and how far this clock is ahead of theirs."""
    if not other.endpoints:
        return "node.22", None
    target = Target(did=other.did, node_key=other.keys.node, url=other.endpoints[0])
    patience = Patience(connect_s=10.0, answer_s=20.0, tries=1)
    async with Way(target, None, patience=patience) as way:
        try:
            answer = await way.call("GET", "/healthz")
        except CareMeshError as error:
            return error.code, None
    return "", _seconds_ahead(answer.headers.get("date", ""), lambda: datetime.now(UTC))


def _seconds_ahead(date: str, now: Callable[[], datetime]) -> int | None:
    try:
        return round((now() - parsedate_to_datetime(date)).total_seconds())
    except (TypeError, ValueError):
        return None


def _wrong(check: str, error: CareMeshError) -> Finding:
    told = f"{error.code} {error.place}".strip()
    return Finding(check, ok=False, found=told, cure=f"{error.error.sentence} {error.error.cure}")
