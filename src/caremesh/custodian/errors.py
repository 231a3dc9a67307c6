"""Why a custodian refuses. One code for each check; the order is that of the checks in ``checks.py``."""

from caremesh.errors import ErrorCode

STALE = ErrorCode(
    "custodian.01",
    "This custodian's copy of the ledger is too old to decide by.",
    "Ask another custodian, or again when this one has caught up.",
)
HEADER_FROM_FUTURE = ErrorCode(
    "custodian.02", "The newest block is dated later than this custodian's clock.", "Set the clocks right."
)
NO_RECEIPT = ErrorCode(
    "custodian.03",
    "There is no such receipt on this custodian's copy of the ledger.",
    "Ask the ledger for access first.",
)
RECEIPT_EXPIRED = ErrorCode("custodian.04", "The receipt has expired or was closed.", "Ask for a new one.")
CONSENT_NOT_ACTIVE = ErrorCode(
    "custodian.05", "The consent is no longer active: it was revoked, narrowed or has ended.", "Ask the patient."
)
MEMBER_NOT_ACTIVE = ErrorCode("custodian.06", "The receiving member is suspended or has left.", "Ask the regulator.")
PERSON_NOT_ACTIVE = ErrorCode(
    "custodian.07",
    "The requester is suspended, dismissed or without a valid licence.",
    "Ask the member who appointed them.",
)
BRAKE_ON = ErrorCode("custodian.08", "The emergency brake is on: nothing is released.", "Wait until it ends.")
NOT_A_CUSTODIAN = ErrorCode("custodian.09", "This consent does not name this custodian.", "Ask those that it names.")
SEGMENT_UNKNOWN = ErrorCode("custodian.10", "There is no such segment, or it was erased.", "Ask for what is there.")
OUT_OF_SCOPE = ErrorCode("custodian.11", "Receipt or consent do not cover this segment.", "Ask for what they cover.")
NO_SEAL = ErrorCode("custodian.12", "This custodian does not hold the seal of this segment.", "Ask another custodian.")
SEAL_MISMATCH = ErrorCode("custodian.13", "Descriptor or seal are not those on the ledger.", "Deposit them again.")
NO_FRAGMENT = ErrorCode("custodian.14", "This custodian holds no fragment for this consent.", "Ask another custodian.")
KEYS_MISMATCH = ErrorCode(
    "custodian.15", "The fragment was made for other keys than the ledger names.", "The patient delegates anew."
)
FRAGMENT_MISMATCH = ErrorCode(
    "custodian.16", "The fragment does not match its commitment on the ledger.", "The patient delegates anew."
)
WRONG_REQUESTER = ErrorCode(
    "custodian.17", "The request is not signed by the one to whom the receipt was given.", "Sign with that key."
)
WRONG_RECIPIENT = ErrorCode("custodian.18", "The request is addressed to another custodian.", "Address it to this one.")
REPLAYED = ErrorCode("custodian.19", "This request was already answered, or is too old.", "Make a new request.")
NOT_DEPOSITABLE = ErrorCode(
    "custodian.20", "The deposit is not signed by the one who may make it, or names another custodian.", "Deposit anew."
)
LOG_BROKEN = ErrorCode("custodian.21", "The release log does not hold together.", "Restore it from a backup.")
NOT_THE_STREAM = ErrorCode(
    "custodian.22", "The request is not signed by the key of this stream.", "Sign with the stream's current key."
)
NOT_ERASED = ErrorCode("custodian.23", "The ledger does not say that this segment is erased.", "Erase it first.")
NOT_OVER = ErrorCode("custodian.24", "The ledger does not say that this consent is over.", "Revoke it first.")
