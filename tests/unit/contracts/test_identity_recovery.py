"""A lost key is replaced by enough guardians, after the waiting period, and never against the current key."""

from typing import Any

import pytest

from caremesh.contracts.identity import queries
from caremesh.contracts.identity.messages import (
    CancelRecovery,
    Deactivate,
    FinishRecovery,
    GuardianProof,
    Recover,
    Register,
    Rotate,
    SetGuardians,
)
from caremesh.contracts.identity.state import Guardians, Recovery
from caremesh.contracts.network.messages import Params, SetParams
from caremesh.types import DAY_S
from tests.support.acting import acting_for, effect, without_effect
from tests.support.world import NOW, Actor, World

WAIT_S = 3 * DAY_S
GUARDIANS = tuple(Actor(f"guardian {number}") for number in range(3))
PROOFS = [GuardianProof(guardian=str(actor.did), salt=bytes([number]) * 16) for number, actor in enumerate(GUARDIANS)]
COMMITMENTS = sorted(queries.guardian_commitment(proof.guardian, proof.salt) for proof in PROOFS)


@pytest.fixture
def guarded(world: World) -> World:
    """The doctor has three guardians, of whom it takes two."""
    for actor in GUARDIANS:
        world.must(Register(did=str(actor.did), key=actor.key.public, kind="guardian"), actor, world.practice)
    world.must(naming(world), world.doctor, world.practice)
    return world


def naming(world: World, **changes: Any) -> SetGuardians:
    given: dict[str, Any] = {"did": str(world.doctor.did), "commitments": COMMITMENTS, "threshold": 2}
    return SetGuardians(**given | changes)


def new_key(world: World) -> Actor:
    return acting_for("doctor's new key", world.doctor.did)


def recovery(world: World, **changes: Any) -> Recover:
    given: dict[str, Any] = {"did": str(world.doctor.did), "key": new_key(world).key.public, "guardians": PROOFS[:2]}
    return Recover(**given | changes)


def begun(world: World) -> tuple[Actor, str]:
    """The new key, and the doctor's DID, of a recovery that waits."""
    world.must(recovery(world), new_key(world), *GUARDIANS[:2], world.practice)
    return new_key(world), str(world.doctor.did)


def test_guardians_are_named_by_commitments_and_changed_by_the_dids_key(world: World) -> None:
    did = str(world.doctor.did)
    assert queries.guardians(world.view, did) is None
    assert effect(world, naming(world), world.doctor, world.practice) == [("identity/guardians-set", {"did": did})]
    assert queries.guardians(world.view, did) == Guardians(commitments=COMMITMENTS, threshold=2)
    assert without_effect(world, naming(world), world.practice) == "identity.03"
    assert without_effect(world, naming(world), acting_for("doctor", None), world.practice) == "identity.03"
    none = naming(world, commitments=[], threshold=0)
    assert effect(world, none, world.doctor, world.practice) == [("identity/guardians-set", {"did": did})]
    assert queries.guardians(world.view, did) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"commitments": COMMITMENTS[::-1]},
        {"commitments": [COMMITMENTS[0], COMMITMENTS[0], COMMITMENTS[1]]},
        {"threshold": 0},
        {"threshold": 4},
        {"commitments": [], "threshold": 1},
    ],
)
def test_guardians_that_do_not_fit_together(world: World, changes: dict[str, Any]) -> None:
    assert without_effect(world, naming(world, **changes), world.doctor, world.practice) == "identity.10"


@pytest.mark.parametrize("threshold", [1, 3])
def test_a_threshold_is_from_one_to_the_number_of_guardians(world: World, threshold: int) -> None:
    world.must(naming(world, threshold=threshold), world.doctor, world.practice)


def test_who_is_not_registered_or_deactivated_has_no_guardians(world: World) -> None:
    nobody = Actor("nobody")
    message = naming(world, did=str(nobody.did))
    assert without_effect(world, message, nobody, world.practice) == "identity.01"
    world.must(Deactivate(did=str(world.doctor.did)), world.doctor, world.practice)
    assert without_effect(world, naming(world), world.doctor, world.practice) == "identity.06"


