"""Texts that may be nowhere but in a patient's own hands: what to look for, and where to look.

Canaries stand in every kind of field that a sample record has; the other texts are those of the records themselves.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import ahocorasick_rs

MIN_CHARACTERS: Final = 12
"""Shorter texts turn up in random bytes and in words of the protocol."""
MIN_NAME: Final = 7
"""Of names, addresses and numbers of a patient."""
FREE: Final = frozenset(
    {"text", "display", "div", "family", "given", "prefix", "suffix", "line", "city", "district", "state", "title"}
    | {"description", "name", "comment", "lotNumber", "serialNumber", "distinctIdentifier", "valueString", "unit"}
)
"""Fields whose content the writer is free to choose. ``value`` is, in identifiers and telecoms."""
LISTED: Final = ("Organization", "Practitioner", "PractitionerRole", "Location")
"""What a member's directory names: hospitals and those who work there."""


def texts(value: Any) -> Iterator[str]:
    """Every text of a FHIR resource."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)


def personal(bundle: dict[str, Any]) -> set[str]:
    """Every text of a patient's records; of the patient's own particulars, shorter ones too."""
    resources = [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] not in LISTED]
    found = {text for resource in resources for text in texts(resource) if len(text) >= MIN_CHARACTERS}
    for patient in (each for each in resources if each["resourceType"] == "Patient"):
        own = [patient.get(name, []) for name in ("name", "address", "telecom", "identifier", "contact")]
        found |= {text for text in texts(own) if len(text) >= MIN_NAME}
    return found


def listed(bundles: Iterable[dict[str, Any]]) -> bytes:
    """What the directory may say."""
    resources = [entry["resource"] for bundle in bundles for entry in bundle["entry"]]
    return json.dumps([each for each in resources if each["resourceType"] in LISTED], ensure_ascii=False).encode()


def plant(bundle: dict[str, Any]) -> dict[str, str]:
    """Put a canary into every free field of the patient's records, in place: canary → type and path of the field."""
    planted: dict[str, str] = {}
    for entry in bundle["entry"]:
        resource = entry["resource"]
        if resource["resourceType"] not in LISTED:
            _plant(resource, resource["resourceType"], "", planted)
    return planted


def _plant(value: Any, path: str, above: str, planted: dict[str, str]) -> None:
    rows = list(enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ())
    for key, item in rows:
        name = above if isinstance(value, list) else str(key)
        place = path if isinstance(value, list) else f"{path}.{key}"
        free = name in FREE or (name == "value" and above in ("identifier", "telecom"))
        canary = f"canary-{len(planted):06x}-{name}"
        if isinstance(item, str) and name == "data":
            value[key] = base64.b64encode(canary.encode()).decode()
            planted[canary] = planted[value[key]] = place
        elif isinstance(item, str) and free and not item.startswith("urn:"):
            planted[canary] = place
            value[key] = f'<div xmlns="http://www.w3.org/1999/xhtml">{canary}</div>' if name == "div" else canary
        else:
            _plant(item, place, name if isinstance(item, list | dict) else above, planted)


class Needles:
    """Many texts, looked for at once."""

    def __init__(self, wanted: Iterable[str]) -> None:
        self.texts = sorted(set(wanted))
        self._search = ahocorasick_rs.BytesAhoCorasick([text.encode() for text in self.texts])

    def without(self, said: bytes) -> Needles:
        """Those that are not in what was said before there was a patient."""
        before = self.found(said)
        return Needles(text for text in self.texts if text not in before)

    def found(self, data: bytes) -> set[str]:
        """Those that are in the data, overlapping or not."""
        return {self.texts[index] for index, _, _ in self._search.find_matches_as_indexes(data, overlapping=True)}


def leaks(folder: Path, needles: Needles, directory: bytes) -> dict[str, list[str]]:
    """File → texts in it that may not be there. A member's directory may have what is in ``directory``."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            texts_ = needles.found(path.read_bytes())
            if path.parent.name == "directory":
                texts_ = {text for text in texts_ if text.encode() not in directory}
            if texts_:
                found[str(path.relative_to(folder))] = sorted(texts_)
    return found
