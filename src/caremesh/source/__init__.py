"""The source's side: from a FHIR bundle to sealed segments that are stored, deposited and registered."""
