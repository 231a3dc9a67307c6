"""Five nodes on hosts of their own, a patient with a wallet, and work that goes on while things fail."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

from caremesh import codec
from caremesh.client.blocking import RemoteLedger
from caremesh.client.ledger import LedgerClient
from caremesh.codec import CID
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.members.messages import SetEndpoints
from caremesh.contracts.records import queries as records
from caremesh.errors import CareMeshError
from caremesh.fhir import samples
from caremesh.node.mesh import OPERATOR
from caremesh.node.relay import signed_tx
from caremesh.sealing import custody
from caremesh.sealing.custody import ReleaseRequest
from caremesh.testing.bent import CLOCK, MODULE, FileClock
from caremesh.testing.far_world import FarWorld
from caremesh.testing.hosts import Hosts
from caremesh.testing.nodes import CHAIN, Network, NodeProcess
from caremesh.testing.person import Person
from caremesh.types import DAY_S, Seconds
from caremesh.wallet.state import ShareRecord

FLAGS = {
    "api_workers": "1",
    "blocks_rest_s": "3",
    "block_every_s": "1.0",
    "follow_wait_s": "2",
    "min_free_bytes": "1048576",
    "retry_first_s": "0.1",
    "retry_most_s": "1.0",
    "silent_s": "20",
}
BASIS = ("HIPAA:164.506.c.2",)
PATIENT = "correct horse battery staple"
AN_IMPORT = 2
"""Records that are imported at a time."""
WITHIN_S = 120.0
T = TypeVar("T")


class Clocks:
    """One clock for each node, and that of everybody else. What passes, passes for all of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.of: dict[str, FileClock] = {}

    def file(self, name: str) -> Path:
        """Where a node reads its clock."""
        self.of.setdefault(name, FileClock(self._folder / f"clock-{name}"))
        return self._folder / f"clock-{name}"

    def __call__(self) -> Seconds:
        return FileClock(self.file("everybody"))()

    def advance(self, seconds: Seconds) -> None:
        for clock in self.of.values():
            clock.advance(seconds)


class Apart(FarWorld):
    """``FarWorld`` over hosts, with one patient enrolled at the hospital, and a physician at the practice."""

    def __init__(self, network: Network, hosts: Hosts, clocks: Clocks, relay: str = OPERATOR) -> None:
        super().__init__(network, cast("FileClock", clocks), relay=relay)
        self.hosts = hosts
        self.clocks = clocks
        self._imported = 0

    def begin(self) -> None:
        """What there is before anything fails."""
        practice, doctor = self.node("practice"), self.home("practice").practitioner(CHAIN)
        practice.desk.appoint(doctor.did, ["physician"], self.clocks() + 400 * DAY_S)
        self.person, _ = Person.create(self, self.network.folder / "wallet", PATIENT)
        self.person.enrol("hospital", observations()[0]["id"], categories=["demographics", "laboratory"])

    def node(self, name: str) -> NodeProcess:
        return self.network.nodes[name]

    @property
    def names(self) -> list[str]:
        return list(self.network.nodes)

    # --- work -----------------------------------------------------------------------------------------

    def import_next(self) -> list[str]:
        """Import the next few records; their ids, once that is acknowledged. What failed is tried again next time."""
        patient, *found = observations()
        some = [found[(AN_IMPORT * self._imported + number) % len(found)] for number in range(AN_IMPORT)]
        entries = [{"fullUrl": f"urn:uuid:{each['id']}", "resource": each} for each in (patient, *some)]
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        self.node("hospital").desk.import_file(json.dumps(bundle).encode())
        self._imported += 1
        return [each["id"] for each in some]

    def share(self, days: int = 30) -> bytes:
        """Share laboratory results with the practice; the share."""
        return self.person.share("practice", ["laboratory"], days=days).record.id

    def standing(self) -> ShareRecord | None:
        """The newest share that is on the ledger, whether that was acknowledged or not."""
        reader = self.reader()
        for record in reversed(self.person.wallet.state.shares):
            found = consents.consent(reader, record.items[0].consent)
            if found is not None and found.status == "granted":
                return record
        return None

    def well(self) -> None:
        """All are ready, nothing fails, and nothing is shared, whatever was there before."""
        self.hosts.heal()
        self.wait_ready()
        while record := self.standing():
            self.person.revoke(record.id)

    def receipt(self) -> Receipt:
        return self.ask_for("practice", "laboratory", "TREAT", BASIS)

    def opened(self, receipt: Receipt) -> set[str]:
        """The ids of the records that the practice opens."""
        return {record.id for record in self.open("practice", receipt).records}

    def transaction(self) -> bytes:
        """One that changes nothing that anybody goes by."""
        home = self.home("regulator")
        mine = next(each.endpoints[0] for each in self.founders if each.member == home.did)
        told = f"https://{os.urandom(4).hex()}.example:1"
        message = SetEndpoints(member=home.did, endpoints=[mine, told])
        return signed_tx(CHAIN, self.clocks(), [home.requester], message)

    def ledger(self, name: str) -> RemoteLedger:
        """The ledger at a node, as the regulator's own software asks for it."""
        way = self._way(self.did(name), "regulator")
        return RemoteLedger(self._portal, LedgerClient(way, self.network.founding.light_client()))

    @cached_property
    def founders(self) -> list[Any]:
        return list(self.network.founding.document.members)

    def asked_for(self, receipt: Receipt) -> CID:
        """The descriptor of a segment that a receipt permits to ask for, as the ledger proves it."""
        [segment, *_] = records.segments(self.reader(), receipt.stream)
        assert segment.descriptor is not None
        return segment.descriptor

    def said_by(self, custodian: str, receipt: Receipt, descriptor: CID | None = None) -> str:
        """What a custodian says to a request under a receipt: ``released``, or why not. ``descriptor``: see
        ``asked_for``, which asks when it is not given.
        """
        did, doctor = self.did(custodian), self.home("practice").practitioner(CHAIN)
        request = ReleaseRequest(
            receipt=receipt.id,
            stream=receipt.stream,
            descriptors=[descriptor or self.asked_for(receipt)],
            custodian=did,
            nonce=os.urandom(16),
            at=self.clocks(),
        )
        signed = codec.encode(custody.sign_payload(custody.RELEASE_REQUEST, request, doctor.key))
        try:
            self.custodians_of("practice")[did].release(signed)
        except CareMeshError as error:
            return error.code
        return "released"

    # --- what is true ---------------------------------------------------------------------------------

    def wait_ready(self) -> None:
        for node in self.network.nodes.values():
            node.wait(node.ready, WITHIN_S)

    def one_history(self) -> tuple[int, bytes]:
        """Height and app hash, once all five have the same of both."""
        return eventually(self._together)

    def _together(self) -> tuple[int, bytes] | None:
        found = {(each.height, each.app_hash) for each in (node.desk.where() for node in self.network.nodes.values())}
        return found.pop() if len(found) == 1 else None


