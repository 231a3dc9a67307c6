"""What can go wrong at the source."""

from caremesh.errors import ErrorCode

NO_PROFILE = ErrorCode("source.01", "This patient is not enrolled here.", "Let the patient's wallet enrol first.")
TOO_FEW_DEPOSITS = ErrorCode(
    "source.02",
    "Too few custodians have acknowledged the seal; nothing was registered.",
    "Import again when they can be reached; what is there already is left alone.",
)
NOT_REGISTERED = ErrorCode(
    "source.03", "The ledger did not take a segment.", "See the code; import again, what is there is left alone."
)
NO_STREAM = ErrorCode("source.04", "The patient has given no write permit for this category.", "Ask the patient.")
DIRECTORY_FAILED = ErrorCode(
    "source.05", "The directory's folder cannot be opened or written.", "Look at its permissions and at free space."
)
CONFLICT = ErrorCode(
    "source.06",
    "This version of the record is held already, with other content.",
    "Give corrected content a version of its own.",
)
UNREADABLE = ErrorCode("source.07", "The file cannot be read.", "Check its path and permissions.")
NOTHING_TO_CORRECT = ErrorCode(
    "source.08", "No segment that is in force here, and readable here, has this.", "Import it as a new record."
)
OTHER_CATEGORY = ErrorCode(
    "source.09",
    "The corrected record belongs to another category than the one that it corrects.",
    "Retract the old one and import the new.",
)
OLDER_PROFILE = ErrorCode(
    "source.10", "This sealing profile is older than the one that is here.", "Let the patient's wallet send the newest."
)
