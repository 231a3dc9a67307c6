"""What can be wrong with FHIR input. Places are paths of indices and names, never values."""

from caremesh.errors import ErrorCode

NOT_UTF8 = ErrorCode("fhir.01", "The file is not UTF-8 text.", "Save it as UTF-8 without a byte order mark.")
NOT_JSON = ErrorCode("fhir.02", "The file is not whole JSON.", "Export it again; it may have been cut short.")
NOT_A_BUNDLE = ErrorCode(
    "fhir.03",
    "This is not a FHIR Bundle of type transaction, batch, collection or history.",
    "Export the records as such, as NDJSON, or one by one.",
)
NO_PATIENT = ErrorCode("fhir.04", "The bundle holds no Patient.", "Export it together with its patient.")
TWO_PATIENTS = ErrorCode("fhir.05", "The bundle holds more than one Patient.", "Export each patient alone.")
NO_TYPE = ErrorCode("fhir.06", "An entry has no resource with a resourceType and an id.", "Export it again.")
TWICE = ErrorCode("fhir.07", "Two entries are the same resource.", "Leave one of them out.")
TOO_DEEP = ErrorCode("fhir.08", "The file nests deeper than any FHIR resource.", "Export it again.")

TOO_LARGE = ErrorCode("fhir.20", "The file is larger than one import may be.", "Export it in parts, or as NDJSON.")
DUPLICATE_KEY = ErrorCode(
    "fhir.21",
    "An object says the same thing twice: two readers could see two different records.",
    "Export it again, or have the exporting system repaired.",
)
NOT_GZIP = ErrorCode("fhir.22", "The file is not whole gzip.", "Compress it again; it may have been cut short.")
NOT_AN_ADDITION = ErrorCode(
    "fhir.23", "An import adds records: entries that get, patch or delete are not carried out.", "Leave them out."
)
OTHER_IDENTITY = ErrorCode(
    "fhir.24", "The entry's request is for another resource than the one it holds.", "Export it again."
)
DANGLING = ErrorCode(
    "fhir.25",
    "A reference within the bundle leads to no entry of it.",
    "Export it again, with everything that it refers to.",
)
NO_MATCH = ErrorCode(
    "fhir.26",
    "A conditional reference leads to nothing that is known here.",
    "Import the hospitals and practitioners that the records name first.",
)
SEVERAL_MATCH = ErrorCode(
    "fhir.27", "A condition fits several resources; which is meant cannot be told.", "Use an identifier that is unique."
)
CONDITION_NOT_READ = ErrorCode(
    "fhir.28",
    "A condition asks by something else than identifier or _id.",
    "Refer by identifier=system|value.",
)
WRONG_PATIENT = ErrorCode(
    "fhir.29", "A record is about another patient than the bundle's.", "Export each patient alone."
)
NOT_VALID = ErrorCode("fhir.30", "The resource is not valid FHIR R4.", "See the issues of the report.")
WITH_THE_REST = ErrorCode(
    "fhir.31",
    "Nothing of this bundle was imported, since an entry of it was refused.",
    "Correct the entries that the report names, and import again.",
)
NO_SUBJECT = ErrorCode(
    "fhir.32", "The record does not say which patient it is about.", "Import it in a bundle with its patient."
)
LINE_TOO_LONG = ErrorCode("fhir.33", "A line of NDJSON is longer than a resource may be.", "Export it again.")

RESOURCE_TOO_LARGE = ErrorCode(
    "fhir.40", "The resource is larger than one resource may be.", "Send it in parts, or as NDJSON."
)
NOT_AN_OBJECT = ErrorCode("fhir.41", "The JSON is not an object.", "A FHIR resource is a JSON object.")
NUMBER = ErrorCode("fhir.43", "A number is larger than any computer keeps.", "Write it as text, or leave it out.")
SURROGATE = ErrorCode(
    "fhir.44", "The file is not whole JSON, and has half of a surrogate pair.", "Export it again as plain UTF-8."
)
NOT_A_PACKAGE = ErrorCode(
    "fhir.45", "This is not a FHIR package, or a larger one than is read.", "Take it from its publisher again."
)
