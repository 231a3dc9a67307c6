"""Evidence: every lie that a custodian can sign is shown to others, and no honest word is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.crypto.keys import SigningKey
from caremesh.custodian.custodian import Custodian
from caremesh.errors import CareMeshError, Tampered
from caremesh.node.evidence import write
from caremesh.sealing import custody, evidence
from caremesh.sealing.custody import LogAnswer, Release, Signed
from caremesh.sealing.descriptor import read_descriptor
from caremesh.sealing.evidence import CLOCK_SLACK_S, Claim
from caremesh.sealing.release_log import START, Anchor, LogEntry, LogHead, link_of
from caremesh.testing.faults import LyingCustodian
from tests.support.scene import Scene

pytestmark = [pytest.mark.slow, pytest.mark.promise("P6")]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("evidence"))
    made.release = release_of(made)
    made.mesh.anchor_logs()
    made.clock.advance(CLOCK_SLACK_S + 5)
    made.mesh.tick()
    yield made
    made.mesh.close()


def release_of(scene: Scene) -> Signed:
    [answer] = scene.custodian.release(scene.request())
    return custody.read_signed(answer)


def node_key(scene: Scene) -> SigningKey:
    return next(m.home.node_key for m in scene.mesh.members.values() if m.home.did == scene.custodian.did)


def log_of(scene: Scene) -> Signed:
    scene.mesh.tick()
    signed = scene.log().signed
    assert signed is not None
    return signed


def lie(scene: Scene, domain: str, said: Signed, kind: Any, **changes: Any) -> Signed:
    """The same statement with other words, under the custodian's true signature."""
    return custody.sign_payload(domain, replace(codec.decode_as(said.payload, kind), **changes), node_key(scene))


def log_lie(scene: Scene, entries: list[LogEntry], **changes: Any) -> Signed:
    """A log with these entries, chained anew."""
    link, chained = START, []
    for index, entry in enumerate(entries):
        chained.append(replace(entry, index=index, previous=link))
        link = link_of(chained[-1])
    changes = {"entries": chained, "head": LogHead(len(chained), link)} | changes
    return lie(scene, custody.LOG_ANSWER, log_of(scene), LogAnswer, **changes)


def entries_of(scene: Scene) -> list[LogEntry]:
    return codec.decode_as(log_of(scene).payload, LogAnswer).entries


def shown(scene: Scene, kind: Any, *signed: Signed, descriptor: bytes = b"") -> str:
    """What the file of a claim shows; it is written, read and verified as a stranger would."""
    claim = Claim(kind=kind, custodian=scene.custodian.did, signed=list(signed), descriptor=descriptor)
    [path] = write(scene.mesh, [claim], scene.mesh.folder / "evidence")
    found = evidence.verify(evidence.read(path.read_bytes()), scene.mesh.light_client(), scene.clock())
    assert (found.kind, found.custodian) == (kind, scene.custodian.did)
    return found.sentence


def shows_nothing(scene: Scene, kind: Any, *signed: Signed, descriptor: bytes = b"") -> None:
    with pytest.raises(Tampered, match=r"evidence\.01|custody\.0[12]"):
        shown(scene, kind, *signed, descriptor=descriptor)


def test_a_false_re_encryption(scene: Scene) -> None:
    said = codec.decode_as(scene.release.payload, Release)
    changed = said.reencryption[:-1] + bytes([said.reencryption[-1] ^ 1])
    false = lie(scene, custody.RELEASE, scene.release, Release, reencryption=changed)
    assert "not that of this seal" in shown(scene, "false-release", false)
    shows_nothing(scene, "false-release", scene.release)


def test_a_false_seal(scene: Scene) -> None:
    said = codec.decode_as(scene.release.payload, Release)
    descriptor = scene.mesh.stores()[0].get(said.descriptor)
    assert read_descriptor(descriptor)
    other = lie(scene, custody.RELEASE, scene.release, Release, seal=replace(said.seal, ciphertext=b"other"))
    assert "another seal" in shown(scene, "false-release", other, descriptor=descriptor)
    shows_nothing(scene, "false-release", scene.release, descriptor=descriptor)


def test_a_forked_log(scene: Scene) -> None:
    fork = log_lie(scene, [replace(entry, at=entry.at + 1) for entry in entries_of(scene)])
    assert "two different entries" in shown(scene, "forked-log", log_of(scene), fork)
    assert "two different entries" in shown(scene, "forked-log", scene.release, fork)
    shows_nothing(scene, "forked-log", log_of(scene), scene.release)
    shows_nothing(scene, "forked-log", log_of(scene), log_of(scene))


