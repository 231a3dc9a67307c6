"""What can go wrong at the recipient."""

from caremesh.errors import ErrorCode

NO_SHARE = ErrorCode("gateway.01", "Nothing of this kind is shared with this member.", "Ask the patient for access.")
TOO_FEW_RELEASES = ErrorCode(
    "gateway.02", "Too few custodians released; nothing was opened.", "See what each said; ask again later."
)
NO_BLOCK = ErrorCode("gateway.03", "No store has this block, or none has it undamaged.", "Ask the source to repair it.")
OTHER_RELEASE = ErrorCode(
    "gateway.04", "A custodian's release is for something else than was asked.", "Keep it: it is evidence."
)
NOT_SUBMITTED = ErrorCode("gateway.05", "The ledger did not take the request.", "See the code.")
SEAL_DOES_NOT_OPEN = ErrorCode(
    "gateway.06", "All re-encryptions hold and the seal still does not open: the source sealed it wrongly.", "Keep it."
)
KIND_NOT_ALLOWED = ErrorCode(
    "gateway.07",
    "The law on this kind of records does not let this member read them for this.",
    "Ask for the patient's express consent to this purpose.",
)
SEVERAL_PATIENTS = ErrorCode(
    "gateway.08", "Several patients share this with this member.", "Say whose records are meant: name the share."
)
VISIT_OVER = ErrorCode("gateway.09", "This visit is over, or no longer has this.", "Begin another visit.")
SHARE_ENDED = ErrorCode("gateway.10", "The patient's consent has ended, or is for less than this.", "Ask the patient.")
MAY_NOT_ACT = ErrorCode(
    "gateway.11", "The member or the practitioner may not act any more.", "Ask the member who appointed them."
)
RECEIPT_OVER = ErrorCode("gateway.12", "The receipt is over and was not renewed.", "Begin another visit.")
TOO_LONG = ErrorCode("gateway.13", "A visit's key lasts for at most twelve hours.", "Ask for less.")
NO_DISPUTE = ErrorCode("gateway.14", "No dispute of an access by this member is known by this.", "Check the receipt.")
WRONG_ANSWER = ErrorCode(
    "gateway.15", "A member's directory answered with something else than was asked.", "Tell its operator."
)
NO_DIRECTORY = ErrorCode(
    "gateway.16", "The directory of this member cannot be reached.", "Try later; the records are readable without it."
)
EARLIER_KEY = ErrorCode(
    "gateway.17", "This consent was delegated to an earlier key of this member.", "Ask the patient to delegate it anew."
)
