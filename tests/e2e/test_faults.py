"""Faults over real processes, each node on a host of its own: nothing acknowledged is lost, and work goes on.

Which kind of host it is on this machine (``testing/hosts.py``) stands in the evidence of each test, and in its summary.
"""

from __future__ import annotations

import random
import select
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import combinations
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from caremesh.codec import CID
from caremesh.errors import CareMeshError, StorageFailed, Unavailable
from caremesh.gateway.opening import Opened
from caremesh.node.backup import back_up, restore
from caremesh.sealing import evidence as proof
from tests.conftest import Evidence
from tests.support.apart import WITHIN_S, Apart, apart, eventually, known
from tests.support.full_disk import disk_of
from tests.support.killing import Work, kill_at_random

pytestmark = pytest.mark.timeout(900)
KILLS = 20


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    with apart(tmp_path_factory.mktemp("f") / "n") as made:
        yield made


def killing(world: Apart, seed: int, times: int, evidence: Evidence) -> None:
    evidence.seed(seed)
    evidence.say(f"hosts are {world.hosts.kind}")
    dice = random.Random(seed)  # noqa: S311 - it chooses what is done, and what dies
    world.well()
    work = Work(world, random.Random(seed + 1))  # noqa: S311 - see above
    work.round()
    with work:
        for part, count in sorted(kill_at_random(world, dice, times).items()):
            evidence.fault(f"kill -9 of a process ({part})", count)
    world.wait_ready()
    work.round()
    work.check()
    world.one_history()
    for code, count in sorted(work.failed.items()):
        evidence.fault(f"work that was not acknowledged ({code})", count)


@pytest.mark.slow
@pytest.mark.promise("P5", "P10")
def test_twenty_processes_are_killed_and_nothing_acknowledged_is_lost(world: Apart, evidence: Evidence) -> None:
    killing(world, 0, KILLS, evidence)


FOLLOWERS = ("hospital", "practice", "laboratory", "payer")
CUSTODIANS = ("laboratory", "payer", "regulator")
SPLITS = [frozenset(side) for size in range(1, 5) for side in combinations(FOLLOWERS, size)]
"""Of each split the part without the operator: all 15."""
LIMIT_S = 30
NOT_IN_TIME = "api.06"
LOG_CLOSED = ("node.27",)
MANY = 2_000
STALE, REVOKED, FUTURE = "custodian.01", "custodian.05", "custodian.02"


@pytest.mark.slow
@pytest.mark.promise("P3", "P7", "P10")
def test_every_split_of_five_leaves_one_side_that_goes_on_and_one_that_refuses(
    world: Apart, evidence: Evidence
) -> None:
    evidence.say(f"hosts are {world.hosts.kind}")
    world.well()
    world.import_next()
    assert len(SPLITS) == 15
    for far in SPLITS:
        split(world, far)
    evidence.fault("a split of five nodes", len(SPLITS))


def split(world: Apart, far: frozenset[str]) -> None:
    near = [name for name in world.names if name not in far]
    share = world.share()
    receipt = world.receipt()
    world.hosts.split(far)
    cut = {name: world.node(name).desk.where().height for name in far}
    world.person.revoke(share)  # writes go on
    done = world.ledger("regulator").submit(world.transaction())
    assert not done.code
    for name in near:
        eventually(lambda name=name: world.node(name).desk.where().height >= done.height)  # type: ignore[misc]
        assert known(world.ledger(name), CID(done.tx)), (far, name)
    world.clocks.advance(LIMIT_S + 1)
    for name in CUSTODIANS:
        expected = STALE if name in far else REVOKED
        eventually(lambda name=name, expected=expected: world.said_by(name, receipt) == expected)  # type: ignore[misc]
    for name in near:
        world.node(name).wait(world.node(name).ready)
    for name in far:
        status, checks = world.hosts.readiness(name)
        assert (status, checks["fresh"], checks["writable"]) == (503, False, True), (far, name)
        height = world.node(name).desk.where().height
        assert cut[name] <= height < done.height, (far, name)
        assert world.ledger(name).status(verify=False).height == height  # reads are served
    world.hosts.heal()
    world.wait_ready()  # by themselves
    world.one_history()
    for name in CUSTODIANS:
        assert world.said_by(name, receipt) == REVOKED, (far, name)


