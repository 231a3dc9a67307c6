"""The thirteen patients and both directory files: what is refused of them, by which rule of FHIR, and what HAPI says.

    python -m tools.fhir_patients     asks both validators about every resource again (java, mvn; some minutes)

``tests/conformance/fhir/data/patients.json`` keeps what they said by file: how many resources there are, the place and
rule of each that is refused here, how many HAPI accepts when messages of ``EXCLUDED`` do not count, and the ids of its
other messages. ``tools.fhir_agreement --page`` shows it, and a test asks our validation again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from caremesh.errors import CareMeshError
from caremesh.fhir.entries import read_entry, split
from caremesh.fhir.validation import validate
from tests.support import synthea

KEPT: Final = Path("tests/conformance/fhir/data/patients.json")


class Looked(Struct, frozen=True, kw_only=True):
    """One file. ``refused``: (place, our rule) of each resource that is not valid; ``raws``: every resource."""

    name: str
    refused: list[tuple[str, str]]
    raws: list[bytes]


def files() -> Iterator[tuple[str, bytes]]:
    """Name and bytes: directories first, then the patients from the smallest on."""
    for name in (*synthea.DIRECTORY, *synthea.sizes()):
        for data in synthea.read(name):
            yield name.partition("_")[0], data


def look(name: str, data: bytes) -> Looked:
    """What our validation says of every resource."""
    refused, raws = [], []
    for entry in split(data).entries:
        raws.append(bytes(entry.raw))
        try:
            outcome = validate(read_entry(entry).json)
        except CareMeshError as error:
            refused.append((entry.place, error.code))
            continue
        refused += [
            (f"{entry.place} {issue.expression}", issue.rule) for issue in outcome.issues if issue.severity == "error"
        ]
    return Looked(name=name, refused=refused, raws=raws)


def ask() -> None:
    """Ask both about all of them, and keep what they say."""
    from tools.fhir_agreement import EXCLUDED
    from tools.fhir_verdicts import HAPI, Hapi, identity

    hapi = Hapi()
    found: dict[str, Any] = {"hapi": HAPI, "files": {}}
    for name, data in files():
        looked, accepted, messages = look(name, data), 0, Counter[str]()
        for raw in looked.raws:
            errors = {identity(one[0], one[3]) for one in hapi.ask(raw)[1]} - EXCLUDED.keys()
            accepted += not errors
            messages.update(errors)
        found["files"][name] = {
            "resources": len(looked.raws),
            "refused": looked.refused,
            "accepted_by_hapi": accepted,
            "hapi_errors": dict(sorted(messages.items())),
        }
        KEPT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    hapi.close()


def table() -> list[str]:
    """The table of the page."""
    lines = ["| file | resources | refused here, by which rule | accepted by HAPI |", "|---|---|---|---|"]
    total = Counter[str]()
    for name, said in json.loads(KEPT.read_text("utf-8"))["files"].items():
        refused = "; ".join(f"{place}: {rule}" for place, rule in said["refused"]) or "none"
        lines.append(f"| {name} | {said['resources']:,} | {refused} | {said['accepted_by_hapi']:,} |")
        total.update(resources=said["resources"], refused=len(said["refused"]), accepted=said["accepted_by_hapi"])
    refused = str(total["refused"]) if total["refused"] else "none"
    return [*lines, f"| all | {total['resources']:,} | {refused} | {total['accepted']:,} |"]


if __name__ == "__main__":
    ask()
