"""FHIR R4 without I/O: read bundles, sort records into categories, show them to people."""
