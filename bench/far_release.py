"""One custodian's release over HTTPS, between nodes that are processes, as the software of another member asks for it.

Against what has to be done at least: the bare re-encryptions, and one round trip of as many bytes over TLS on loopback,
measured in turns with it. Requests are signed before the clock starts; answers are checked after it has stopped.

network.release.N.p50, .p99    a request for N segments, one connection, p50 and p99 each to its own of the floor
network.release.N.ms           its median in milliseconds
network.release.visit.…        the same for twelve requests with one segment each, together: what a visit asks

With one segment it is what is asked when one stream is read; with sixteen, of a stream that sixteen imports have made.
What a visit asks, ``network.visit.releases`` counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import umbral_pre

from bench import _tls_server
from bench._measure import entry
from bench._nodes import BASIS, PATIENT, nodes, patient, percentile
from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.records import queries as records
from caremesh.crypto import pins
from caremesh.errors import CareMeshError
from caremesh.gateway.gather import ReleaseCustodian
from caremesh.sealing import custody
from caremesh.sealing.custody import ReleaseRequest
from caremesh.testing.far_world import FarWorld
from caremesh.testing.nodes import CHAIN
from caremesh.types import Did

AREAS: Final = ("network.release",)
IN_VISIT: Final = 12
"""Releases that a visit asks for in one request, of one segment each."""
SEGMENTS: Final = (1, 16)
RELEASES: Final = 400
GOAL: Final = 3.0


def files(count: int) -> Iterator[bytes]:
    """As many files with a laboratory result each: a segment each."""
    subject = {"reference": f"urn:uuid:{PATIENT}"}
    person = {"resourceType": "Patient", "id": PATIENT, "gender": "other"}
    kind = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}
    for number in range(count):
        observation = {
            "resourceType": "Observation",
            "id": f"o-{number}",
            "language": "en",
            "status": "final",
            "category": [kind],
            "code": {"text": "as invented for this measurement"},
            "subject": subject,
        }
        entries = [{"fullUrl": subject["reference"], "resource": person}, {"resource": observation}]
        yield json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).encode()


class Asking:
    """Requests of the practice for releases by one custodian that is not itself."""

    def __init__(self, world: FarWorld, receipt: Receipt, descriptors: Sequence[CID]) -> None:
        self._receipt = receipt
        self._descriptors = list(descriptors)
        self._doctor = world.home("practice").practitioner(CHAIN)
        ways = world.custodians_of("practice")
        self._did: Did = min(did for did in ways if did != world.did("practice"))
        self._way: ReleaseCustodian = ways[self._did]
        self._clock = world.clock

    def request(self, count: int) -> bytes:
        """Signed."""
        wanted = self._descriptors[:count]
        request = ReleaseRequest(
            receipt=self._receipt.id,
            stream=self._receipt.stream,
            descriptors=wanted,
            custodian=self._did,
            nonce=os.urandom(16),
            at=self._clock(),
        )
        return codec.encode(custody.sign_payload(custody.RELEASE_REQUEST, request, self._doctor.key))

    def release(self, request: bytes) -> list[bytes]:
        """What the custodian answers."""
        return self._way.release(request)

    def release_each(self, requests: list[bytes]) -> list[bytes]:
        """What it answers to several."""
        found = []
        for each in self._way.release_each(requests):
            if isinstance(each, CareMeshError):
                raise each
            found += each
        return found


@contextlib.contextmanager
def round_trips(asked: int, answered: int) -> Iterator[Callable[[], None]]:
    """A call is one round trip over TLS on loopback, on one connection, to another process that does nothing else."""
    command = [sys.executable, "-m", "bench._tls_server", str(asked), str(answered)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        context = pins.client_context(None, pins.anchor(_tls_server.DID, _tls_server.KEY.public))
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(connection) as tls:
            yield lambda: _round_trip(tls, bytes(asked), answered)


def _round_trip(tls: ssl.SSLSocket, data: bytes, answered: int) -> None:
    tls.sendall(data)
    while answered:
        answered -= len(tls.recv(answered))


def bare() -> Callable[[], None]:
    """One re-encryption from bytes to bytes."""
    owner, reader = umbral_pre.SecretKey.random(), umbral_pre.SecretKey.random()
    signer = umbral_pre.Signer(umbral_pre.SecretKey.random())
    capsule, _ = umbral_pre.encrypt(owner.public_key(), bytes(32))
    [fragment] = umbral_pre.generate_kfrags(
        delegating_sk=owner,
        receiving_pk=reader.public_key(),
        signer=signer,
        threshold=1,
        shares=1,
        sign_delegating_key=True,
        sign_receiving_key=True,
    )
    handle, data = umbral_pre.KeyFrag.from_bytes(bytes(fragment)).skip_verification(), bytes(capsule)

    def call() -> None:
        bytes(umbral_pre.reencrypt(umbral_pre.Capsule.from_bytes(data), handle))

    return call


def measure(asking: Asking, count: int, *, together: bool = False) -> list[dict[str, Any]]:
    """Releases of so many segments, each beside its floor. ``together``: each has a request of its own."""
    once = bare()

    def make() -> list[bytes]:
        return [asking.request(1) for _ in range(count)] if together else [asking.request(count)]

    ask = asking.release_each if together else lambda requests: asking.release(requests[0])
    request = make()
    answer = ask(request)
    if len(answer) != count:
        raise ValueError(f"{len(answer)} releases")
    ours, floor = [], []
    with round_trips(sum(map(len, request)), sum(map(len, answer))) as round_trip:
        for _ in range(RELEASES):
            request = make()
            started = time.perf_counter()
            ask(request)
            ours.append(time.perf_counter() - started)
            started = time.perf_counter()
            for _ in range(count):
                once()
            round_trip()
            floor.append(time.perf_counter() - started)
    found = []
    unit = f"× {count} bare re-encryption{'s' if count > 1 else ''} and a round trip over TLS"
    if together:
        unit += "; what a visit asks"
    area = "network.release." + ("visit" if together else str(count))
    for name, part in (("p50", 0.5), ("p99", 0.99)):
        mine, least = percentile(ours, part), percentile(floor, part)
        row = entry(f"{area}.{name}", [mine / least], unit, GOAL, samples=RELEASES)
        found.append(row | {"baseline": round(least, 6)})
    milliseconds = [1e3 * each for each in ours]
    found.append(entry(f"{area}.ms", milliseconds, "ms, median", samples=RELEASES))
    found[-1]["baseline"] = round(1e3 * statistics.median(floor), 3)
    return found


def run() -> list[dict[str, Any]]:
    """``network.release.…``."""
    build = Path("build")
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as name:
        folder = Path(name).resolve()
        with nodes(folder / "nodes") as world:
            person, _ = patient(world, folder, *files(max(SEGMENTS)))
            [item] = person.share("practice", ["laboratory"], days=30).record.items
            receipt = world.ask_for("practice", "laboratory", "TREAT", BASIS)
            known = records.segments(world.reader(), item.stream)
            asking = Asking(world, receipt, [each.descriptor for each in known if each.descriptor is not None])
            rows = [row for count in SEGMENTS for row in measure(asking, count)]
            return rows + measure(asking, IN_VISIT, together=True)