@pytest.mark.slow
@pytest.mark.promise("P6", "P10")
@pytest.mark.parametrize(
    ("silent", "lying"), [("laboratory", "payer"), pytest.param(*2 * [" ".join(CUSTODIANS)], marks=pytest.mark.long)]
)
def test_one_custodian_of_three_may_be_silent_or_lie_and_is_named(
    world: Apart, evidence: Evidence, silent: str, lying: str
) -> None:
    world.well()
    world.import_next()
    share = world.share()
    for name in CUSTODIANS:
        did = world.did(name)
        if name in silent and name != "regulator":  # who orders blocks cannot be away
            world.hosts.split([name])
            receipt = world.receipt()
            opened = world.open("practice", receipt)
            assert opened.records
            assert did not in opened.released_by
            world.hosts.heal()
            evidence.fault("a silent custodian")
        if name in lying:
            with world.lying(did):
                world.wait_ready()
                opened = world.open("practice", world.receipt())
                assert opened.records
                assert did not in opened.released_by
                assert {fault.custodian for fault in opened.faults} <= {did}
                evidence.fault("a lying custodian")
    world.hosts.set(delay_s=0.2, loss=0.05)
    assert world.open("practice", world.receipt()).records
    evidence.fault("a slow and lossy network")
    world.hosts.heal()
    world.person.revoke(share)


SLOW_S, SILENT_S = 5.0, 600.0
"""Ten times longer than the practice waits before it asks another; longer than anybody waits."""


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.promise("P6", "P10")
@pytest.mark.parametrize("kind", ["slow", "silent", "lying"])
@pytest.mark.parametrize("name", CUSTODIANS)
def test_every_custodian_in_turn_is_slow_silent_or_lying_while_reads_and_writes_go_on(
    world: Apart, evidence: Evidence, name: str, kind: str
) -> None:
    """One of three: *n - t*. What is written meanwhile is read meanwhile, and afterwards too."""
    world.well()
    share, did = world.share(), world.did(name)
    with ExitStack() as faults:
        if kind == "lying":
            slow = next(each for each in CUSTODIANS if each != name)  # so that every custodian is asked
            faults.enter_context(world.late(world.did(slow), SLOW_S))
            faults.enter_context(world.lying(did))
        else:
            faults.enter_context(world.late(did, SLOW_S if kind == "slow" else SILENT_S))
        written = world.import_next()
        opened = eventually(lambda: reads(world, written))
        if kind == "silent":
            assert did not in opened.released_by
        if kind == "lying":
            liar = eventually(lambda: next((each for each in world.open("practice", world.receipt()).faults), None))
            assert liar.custodian == did
            assert liar.claim is not None
            [shown] = world.node("practice").desk.evidence([liar.claim])
            found = proof.verify(proof.read(shown), world.light_client(), world.clocks())
            assert found.custodian == did, "anybody who has the file can tell"
    evidence.fault(f"a {kind} custodian")
    assert eventually(lambda: reads(world, written)).faults == []
    world.person.revoke(share)


def reads(world: Apart, wanted: list[str]) -> Opened | None:
    """What the practice opens, once it has these records."""
    opened = world.open("practice", world.receipt())
    return opened if set(wanted) <= {record.id for record in opened.records} else None


@pytest.mark.slow
@pytest.mark.promise("P3", "P10")
@pytest.mark.parametrize(("off_s", "code"), [(3_600, STALE), (-3_600, FUTURE)])
def test_a_member_whose_clock_is_an_hour_off_refuses_and_nobody_else_does(
    world: Apart, evidence: Evidence, off_s: int, code: str
) -> None:
    world.well()
    world.import_next()
    share = world.share()
    payer = world.node("payer")
    world.clocks.of["payer"].advance(off_s)
    evidence.fault("a clock that is an hour off")
    receipt = world.receipt()
    eventually(lambda: world.said_by("payer", receipt) in (code, NOT_IN_TIME))
    eventually(lambda: not payer.ready())
    assert world.opened(receipt)
    assert not world.ledger("regulator").submit(world.transaction()).code
    world.clocks.of["payer"].advance(-off_s)
    world.wait_ready()
    world.one_history()
    eventually(lambda: world.said_by("payer", receipt) == "released")
    world.person.revoke(share)


