"""All contracts over real CometBFT processes: who orders blocks changes while blocks go on, and clients follow."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from caremesh import codec
from caremesh.consensus import kept
from caremesh.consensus.interface import Committed
from caremesh.contracts import Contracts
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Revoke
from caremesh.contracts.consent.queries import consent_id
from caremesh.contracts.identity.messages import Register
from caremesh.contracts.members import queries as members
from caremesh.contracts.members.messages import Appoint, SetEndpoints, Suspend
from caremesh.contracts.network.messages import Brake, Params, RotateValidator, SetValidators, Validator
from caremesh.errors import Refused
from caremesh.types import DAY_S
from tests.conftest import Evidence
from tests.support.comet_engine import PATIENT_S, now
from tests.support.comet_evidence import report, two_votes
from tests.support.comet_network import (
    POLL_S,
    Network,
    engine_key,
    in_order,
    in_the_name_of,
    network,
    signed,
    validator,
)
from tests.support.world import CHAIN, World

# CometBFT is built by whichever test asks first: a minute of processor time, once for each machine.
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


def founders(world: World) -> list[Validator]:
    """A validator of each of five."""
    members = [world.hospital, world.practice, *world.custodians]
    return [validator(member, str(number)) for number, member in enumerate(members)]


def elect(running: Network, *validators: object) -> int:
    """The authorities name these; the height of the block."""
    message = SetValidators(validators=in_order(*validators))  # type: ignore[arg-type]
    return running.must(message, *running.world.custodians[:2])


@pytest.mark.promise("P4")
def test_a_validator_comes_replaces_its_key_and_goes() -> None:
    """Of two with equal power no block is without the other: where it is named, its node has signed."""
    with network(2, lambda world: [validator(world.hospital, "0")]) as running:
        hospital, practice = running.world.hospital, running.world.practice
        stays, comes = validator(hospital, "0"), validator(practice, "1")
        first, second, third = (engine_key(name).public for name in ("0", "1", "2"))

        came = elect(running, stays, comes)
        assert running.signers(came + 1) == {first}
        assert running.signers(came + 2) == {first, second}

        new = in_the_name_of("2", practice.did)
        rotated = running.must(RotateValidator(old=second, new=third), new, practice, by=1)
        assert running.signers(rotated + 1) == {first, second}
        running.again(1, "2")
        assert running.signers(rotated + 2) == {first, third}

        gone = running.must(Suspend(member=str(practice.did)), *running.world.custodians[:2])
        assert running.signers(gone + 1) == {first, third}
        assert running.signers(gone + 2) == {first}
        steps = running.follow(gone + 3)
        assert steps[-1].validators == running.first
        running.same_everywhere(gone + 3)
        assert [running.validators(number) for number in (0, 1)] == [[stays], [stays]]


def executed_again(running: Network, folder: Path, until: int) -> None:
    """What is kept of the blocks leads a new machine to the same hashes."""
    machine = kept.open_machine(folder, Contracts(), chain=CHAIN, genesis=running.genesis, genesis_time=running.begun)
    try:
        for height in range(1, until + 1):
            block = running.engines[0].block(height)
            header = block.signed.own()
            done = machine.execute(height, header.time, block.txs, block.misbehaviour)
            assert done.app_hash == header.app_hash, height
            machine.commit(done, block=codec.encode(block), header=header.hash())
    finally:
        machine.store.close()


@pytest.mark.promise("P5")
def test_who_signs_twice_is_removed_by_the_contract_at_every_node(evidence: Evidence, tmp_path: Path) -> None:
    with network(2, lambda world: [validator(world.hospital, "0"), validator(world.practice, "1", power=4)]) as running:
        stays, guilty = validator(running.world.hospital, "0"), validator(running.world.practice, "1", power=4)
        proof = two_votes(running.block(2), engine_key("1"))
        forged = two_votes(running.block(2), engine_key("1"))
        forged["value"]["vote_b"]["signature"] = forged["value"]["vote_a"]["signature"]
        assert "signature" in report(running.folders[0], forged)
        assert report(running.folders[0], proof) == ""
        evidence.fault("a validator has voted for two blocks of one height")

        told = [running.heard("network/equivocated", number) for number in (0, 1)]
        assert told[0] == told[1]
        removed = told[0].height
        assert (told[0].attributes["key"], told[0].attributes["at"], told[0].tx) == (guilty.key, 2, b"")
        assert running.signers(removed + 1) == {stays.key, guilty.key}
        assert running.signers(removed + 2) == {stays.key}
        assert [running.validators(number) for number in (0, 1)] == [[stays], [stays]]
        assert members.is_active(running.engines[1].reader(), guilty.member), "its member acts as before"

        back = elect(running, stays, guilty)
        assert running.signers(back + 2) == {stays.key, guilty.key}
        running.follow(back + 2)
        running.same_everywhere(back + 2)
        assert len(running.engines[0].block(removed).misbehaviour) == 1
        executed_again(running, tmp_path, back + 2)


@pytest.mark.promise("P3")
def test_the_main_job_refusals_and_a_brake_that_ends_by_itself() -> None:
    with network(1, lambda world: [validator(world.hospital, "0")]) as running:
        world, today = running.world, now() // DAY_S * DAY_S
        hospital, practice, doctor, owner = world.hospital, world.practice, world.doctor, world.stream_key
        permit = world.permit(until=today + 300 * DAY_S)
        grant = world.grant(permit=permit, from_=today, until=today + 30 * DAY_S)
        consent = consent_id(world.stream, grant.salt)
        asked = world.request(consent)

        enrol = Register(did=str(doctor.did), key=doctor.key.public, kind="practitioner")
        assert running.send(enrol, doctor, practice).code == ""
        assert running.send(enrol, doctor, practice).code == "identity.02"
        appoint = Appoint(practitioner=str(doctor.did), roles=["physician"], licensed_until=today + 400 * DAY_S)
        running.must(appoint, practice)
        running.must(world.register(permit=permit), hospital)
        assert running.send(asked, doctor, practice).code == "access.01", "there is no such consent yet"
        running.must(grant, owner, practice)
        assert became(running.send(asked, doctor, practice)) == "access/permitted"

        raw = signed(asked, doctor, practice)
        running.engines[0].submit(raw)
        for again, code in ((raw, "ledger.09"), (signed(asked, doctor, practice, lives_s=-1), "ledger.07")):
            with pytest.raises(Refused, match=code.replace(".", r"\.")):
                running.engines[0].submit(again)
        until = braked(running)
        assert running.must(Revoke(consent=consent), owner, practice) > 0
        after = until_unbraked(running, until)
        assert running.block(after + 1).signed.content().proves == after
        assert became(running.send(asked, doctor, practice)) == "access/denied"


@pytest.mark.promise("P3", "P10")
@pytest.mark.parametrize("count", [1, pytest.param(4, marks=pytest.mark.long)])
def test_a_revocation_is_committed_when_the_quota_is_used_up(count: int) -> None:
    few = Params(quota=4, quota_window_s=DAY_S)
    with network(count, lambda world: founders(world)[:count], params=few) as running:
        world, today = running.world, now() // DAY_S * DAY_S
        practice, owner = world.practice, world.stream_key
        permit = world.permit(until=today + 300 * DAY_S)
        grant = world.grant(permit=permit, from_=today, until=today + 30 * DAY_S)
        running.must(world.register(permit=permit), world.hospital)
        running.must(grant, owner, practice)
        noted = SetEndpoints(member=str(practice.did), endpoints=[])
        assert "ledger.10" in {refused(running, signed(noted, practice)) for _ in range(6)}
        revoked = running.must(Revoke(consent=consent_id(world.stream, grant.salt)), owner, practice, by=count - 1)
        running.same_everywhere(revoked)
        for engine in running.engines:
            found = consents.consent(engine.reader(), consent_id(world.stream, grant.salt))
            assert found is not None
            assert found.status == "revoked"


def refused(running: Network, raw: bytes) -> str:
    """With which code a node takes no transaction; none when a block has it."""
    try:
        return running.engines[0].submit(raw).code
    except Refused as error:
        return error.code


def became(done: Committed) -> str:
    """The event of a transaction that took effect."""
    assert done.code == "", (done.code, done.result.sentence)
    return done.events[-1].type


def block_time(running: Network, height: int) -> int:
    return running.engines[0].block(height).signed.own().time


def braked(running: Network) -> int:
    """Stop everything by quorum: until when, with a message that was refused meanwhile.

    A brake that is over before the next block, on a machine that has much else to do, is followed by a longer one.
    """
    hospital, quorum = running.world.hospital, running.world.custodians[:2]
    for life_s in (5, 30, 60):
        until = running.engines[0].status().time + life_s
        brake = Brake(scope="all", reason="a drill", until=until)
        assert running.send(brake, quorum[0]).code == "network.01", "one of them is no quorum"
        if running.send(brake, *quorum).code == "":
            done = running.send(SetEndpoints(member=str(hospital.did), endpoints=[]), hospital)
            assert (done.code == "network.05") == (block_time(running, done.height) < until)
            if done.code:
                return until
    raise AssertionError("no block in a minute")


def until_unbraked(running: Network, until: int) -> int:
    """Try until it takes effect: never before the brake ends, and from then on at once. The height."""
    hospital, begun = running.world.hospital, time.monotonic()
    while time.monotonic() < begun + 2 * PATIENT_S:
        done = running.send(SetEndpoints(member=str(hospital.did), endpoints=[]), hospital)
        assert done.code == ("network.05" if block_time(running, done.height) < until else "")
        if not done.code:
            return done.height
        time.sleep(POLL_S)
    raise AssertionError("the brake has not ended")
