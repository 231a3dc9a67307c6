"""Write src/caremesh/fhir/valuesets/synthea.json: the codes of Synthea's modules whose names tell a sensitive category.

    python -m tools.value_sets synthea-3.3.0.jar      (Maven org.mitre.synthea:synthea, Apache-2.0)

A code is placed where the words of the value sets place its name, so that it is recognised without its name too.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from caremesh.fhir.valuesets import telling_words

OUT: Final = Path("src/caremesh/fhir/valuesets/synthea.json")
SYSTEMS: Final = {
    "SNOMED-CT": "http://snomed.info/sct",
    "LOINC": "http://loinc.org",
    "RxNorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
}


def codes(value: Any) -> Iterator[tuple[str, str, str]]:
    """(system, code, name) of every code of a module, at any depth."""
    if isinstance(value, dict):
        if value.get("system") in SYSTEMS and "code" in value and isinstance(value.get("display"), str):
            yield SYSTEMS[value["system"]], str(value["code"]).strip(), value["display"]
        for item in value.values():
            yield from codes(item)
    elif isinstance(value, list):
        for item in value:
            yield from codes(item)


def main() -> None:
    """Read the jar that is named, write the file."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    with zipfile.ZipFile(sys.argv[1]) as jar:
        for name in sorted(jar.namelist()):
            if name.startswith("modules/") and name.endswith(".json"):
                for system, code, display in codes(json.loads(jar.read(name))):
                    for category in telling_words(display):
                        found.setdefault(category, {}).setdefault(system, {}).setdefault(code, display)
    document = {
        "source": "Synthea 3.3.0, modules (Maven org.mitre.synthea:synthea), chosen by tools/value_sets.py",
        "licence": "Apache-2.0; SNOMED CT, LOINC and RxNorm codes as facts, see README.md",
        "categories": {
            category: {system: dict(sorted(by_code.items())) for system, by_code in sorted(systems.items())}
            for category, systems in sorted(found.items())
        },
    }
    OUT.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{OUT}: {sum(len(c) for s in found.values() for c in s.values())} codes")


if __name__ == "__main__":
    main()
