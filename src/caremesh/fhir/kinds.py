"""Where a resource belongs by what it is: its type, and for some types its ``category`` or code.

Sections of the International Patient Summary and US Core. What is not here is ``unclassified``, which is restricted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

_BY_TYPE: Final = {
    name: category
    for category, names in {
        "allergies": "AllergyIntolerance",
        "conditions": "Condition ClinicalImpression DetectedIssue RiskAssessment AdverseEvent BodyStructure",
        "medications": "Medication MedicationRequest MedicationStatement MedicationAdministration MedicationDispense",
        "immunizations": "Immunization ImmunizationEvaluation ImmunizationRecommendation",
        "laboratory": "Specimen",
        "procedures": "Procedure VisionPrescription",
        "imaging": "ImagingStudy Media",
        "encounters": "Encounter EpisodeOfCare Appointment AppointmentResponse",
        "documents": "DocumentReference DocumentManifest Composition Provenance",
        "care-plans": "CarePlan CareTeam Goal NutritionOrder RequestGroup",
        "devices-wearables": "Device DeviceMetric DeviceRequest DeviceUseStatement SupplyDelivery SupplyRequest",
        "demographics": "Patient RelatedPerson Person",
        "claims": "Account ChargeItem Claim ClaimResponse Coverage CoverageEligibilityRequest "
        "CoverageEligibilityResponse EnrollmentRequest EnrollmentResponse ExplanationOfBenefit Invoice PaymentNotice "
        "PaymentReconciliation",
        "genetics": "MolecularSequence FamilyMemberHistory",
    }.items()
    for name in names.split()
}
"""What runs in a family is genetic information (29 CFR 1635.3(c); GDPR recital 34)."""
_OBSERVATIONS: Final = {
    "laboratory": "laboratory",
    "vital-signs": "vital-signs",
    "activity": "vital-signs",
    "procedure": "procedures",
    "imaging": "imaging",
    "exam": "procedures",
    "clinical-test": "procedures",
    "therapy": "procedures",
    "social-history": "demographics",
    "survey": "care-plans",
    "sdoh": "demographics",
    "functional-status": "care-plans",
    "disability-status": "conditions",
}
"""HL7 observation-category, and those that US Core adds."""
_VITAL_SIGNS: Final = frozenset(
    {
        "85353-1", "9279-1", "8867-4", "2708-6", "59408-5", "8310-5", "8302-2", "8306-3", "9843-4",
        "29463-7", "39156-5", "85354-9", "8480-6", "8462-4", "8478-0", "8287-5", "3141-9", "55284-4",
    }
)  # fmt: skip
"""LOINC codes of the vital signs profile of FHIR R4, with those of blood pressure and weight in older records."""
_REPORTS: Final = {
    "LAB": "laboratory",
    "CH": "laboratory",
    "HM": "laboratory",
    "MB": "laboratory",
    "SR": "laboratory",
    "BLB": "laboratory",
    "IMM": "laboratory",
    "TX": "laboratory",
    "VR": "laboratory",
    "26436-6": "laboratory",
    "laboratory": "laboratory",
    "RAD": "imaging",
    "RUS": "imaging",
    "RX": "imaging",
    "CT": "imaging",
    "NMR": "imaging",
    "imaging": "imaging",
    "394914008": "imaging",
    "18748-4": "imaging",
    "GE": "genetics",
    "34117-2": "documents",
    "11506-3": "documents",
    "51847-2": "documents",
    "LP29684-5": "imaging",
    "LP29708-2": "procedures",
    "LP7839-6": "laboratory",
    "CG": "genetics",
}
"""HL7 v2-0074 and, as US Core has it for notes, LOINC. ``GE``: genetics, ``CG``: cytogenetics."""
_REQUESTS: Final = {
    "108252007": "laboratory",
    "363679005": "imaging",
    "387713003": "procedures",
    "103693007": "procedures",
    "409063005": "procedures",
    "409073007": "procedures",
}
"""SNOMED CT, servicerequest-category of FHIR R4: laboratory, imaging, surgical, diagnostic, counselling, education."""


_LISTS: Final = {
    "allergies": "allergies",
    "48765-2": "allergies",
    "medications": "medications",
    "10160-0": "medications",
    "problems": "conditions",
    "11450-4": "conditions",
    "11369-6": "immunizations",
    "47519-4": "procedures",
}
"""FHIR R4 list-example-use-codes, and LOINC codes of the sections of the International Patient Summary."""


def by_kind(json: dict[str, Any]) -> str:
    """The category by what it is, ``unclassified`` if there is none."""
    kind = json.get("resourceType")
    if kind == "Observation":
        found = _first(_codes(json.get("category")), _OBSERVATIONS)
        if found == "unclassified" and _VITAL_SIGNS.intersection(_codes(json.get("code"))):
            return "vital-signs"
        return found
    if kind == "DiagnosticReport":
        return _first(_codes(json.get("category")), _REPORTS)
    if kind == "ServiceRequest":
        return _first(_codes(json.get("category")), _REQUESTS)
    if kind == "List":
        return _first(_codes(json.get("code")), _LISTS)
    return _BY_TYPE.get(kind, "unclassified") if isinstance(kind, str) else "unclassified"


def _first(codes: Iterator[str], table: dict[str, str]) -> str:
    return next((table[code] for code in codes if code in table), "unclassified")


def _codes(value: Any) -> Iterator[str]:
    """The codes of a CodeableConcept, or of a list of them."""
    for concept in value if isinstance(value, list) else [value]:
        codings = concept.get("coding") if isinstance(concept, dict) else None
        for coding in codings if isinstance(codings, list) else []:
            if isinstance(coding, dict) and isinstance(coding.get("code"), str):
                yield coding["code"]