def test_a_commitment_tells_nobody_who_a_guardian_is() -> None:
    salted = {queries.guardian_commitment(str(GUARDIANS[0].did), bytes([salt]) * 16) for salt in range(3)}
    assert len(salted) == 3
    assert queries.guardian_commitment(str(GUARDIANS[1].did), bytes(16)) not in salted


@pytest.mark.promise("P9")
def test_a_lost_key_is_replaced_after_the_waiting_period(guarded: World) -> None:
    new, did = new_key(guarded), str(guarded.doctor.did)
    told = effect(guarded, recovery(guarded), new, *GUARDIANS[:2], guarded.practice)
    ready = NOW + WAIT_S
    assert told == [("identity/recovery-begun", {"did": did, "ready": ready})]
    assert queries.recovery(guarded.view, did) == Recovery(key=new.key.public, ready=ready)
    assert queries.owner(guarded.view, new.key.public) == did
    assert queries.is_current_key(guarded.view, did, guarded.doctor.key.public)
    guarded.now = ready - 1
    assert without_effect(guarded, FinishRecovery(did=did), new, guarded.practice) == "identity.09"
    guarded.now = ready
    assert without_effect(guarded, FinishRecovery(did=did), guarded.doctor, guarded.practice) == "identity.03"
    nameless = acting_for("doctor's new key", None)
    assert without_effect(guarded, FinishRecovery(did=did), nameless, guarded.practice) == "identity.03"
    told = effect(guarded, FinishRecovery(did=did), new, guarded.practice)
    assert told == [("identity/rotated", {"did": did, "rotation": 1})]
    assert queries.is_current_key(guarded.view, did, new.key.public)
    assert queries.recovery(guarded.view, did) is None
    assert without_effect(guarded, FinishRecovery(did=did), new, guarded.practice) == "identity.11"


def test_the_waiting_period_is_a_parameter(guarded: World) -> None:
    guarded.must(SetParams(params=Params(recovery_wait_s=5 * DAY_S)), *guarded.custodians[:2])
    begun(guarded)
    waiting = queries.recovery(guarded.view, str(guarded.doctor.did))
    assert waiting is not None
    assert waiting.ready == NOW + 5 * DAY_S


def test_every_guardian_counts_once_under_its_current_key(guarded: World) -> None:
    new = new_key(guarded)

    def attempt(proofs: list[GuardianProof], *signers: Actor) -> str:
        return without_effect(guarded, recovery(guarded, guardians=proofs), new, *signers, guarded.practice)

    assert attempt(PROOFS[:1], GUARDIANS[0]) == "identity.08"
    assert attempt([PROOFS[0], PROOFS[0]], GUARDIANS[0]) == "identity.08"
    assert attempt(PROOFS[:2], GUARDIANS[0]) == "identity.08"
    assert attempt(PROOFS[:1], *GUARDIANS[:2]) == "identity.08"
    assert attempt([], *GUARDIANS[:2]) == "identity.08"
    unsalted = GuardianProof(guardian=PROOFS[1].guardian, salt=bytes(16))
    assert attempt([PROOFS[0], unsalted], *GUARDIANS[:2]) == "identity.08"
    stranger = GuardianProof(guardian=str(guarded.hospital.did), salt=bytes(16))
    assert attempt([PROOFS[0], stranger], GUARDIANS[0], guarded.hospital) == "identity.08"
    impostor = acting_for("impostor", GUARDIANS[1].did)
    assert attempt(PROOFS[:2], GUARDIANS[0], impostor) == "identity.08"
    guarded.must(Deactivate(did=str(GUARDIANS[1].did)), GUARDIANS[1], guarded.practice)
    assert attempt(PROOFS[:2], *GUARDIANS[:2]) == "identity.08"


