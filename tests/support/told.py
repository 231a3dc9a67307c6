"""A mesh on which everything is done once for each patient, and all that it kept, said and complained of."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from caremesh import codec
from caremesh.errors import CareMeshError
from caremesh.gateway.ask import Asked
from caremesh.gateway.visit import Purpose
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from caremesh.testing.person import Person
from caremesh.wallet import state as states
from tests.support.canaries import Needles, leaks, listed

BASIS = ["HIPAA:164.506.c.2"]


class Told:
    """A mesh on which everything is done once for each patient, and all that it kept, said and complained of."""

    def __init__(self, folder: Path, bundles: list[dict[str, Any]], directories: list[bytes]) -> None:
        self.folder = folder
        self.errors: list[str] = []
        self.logged: list[str] = []
        self.bundles = bundles
        self.directories = directories
        heard = logging.Handler(logging.DEBUG)
        heard.emit = lambda record: self.logged.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger().addHandler(heard)
        logging.getLogger().setLevel(logging.DEBUG)
        try:
            with LocalMesh(folder / "mesh", SettableClock()) as mesh:
                for number, bundle in enumerate(bundles):
                    self._live(mesh, number, bundle)
                mesh.anchor_logs()
                self.events = [codec.encode(event.attributes) for _, event in mesh.engine.subscribe()]
                self.answers = [
                    codec.encode(result) for block in mesh.engine.blocks(1) for result in (block.signed, block.txs)
                ]
        finally:
            logging.getLogger().removeHandler(heard)

    def _live(self, mesh: LocalMesh, number: int, bundle: dict[str, Any]) -> None:
        """Enrol, import, share, read, be refused, dispute, take back, and try what must not work."""
        source, practice = mesh.member("hospital").source(mesh), mesh.member("practice")
        patient = next(e["resource"]["id"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Patient")
        person, _ = Person.create(mesh, self.folder / f"{number}.wallet", "correct horse battery staple")
        person.enrol("hospital", patient)
        if not number:
            for data in self.directories:
                source.import_bundle(data)
        data = json.dumps(bundle, ensure_ascii=False).encode()
        report = source.import_bundle(data)
        assert not report.refused
        categories = list(report.records)
        shared = person.share("practice", categories, days=1)
        doctor, gateway = practice.home.practitioner(CHAIN), practice.gateway(mesh)
        key = states.keys_of(person.wallet.state, practice.home.did).channel().signing.public
        reason = f"about {patient}"
        with gateway.visit(key, Purpose("TREAT", BASIS, reason=reason), doctor) as visit:
            visit.open()
            assert sum(len(visit.records(category)) for category in categories) == sum(report.records.values())
            receipt = visit.grounds[0].receipt
        person.dispute(receipt.id, f"Why did you read about {patient}?")
        wrong = json.dumps({**bundle, "entry": [*bundle["entry"], {"resource": {"resourceType": "Nonsense"}}]})
        for attempt in (
            lambda: source.import_bundle(data[:-50]),
            lambda: source.import_bundle(wrong.encode()),
            lambda: source.import_bundle(data.replace(b'"final"', b'"finished"').replace(b'"active"', b'"acting"')),
            lambda: gateway.ask(Asked(shared.record.items[0].consent, "read", "HPAYMT", BASIS, (), reason), doctor),
            lambda: gateway.open(receipt, doctor),
            lambda: gateway.shared(reason),
            lambda: person.share("practice", [reason], days=1),
            lambda: person.dispute(receipt.id, reason),
        ):
            try:
                attempt()
            except CareMeshError as error:
                self.errors.append(f"{error} {error.place} {error!r}")
                self.errors.append(str(error.__cause__))
        person.revoke(shared.record.id)


def as_json(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data)
    return found


def said(told: Told) -> Iterator[tuple[str, bytes]]:
    """What was said, beside the files: events, transactions and headers, errors, log lines."""
    yield from (("event", data) for data in told.events)
    yield from (("block", data) for data in told.answers)
    yield from (("error", text.encode()) for text in told.errors)
    yield from (("log", text.encode()) for text in told.logged)


def check(told: Told, wanted: set[str]) -> None:
    needles = Needles(wanted).without((told.folder / "mesh" / "founding.cbor").read_bytes())
    assert len(needles.texts) > 0.9 * len(wanted)
    directory = listed([*told.bundles, *map(as_json, told.directories)])
    assert leaks(told.folder, needles, directory) == {}
    found = {kind: needles.found(data) for kind, data in said(told) if needles.found(data)}
    assert not found, sorted(found)
    assert len(told.events) > 20 * len(told.bundles) / 2
    assert sum(1 for text in told.errors if "." in text) > 4 * len(told.bundles)
