"""Is this FHIR R4, and if not, where and why? In layers, fast first; what was not checked is said.

1. JSON: text, size, depth, keys given twice.
2. ``shape``: JSON Schema (every element is known and of its type).
3. ``rules``: one generated function per type (cardinality, choices, required bindings, references, constraints of R4).
4. ``profile``: what the resource says it conforms to, where that package is installed; otherwise *not checked*.

    outcome = validate(data)
    outcome = validate(data, profiles=Profiles(read_packages([package])))
    outcome.valid, outcome.issues
"""

from caremesh.fhir.validation.outcome import Issue, Outcome
from caremesh.fhir.validation.packages import read_packages
from caremesh.fhir.validation.profiles import Profiles
from caremesh.fhir.validation.validate import issues_of, validate

__all__ = ["Issue", "Outcome", "Profiles", "issues_of", "read_packages", "validate"]