def test_any_guardians_up_to_the_threshold_will_do(guarded: World) -> None:
    message = recovery(guarded, guardians=PROOFS)
    guarded.must(message, new_key(guarded), *GUARDIANS, guarded.practice)


def test_nobody_recovers_a_did_without_guardians(world: World) -> None:
    message = recovery(world, guardians=[])
    assert without_effect(world, message, new_key(world), world.practice) == "identity.08"
    nobody = Actor("nobody")
    message = recovery(world, did=str(nobody.did))
    assert without_effect(world, message, nobody, world.practice) == "identity.01"


def test_a_new_key_signs_for_itself_and_belongs_to_nobody(guarded: World) -> None:
    agreed = GUARDIANS[:2]
    assert without_effect(guarded, recovery(guarded), *agreed, guarded.practice) == "identity.03"
    nameless = acting_for("doctor's new key", None)
    assert without_effect(guarded, recovery(guarded), nameless, *agreed, guarded.practice) == "identity.03"
    taken = acting_for("hospital", guarded.doctor.did)
    message = recovery(guarded, key=taken.key.public)
    assert without_effect(guarded, message, taken, *agreed, guarded.practice) == "identity.04"


def test_the_current_key_objects(guarded: World) -> None:
    new, did = begun(guarded)
    assert without_effect(guarded, CancelRecovery(did=did), new, guarded.practice) == "identity.03"
    nameless = acting_for("doctor", None)
    assert without_effect(guarded, CancelRecovery(did=did), nameless, guarded.practice) == "identity.03"
    told = effect(guarded, CancelRecovery(did=did), guarded.doctor, guarded.practice)
    assert told == [("identity/recovery-cancelled", {"did": did})]
    guarded.now += WAIT_S
    assert without_effect(guarded, FinishRecovery(did=did), new, guarded.practice) == "identity.11"
    assert without_effect(guarded, CancelRecovery(did=did), guarded.doctor, guarded.practice) == "identity.11"
    assert without_effect(guarded, recovery(guarded), new, *GUARDIANS[:2], guarded.practice) == "identity.04"


def test_one_recovery_waits_at_a_time(guarded: World) -> None:
    begun(guarded)
    another = acting_for("another new key", guarded.doctor.did)
    message = recovery(guarded, key=another.key.public)
    assert without_effect(guarded, message, another, *GUARDIANS[:2], guarded.practice) == "identity.12"


def test_a_rotation_by_the_current_key_ends_a_recovery(guarded: World) -> None:
    new, did = begun(guarded)
    rotated = acting_for("rotated", did)
    guarded.must(Rotate(did=did, key=rotated.key.public), guarded.doctor, rotated, guarded.practice)
    guarded.now += WAIT_S
    assert without_effect(guarded, FinishRecovery(did=did), new, guarded.practice) == "identity.11"
    assert queries.is_current_key(guarded.view, did, rotated.key.public)


def test_nothing_of_a_deactivated_did_is_recovered(guarded: World) -> None:
    new, did = begun(guarded)
    guarded.must(Deactivate(did=did), guarded.doctor, guarded.practice)
    assert queries.recovery(guarded.view, did) is None
    guarded.now += WAIT_S
    for message, signer in ((FinishRecovery(did=did), new), (CancelRecovery(did=did), guarded.doctor)):
        assert without_effect(guarded, message, signer, guarded.practice) == "identity.06"
    another = acting_for("another new key", did)
    message = recovery(guarded, key=another.key.public)
    assert without_effect(guarded, message, another, *GUARDIANS[:2], guarded.practice) == "identity.06"


def test_what_is_not_registered_has_no_recovery(world: World) -> None:
    nobody = Actor("nobody")
    for message in (FinishRecovery(did=str(nobody.did)), CancelRecovery(did=str(nobody.did))):
        assert without_effect(world, message, nobody, world.practice) == "identity.01"
