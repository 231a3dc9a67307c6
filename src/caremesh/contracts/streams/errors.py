"""Why the streams contract refuses."""

from caremesh.errors import ErrorCode

BAD_PERMIT = ErrorCode("streams.01", "These bytes are not a write permit.", "Ask the subject for a new one.")
OTHER_CHAIN = ErrorCode("streams.02", "The permit is for another chain.", "Ask the subject for a new one.")
WRONG_KEY = ErrorCode("streams.03", "The stream's current key has not signed this.", "Sign with that key.")
NOT_SELF_CERTIFYING = ErrorCode("streams.04", "The stream's id is not the hash of its first key.", "Derive it anew.")
OLD_SERIAL = ErrorCode("streams.05", "A newer permit of this stream has been seen.", "Use the newest permit.")
SERIAL_REUSED = ErrorCode("streams.06", "Another permit had this serial.", "Sign one with a higher serial.")
OLD_EPOCH = ErrorCode("streams.07", "The permit is for another epoch of the stream.", "Ask for one of this epoch.")
PERMIT_EXPIRED = ErrorCode("streams.08", "The permit has expired.", "Ask the subject for a new one.")
PERMIT_REVOKED = ErrorCode(
    "streams.09",
    "The permit was revoked, or ended with the key, epoch or custodians that it names.",
    "Ask the subject for a new one.",
)
PERMIT_EXHAUSTED = ErrorCode("streams.10", "The permit's segments are used up.", "Ask the subject for a new one.")
BAD_CUSTODIANS = ErrorCode(
    "streams.11",
    "Custodians are members in that role, each named once, sorted, and 1 ≤ t ≤ n.",
    "Choose other custodians or another threshold.",
)
NO_SUCH_STREAM = ErrorCode("streams.12", "There is no such stream.", "Open it with a write permit.")
OTHER_CUSTODIANS = ErrorCode("streams.13", "The permit names other custodians than the stream has.", "Change the set.")
SOURCE_NOT_ACTIVE = ErrorCode("streams.14", "The source is not an active member.", "Name an active member.")
OTHER_STREAM = ErrorCode("streams.15", "The permit is for another stream, source or reading key.", "Use its own.")
NOT_ALONE = ErrorCode("streams.16", "What a subject's key signs travels alone.", "Send one message a transaction.")
CLOSED = ErrorCode("streams.17", "The stream is closed.", "Open another.")
BAD_READING_KEY = ErrorCode("streams.18", "The reading key is no compressed public key.", "Derive it anew.")
KEY_REUSED = ErrorCode("streams.19", "This key serves, or has served, a stream or a DID.", "Generate another key.")
SAME_KEY = ErrorCode(
    "streams.20", "A new epoch needs a reading key that the stream never had.", "Derive the key of the next epoch."
)
GRANTEE_IN_SET = ErrorCode(
    "streams.21",
    "A custodian of the new set is granted this stream.",
    "Revoke that consent, or leave the custodian out.",
)
BAD_CONTROLLER = ErrorCode(
    "streams.22",
    "A controller has powers, sorted, each once, until a whole day at most 366 days ahead.",
    "Renew a controller every year.",
)
TOO_MANY_CONTROLLERS = ErrorCode("streams.23", "A stream has at most 8 controllers.", "Remove one first.")
NO_CONTROLLER = ErrorCode("streams.24", "The stream has no such controller.", "Check the key.")
BAD_TERMS = ErrorCode(
    "streams.25",
    "A permit ends with a whole day, and its number of segments is a power of two.",
    "Round both, so that they say nothing.",
)
