"""The first look at what is to be imported: every entry is read, checked and sorted, and nothing is written.

What comes out is small (the bytes stay in the file), so that the second pass, which seals, can hold one segment at a
time. Every entry is looked at even when one was refused: the report names all that is wrong, not the first thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import Struct, structs

from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, CareMeshError, ErrorCode, Refused
from caremesh.fhir import errors as fhir_errors
from caremesh.fhir import references as refs
from caremesh.fhir.classify import TELLING, classify, raised, stricter
from caremesh.fhir.entries import BUNDLE_KINDS, DIRECTORY_TYPES, Entry, Resource, read_entry
from caremesh.fhir.validation import Outcome, validate
from caremesh.source import errors
from caremesh.source.resolving import Found, Key, Known, Resolver
from caremesh.types import Code, Count

_EXTENSION: Final = b'xtension"'
"""In the text of whatever has an extension."""
Check = Callable[[Resource], Outcome]
"""Whether a resource is valid FHIR R4."""


def valid_r4(resource: Resource) -> Outcome:
    """The check that imports make: R4's structure, required codes and constraints, and installed profiles."""
    return validate(resource.json, compact=resource.compact)


class Refusal(Struct, frozen=True, kw_only=True):
    """Something that was not imported: where, by which rule, and what FHIR validation says."""

    place: str
    type: str
    code: str
    sentence: str
    cure: str
    issues: list[dict[str, Any]] = []


class Survey(Struct, frozen=True, kw_only=True):
    """``skipped``: conditional creates whose resource is here; ``outside``: references that lead out of the file."""

    found: list[Found]
    refused: list[Refusal]
    skipped: Count
    outside: Count
    not_checked: list[str]
    """What validation did not look at, in words."""


class NotValid(BadInput):
    """A resource that is not valid FHIR R4, with the issues."""

    def __init__(self, place: str, outcome: Outcome) -> None:
        super().__init__(fhir_errors.NOT_VALID, place)
        self.outcome = outcome

    @property
    def issues(self) -> list[dict[str, Any]]:
        """What makes it invalid, as FHIR's OperationOutcome.issue."""
        errors_only = [issue for issue in self.outcome.issues if issue.severity in {"fatal", "error"}]
        found: list[dict[str, Any]] = Outcome(issues=errors_only).as_fhir()["issue"]
        return found

    def __reduce__(self) -> Any:
        return NotValid, (self.place, self.outcome)


def survey(
    entries: Iterable[Entry],
    known: Known,
    check: Check,
    *,
    kind: str,
    step: Callable[[], None] = lambda: None,
) -> Survey:
    """Every entry of a file of this kind, checked. What is wrong with an entry is in ``refused``.

    Raises BadInput fhir.04 for a bundle of records without a patient, fhir.05 for one of two.
    """
    refused: list[Refusal] = []
    found: list[Found] = []
    not_checked: set[str] = set()
    for entry in entries:
        step()
        type_ = ""
        try:
            resource = read_entry(entry)
            type_ = resource.type
            outcome = check(resource)
            not_checked.update(outcome.not_checked)
            if not outcome.valid:
                raise NotValid(entry.place, outcome)
            found.append(_found(entry, resource))
        except CareMeshError as error:
            refused.append(_refusal(error, entry.place, type_))
    found = _once(found, refused, versions=kind == "history")
    patients = {item.id for item in found if item.type == "Patient"}
    if len(patients) > 1 and kind != "ndjson":
        raise BadInput(fhir_errors.TWO_PATIENTS)
    if not patients and kind in BUNDLE_KINDS and _is_nobodys(found, known):
        if any(refusal.type == "Patient" for refusal in refused):  # the reason for all the rest
            return Survey(found=[], refused=refused, skipped=0, outside=0, not_checked=sorted(not_checked))
        raise BadInput(fhir_errors.NO_PATIENT)
    for patient in sorted(patients):
        if known.is_enrolled(patient):
            known.look_at(patient)
    resolver = Resolver(known, found)
    kept: list[Found] = []
    skipped = outside = 0
    reasons: list[list[tuple[str, Key]]] = []
    for item in found:
        try:
            if _is_here(item, resolver):
                skipped += 1
                continue
            reached, leading_out = _reached(item, resolver)
            patient = "" if item.type in DIRECTORY_TYPES else _patient(item, resolver, known, patients)
            _check_version(item, patient, known)
        except CareMeshError as error:
            refused.append(_refusal(error, item.entry.place, item.type))
            continue
        outside += leading_out
        kept.append(structs.replace(item, patient=patient))
        reasons.append(reached)
    return Survey(
        found=_raise_all(kept, reasons),
        refused=refused,
        skipped=skipped,
        outside=outside,
        not_checked=sorted(not_checked),
    )