@contextmanager
def apart(
    folder: Path,
    *,
    namespaces: bool | None = None,
    cometbft: Path | None = None,
    validators: Collection[str] | None = None,
    relay: str = OPERATOR,
    **flags: str,
) -> Iterator[Apart]:
    """Fresh nodes on hosts; all are ended, and waited for, whatever happens. ``cometbft``, ``validators``: see
    ``Network``. ``relay``: the member whose node the patient's wallet asks first.
    """
    clocks, made = Clocks(folder), []

    def places(names: Any) -> Hosts:
        made.append(Hosts(folder / "hosts", names, namespaces=namespaces))
        return made[0]

    command = (sys.executable, "-m", MODULE, "node")
    with Network(
        folder,
        flags={**FLAGS, **flags},
        command=command,
        now=clocks,
        places=places,
        cometbft=cometbft,
        validators=validators,
    ) as network:
        for name, node in network.nodes.items():
            node.environment[CLOCK] = str(clocks.file(name))
        network.start()
        world = Apart(network, made[0], clocks, relay)
        try:
            world.begin()
            yield world
        finally:
            world.close()


@cache
def observations() -> list[dict[str, Any]]:
    """The sample patient, then laboratory results of theirs."""
    entries = [entry["resource"] for entry in json.loads(samples.patient())["entry"]]
    [patient] = [each for each in entries if each["resourceType"] == "Patient"]
    found = [each for each in entries if each["resourceType"] == "Observation" and "laboratory" in json.dumps(each)]
    for each in found:
        each.pop("encounter", None)
        each.pop("performer", None)
        each["subject"] = {"reference": f"urn:uuid:{patient['id']}"}
    return [patient, *found]


def eventually(holds: Callable[[], T | None], within_s: float = WITHIN_S) -> T:
    """What ``holds`` gives, once it is something; what it refuses meanwhile does not count."""
    end, met = time.monotonic() + within_s, ""
    while time.monotonic() < end:
        try:
            found = holds()
        except CareMeshError as error:
            found, met = None, str(error)
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {within_s} s {met}")


def known(ledger: RemoteLedger, tx: CID) -> bool:
    """Whether a transaction is there, and was not refused."""
    found = ledger.outcome(tx, verify=False)
    return found is not None and not found.code
