"""Words for each rule, its severity and R4's code for the kind of issue. No value of a resource is ever in them."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

from caremesh.fhir import definitions


class Words(NamedTuple):
    """``text`` may have one ``{}`` for the detail."""

    code: str
    text: str
    severity: str = "error"


RULES: Final = {
    "type": Words("structure", "resourceType is not a resource type of FHIR R4."),
    "shape-additionalProperties": Words("structure", "There is an element that R4 does not have here: {}."),
    "shape-type": Words("structure", "The value is not of the JSON type that R4 has here: {}."),
    "shape-pattern": Words("value", "The value is not of the form that R4 has for its data type."),
    "shape-minimum": Words("value", "The number is smaller than its data type allows."),
    "shape-maximum": Words("value", "The number is larger than its data type allows."),
    "shape-required": Words("structure", "A resource has no resourceType."),
    "shape-constant": Words("structure", "resourceType is not the type that may stand here."),
    "shape-inside": Words("structure", "A resource inside this one is not of R4's shape; check it alone."),
    "shape-anyOf": Words("structure", "The value is not of the type or form that R4 has here."),
    "rest-not-checked": Words(
        "incomplete", "Because of the issues of shape, the rules after them were not all checked.", "information"
    ),
    "min": Words("required", "An element that must be there is missing."),
    "choice": Words("structure", "There is more than one form of an element that may have one."),
    "empty-array": Words("structure", "An array may not be empty; leave the element out."),
    "null": Words("structure", "null stands for a value that has extensions, and there are none."),
    "code": Words("code-invalid", "The code is not of the value set that is required here: {}."),
    "code-missing": Words("required", "The required value set wants a code; an extension does not stand for it."),
    "binding": Words("code-invalid", "No coding is of the value set that is required here: {}."),
    "coding": Words("code-invalid", "The code system, which is HL7's, has no such code."),
    "date": Words("value", "There is no such day."),
    "whole": Words("value", "A whole number is written without a decimal point or exponent."),
    "base64": Words("value", "This is not base64."),
    "uri": Words("value", "A urn:uuid: or urn:oid: has a form (RFC 4122, lower case; RFC 3061) that this has not."),
    "canonical": Words("value", "A canonical URL is absolute, or a fragment."),
    "reference-form": Words("value", "A reference is Type/id, an absolute URL, urn:uuid:, urn:oid: or #id."),
    "reference-type": Words("value", "The reference names a type that R4 does not have."),
    "reference-target": Words("structure", "The reference points at a type that may not stand here; these may: {}."),
    "reference-differs": Words("value", "Reference.type and the reference name different types."),
    "extension-url": Words("value", "The url of an extension is absolute."),
    "extension-value": Words("structure", "HL7 defines this extension with a value of: {}."),
    "extension-part": Words("structure", "HL7 defines this extension without such a part; it has: {}."),
    "full-url": Words("required", "In a bundle that is not a batch or transaction every entry has a fullUrl."),
    "full-url-differs": Words("value", "fullUrl ends in another type or id than the resource has."),
    "narrative-link": Words("value", "A link of the narrative leads to nothing in this resource."),
    "identifier-uri": Words("value", "An identifier in urn:ietf:rfc:3986 is a whole URI."),
    "contained-id": Words("structure", "A contained resource needs an id."),
    "contained-twice": Words("structure", "Two contained resources have the same id."),
    "profile-min": Words("required", "The profile wants at least {} of this element."),
    "profile-max": Words("structure", "The profile allows at most {} of this element."),
    "profile-fixed": Words("value", "The profile fixes another value here."),
    "profile-pattern": Words("value", "The profile has a pattern here that the value does not match."),
    "profile-type": Words("structure", "The profile allows these types here: {}."),
    "profile-binding": Words("code-invalid", "No code is of the value set that the profile requires: {}."),
    "profile-target": Words("structure", "The profile lets a reference point at these types: {}."),
    "profile-slice": Words("structure", "The profile has a closed list of forms here, and this is none of them."),
    "profile-constraint": Words("invariant", "{}"),
    "profile-advice": Words("invariant", "{}", "warning"),
    "too-deep": Words("too-long", "Resources are nested deeper than anything that R4 needs."),
}


@cache
def _constraints() -> dict[str, Words]:
    held: list[dict[str, Any]] = definitions.structure()["constraints"]
    return {one["key"]: Words("invariant", f"{one['key']}: {one['human']}", one["severity"]) for one in held}


def words(rule: str, detail: str) -> tuple[Words, str]:
    """What is known of a rule, and the sentence for this issue."""
    found = RULES.get(rule)
    if found is None:
        found = _constraints().get(rule) or Words("structure", "The shape is not R4's.")
        return found, f"{found.text} ({detail})" if detail else found.text
    if "{}" not in found.text:
        return found, found.text
    return found, found.text.format(detail) if detail else found.text.replace(": {}", "").replace("{}", "")
