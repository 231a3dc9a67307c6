"""What can be wrong with FHIR input. Places are paths of indices and names, never values."""

from caremesh.errors import ErrorCode

NOT_UTF8 = ErrorCode("fhir.01", "The file is not UTF-8 text.", "Save it as UTF-8 without a byte order mark.")
NOT_JSON = ErrorCode("fhir.02", "The file is not whole JSON.", "Export it again; it may have been cut short.")
NOT_A_BUNDLE = ErrorCode(
    "fhir.03", "This is not a FHIR Bundle of type transaction, batch or collection.", "Export the records as such."
)
NO_PATIENT = ErrorCode("fhir.04", "The bundle holds no Patient.", "Export it together with its patient.")
TWO_PATIENTS = ErrorCode("fhir.05", "The bundle holds more than one Patient.", "Export each patient alone.")
NO_TYPE = ErrorCode("fhir.06", "An entry has no resource with a resourceType and an id.", "Export it again.")
TWICE = ErrorCode("fhir.07", "Two entries are the same resource.", "Leave one of them out.")
TOO_DEEP = ErrorCode("fhir.08", "The file nests deeper than any FHIR resource.", "Export it again.")
TOO_LARGE = ErrorCode("fhir.40", "The resource is larger than one resource may be.", "Send it in parts, or as NDJSON.")
NOT_AN_OBJECT = ErrorCode("fhir.41", "The JSON is not an object.", "A FHIR resource is a JSON object.")
KEY_TWICE = ErrorCode("fhir.42", "An object has the same key twice.", "Leave one out: readers would disagree.")
NUMBER = ErrorCode("fhir.43", "A number is larger than any computer keeps.", "Write it as text, or leave it out.")
SURROGATE = ErrorCode(
    "fhir.44", "The file is not whole JSON, and has half of a surrogate pair.", "Export it again as plain UTF-8."
)
NOT_A_PACKAGE = ErrorCode(
    "fhir.45", "This is not a FHIR package, or a larger one than is read.", "Take it from its publisher again."
)