def _found(entry: Entry, resource: Resource) -> Found:
    own_id = resource.json.get("id")
    return Found(
        entry=entry,
        type=resource.type,
        id=resource.id,
        own_id=own_id if isinstance(own_id, str) else "",
        version=resource.version,
        last_updated=resource.last_updated,
        size_bytes=len(resource.data),
        digest=sha256(resource.data),
        category="" if resource.type in DIRECTORY_TYPES else classify(resource),
        patient="",
        subject=refs.subject_of(resource.json),
        references=refs.references(resource.json, extended=_EXTENSION in resource.compact),
        identifiers=refs.identifiers(resource.json),
    )


def _once(found: list[Found], refused: list[Refusal], *, versions: bool) -> list[Found]:
    """Without what is there twice, which is refused (FHIR R4, http.html#trules)."""
    seen: dict[tuple[str, str, str], Found] = {}
    for item in found:
        name = item.type, item.id, item.version if versions else ""
        if seen.setdefault(name, item) is not item:
            refused.append(_refusal(BadInput(fhir_errors.TWICE, item.entry.place), item.entry.place, item.type))
    return list(seen.values())


def _is_nobodys(found: list[Found], known: Known) -> bool:
    """Whether there are records, and none says that it is about a patient who is enrolled."""
    about = [refs.target(item.subject) for item in found if item.type not in DIRECTORY_TYPES]
    return bool(about) and not any(named is not None and known.is_enrolled(named[1]) for named in about)


def _is_here(item: Found, resolver: Resolver) -> bool:
    """Whether a conditional create finds its resource, so that there is nothing to create. Raises BadInput fhir.27."""
    if not item.entry.condition:
        return False
    fits = [id_ for id_ in resolver.matches(item.entry.condition, item.type, item.entry.place) if id_ != item.id]
    if len(fits) > 1:
        raise BadInput(fhir_errors.SEVERAL_MATCH, item.entry.place)
    return bool(fits)


def _reached(item: Found, resolver: Resolver) -> tuple[list[tuple[str, Key]], Count]:
    """(element, resource) of what it gives as its reason or content, and how many references lead out of the file.

    Raises BadInput fhir.25 to fhir.28.
    """
    reached: list[tuple[str, Key]] = []
    leading_out = 0
    for name, reference, key in resolver.resolve_all(item.references, item.entry.place):
        if key is None:
            leading_out += refs.target(reference) is not None
        elif name in TELLING:
            reached.append((name, key))
    return reached, leading_out


def _patient(item: Found, resolver: Resolver, known: Known, patients: set[str]) -> str:
    """Whose record it is: the file's one patient, unless it says otherwise, which is refused; else who it says."""
    if item.type == "Patient":
        return item.id
    place = item.entry.place
    key = resolver.resolve(item.subject, place) or refs.target(item.subject) if item.subject else None
    named = key[1] if key is not None and key[0] == "Patient" else ""
    if len(patients) == 1:
        only = next(iter(patients))
        if named not in ("", only):
            raise Refused(fhir_errors.WRONG_PATIENT, place)
        return only
    if not named or not (named in patients or known.is_enrolled(named)):
        raise BadInput(fhir_errors.NO_SUBJECT, place)
    return named


def _check_version(item: Found, patient: str, known: Known) -> None:
    """Raises Refused source.06."""
    if item.version and patient:
        held = known.version(patient, item.type, item.id, item.version)
        if held is not None and held != item.digest:
            raise Refused(errors.CONFLICT, item.entry.place)


def _raise_all(kept: list[Found], reasons: list[list[tuple[str, Key]]]) -> list[Found]:
    """Every record with what it gives as its reason or content: as strict as that, over any number of steps."""
    categories: dict[Key, Code] = {}
    for item in kept:
        key = item.type, item.id
        known = categories.get(key)
        categories[key] = item.category if known is None else stricter(item.category, known)
    found = list(kept)
    waiting = [number for number, reached in enumerate(reasons) if reached and kept[number].category]
    changed = True
    while changed:
        changed = False
        for number in waiting:
            item = found[number]
            reached = [(name, key[0], categories.get(key, "")) for name, key in reasons[number]]
            category = raised(item.type, item.category, reached)
            if category != item.category:
                found[number] = structs.replace(item, category=category)
                categories[item.type, item.id] = stricter(category, categories[item.type, item.id])
                changed = True
    return found


def _refusal(error: CareMeshError, place: str, type_: str = "") -> Refusal:
    said: ErrorCode = error.error
    return Refusal(
        place=error.place or place,
        type=type_,
        code=said.code,
        sentence=said.sentence,
        cure=said.cure,
        issues=error.issues if isinstance(error, NotValid) else [],
    )