@pytest.mark.slow
@pytest.mark.promise("P5", "P10")
@pytest.mark.parametrize("name", ["hospital", pytest.param("regulator", marks=pytest.mark.long)])
def test_a_member_whose_disk_is_full_says_so_serves_reads_and_resumes(
    world: Apart, tmp_path: Path, evidence: Evidence, name: str
) -> None:
    world.well()
    node = world.node(name)
    with disk_of(node, tmp_path) as disk:
        evidence.say(f"a full disk is {disk.kind}")
        world.wait_ready()
        imported = set(world.import_next())
        done = world.ledger(name).submit(world.transaction())
        disk.fill()
        evidence.fault("a full disk")
        starts = {part: said["starts"] for part, said in node.parts().items()}
        eventually(lambda: world.hosts.readiness(name)[0] == 503)
        checks = world.hosts.readiness(name)[1]
        assert not checks["room"] or not checks["writable"]
        acknowledged = [CID(done.tx)]
        if name == "regulator":  # until the pages are used up that its database had free
            with pytest.raises(CareMeshError) as refused:
                acknowledged.extend(CID(world.ledger(name).submit(world.transaction()).tx) for _ in range(MANY))
            assert isinstance(refused.value, StorageFailed | Unavailable), refused.value
        else:
            with pytest.raises(CareMeshError) as refused:
                world.import_next()
            assert isinstance(refused.value, StorageFailed | Unavailable), refused.value
            assert not world.ledger("regulator").submit(world.transaction()).code
        assert node.desk.where().height >= done.height
        if disk.over:
            assert known(world.ledger(name), CID(done.tx))
        disk.free()
        node.wait(node.ready, WITHIN_S)
        world.wait_ready()
        assert {part: said["starts"] for part, said in node.parts().items()} == starts, "nobody had to begin anew"
        imported |= set(eventually(world.import_next))
        assert not world.ledger(name).submit(world.transaction()).code
        world.one_history()
        assert imported <= {record.id for _, record in world.person.records("laboratory")}
        assert all(known(world.ledger("payer"), tx) for tx in acknowledged)
    node.start()
    world.wait_ready()
    world.one_history()


@pytest.mark.slow
@pytest.mark.promise("P5", "P10")
def test_a_member_whose_disk_is_lost_is_made_anew_out_of_backup_and_peers(
    world: Apart, tmp_path: Path, evidence: Evidence
) -> None:
    world.well()
    world.import_next()
    share, node = world.share(), world.node("laboratory")
    back_up(node.home, tmp_path / "backup", world.clocks())
    key_file = tmp_path / "secrets.key"
    key_file.write_bytes((node.home / "secrets.key").read_bytes())
    key_file.chmod(0o600)
    after = set(world.import_next())  # what is in no backup
    done = world.ledger("laboratory").submit(world.transaction())
    held = blocks_at(node.home)
    node.kill()
    shutil.rmtree(node.home)
    evidence.fault("a whole disk that is lost")
    assert after <= world.opened(world.receipt())
    restore(tmp_path / "backup", node.home, key_file, world.clocks())
    node.start()
    node.wait(node.ready, WITHIN_S)
    eventually(lambda: node.desk.where().height >= done.height)
    assert known(world.ledger("laboratory"), CID(done.tx))
    eventually(lambda: held <= blocks_at(node.home))
    assert eventually(lambda: world.said_by("laboratory", world.receipt()) in LOG_CLOSED)
    assert after <= world.opened(world.receipt())
    world.one_history()
    world.person.revoke(share)


def blocks_at(home: Path) -> set[str]:
    return {path.name for path in (home / "blocks").rglob("*") if path.is_file() and len(path.name) > 40}


GIGABYTES = 10 * 10**9
PIECE = bytes(1 << 20)


@pytest.mark.slow
@pytest.mark.promise("P10")
@pytest.mark.parametrize("announced", [True, False])
def test_ten_gigabytes_are_cut_off_and_cost_no_memory(world: Apart, evidence: Evidence, *, announced: bool) -> None:
    world.well()
    node = world.node("practice")
    pid = int(node.parts()["api-1"]["pid"])
    before = memory(pid)
    for path in ("/ledger/v1/transactions", "/custody/v1/releases", "/nowhere"):
        status, sent = pour(world.hosts.url("practice"), path, announced=announced)
        assert status in (b"400", b"401", b"404", b"405", b"408", b"413", b"415", b""), (path, status)
        assert sent < GIGABYTES
        evidence.fault("a body of 10 GB")
    assert node.parts()["api-1"]["pid"] == pid
    assert memory(pid) - before < 128 * 2**20
    assert node.ready()


def pour(url: str, path: str, *, announced: bool) -> tuple[bytes, int]:
    """Send for as long as somebody takes it; the status of the answer, if one came, and how much went."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    place = urlsplit(url)
    size = f"content-length: {GIGABYTES}" if announced else "transfer-encoding: chunked"
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-type: application/vnd.ipld.dag-cbor\r\n{size}\r\n\r\n"
    )
    piece, sent, answer = (PIECE if announced else b"%x\r\n%s\r\n" % (len(PIECE), PIECE)), 0, b""
    with (
        suppress(OSError),
        socket.create_connection((place.hostname, place.port), 60) as plain,
        context.wrap_socket(plain) as secured,
    ):
        secured.sendall(head.encode())
        while sent < GIGABYTES and not select.select([secured], [], [], 0)[0]:
            secured.sendall(piece)
            sent += len(PIECE)
        answer = secured.recv(12)
    return answer[9:12], sent


def memory(pid: int) -> int:
    """The most that a process ever had, in bytes."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])
