"""fhir.resources on one resource a line: MB/s of CPU time. Arguments: where it is installed, the file."""

import json
import sys
import time

sys.path.insert(0, sys.argv[1])

from fhir.resources.R4B import get_fhir_model_class

with open(sys.argv[2], "rb") as file:  # noqa: PTH123 - a script of its own
    HELD = file.read().split(b"\n")
KINDS = [get_fhir_model_class(json.loads(one)["resourceType"]) for one in HELD]


def once() -> float:
    """MB/s of all of them, once."""
    start = time.process_time()
    for kind, one in zip(KINDS, HELD, strict=True):
        try:
            kind.model_validate_json(one)
        except ValueError:
            continue
    return sum(map(len, HELD)) / (time.process_time() - start) / 1e6


once()
print(json.dumps([once() for _ in range(3)]))