def test_a_log_that_is_not_the_anchored_one_or_does_not_hold_together(scene: Scene) -> None:
    entries = entries_of(scene)
    fork = log_lie(scene, [replace(entry, at=entry.at + 1) for entry in entries])
    assert "anchored" in shown(scene, "forked-log", fork)
    shows_nothing(scene, "forked-log", log_of(scene))
    elsewhere = Anchor({scene.receipt.stream: LogHead(7, bytes(32))}).prove(scene.receipt.stream)
    shows_nothing(scene, "forked-log", log_lie(scene, entries, anchor=elsewhere))
    broken = lie(scene, custody.LOG_ANSWER, log_of(scene), LogAnswer, head=LogHead(9, bytes(32)))
    assert "does not hold together" in shown(scene, "forked-log", broken)


def test_a_release_that_is_left_out_of_the_log(scene: Scene) -> None:
    assert "without that release" in shown(scene, "omitted", scene.release, log_lie(scene, []))
    shows_nothing(scene, "omitted", scene.release, log_of(scene))
    at = codec.decode_as(scene.release.payload, Release).at
    shows_nothing(scene, "omitted", scene.release, log_lie(scene, [], at=at + CLOCK_SLACK_S))
    shows_nothing(scene, "omitted", scene.release)


def test_a_release_without_a_receipt_or_outside_it(scene: Scene) -> None:
    [*_, entry] = entries_of(scene)
    assert "no-receipt" in shown(scene, "no-receipt", log_lie(scene, [replace(entry, receipt=bytes(32))]))
    early = log_lie(scene, [replace(entry, at=scene.receipt.at - CLOCK_SLACK_S - 1)])
    assert "outside" in shown(scene, "outside", early)
    released = lie(scene, custody.RELEASE, scene.release, Release, receipt=bytes(32))
    assert "no-receipt" in shown(scene, "no-receipt", released)
    for kind in ("no-receipt", "outside"):
        shows_nothing(scene, kind, log_of(scene))
        shows_nothing(scene, kind, scene.release)
    shows_nothing(scene, "no-receipt", early)
    future = log_lie(scene, [replace(entry, receipt=bytes(32), at=scene.clock())])
    shows_nothing(scene, "no-receipt", future)  # the ledger may still be about to hold it


def test_what_others_signed_is_not_held_against_a_custodian(scene: Scene) -> None:
    stranger = SigningKey.generate()
    forged = custody.sign_payload(custody.LOG_ANSWER, codec.decode_as(log_of(scene).payload, LogAnswer), stranger)
    shows_nothing(scene, "forked-log", forged, log_of(scene))
    other = next(m.home for m in scene.mesh.members.values() if m.home.did != scene.custodian.did)
    [*_, entry] = entries_of(scene)
    said = log_lie(scene, [replace(entry, receipt=bytes(32))])
    claim = Claim(kind="no-receipt", custodian=other.did, signed=[said])
    with pytest.raises(Tampered, match=r"custody\.02"):
        write(scene.mesh, [claim], scene.mesh.folder / "evidence")


def test_a_file_that_was_changed_or_lacks_a_proof_shows_nothing(scene: Scene) -> None:
    [*_, entry] = entries_of(scene)
    claim = Claim(
        kind="no-receipt",
        custodian=scene.custodian.did,
        signed=[log_lie(scene, [replace(entry, receipt=bytes(32))])],
    )
    [path] = write(scene.mesh, [claim], scene.mesh.folder / "evidence")
    whole = path.read_bytes()
    for at in range(0, len(whole), 37):
        changed = bytearray(whole)
        changed[at] ^= 1
        with pytest.raises(CareMeshError):
            evidence.verify(evidence.read(bytes(changed)), scene.mesh.light_client(), scene.clock())
    read = evidence.read(whole)
    assert len(read.answers) == 2
    for left in range(2):
        with pytest.raises(Tampered, match=r"evidence\.03"):
            evidence.verify(replace(read, answers=[read.answers[left]]), scene.mesh.light_client(), scene.clock())


def test_a_recipient_keeps_what_shows_the_liar(scene: Scene) -> None:
    fellows: dict[str, Any] = dict(scene.mesh.custodians)
    fellows[scene.custodian.did] = LyingCustodian(scene.custodian, node_key(scene))
    opened = scene.mesh.member("practice").gateway(scene.mesh, fellows).open(scene.ask(), scene.doctor)
    assert opened.records
    [fault] = opened.faults
    assert fault.claim is not None
    assert fault.custodian == scene.custodian.did
    assert shown(scene, "false-release", *fault.claim.signed)
    assert isinstance(scene.custodian, Custodian)
