"""Why the access contract refuses or denies.

What is *refused* changes nothing and is not recorded. A request that its requester signed, for a consent of the asking
member, is never just refused but *denied* (04, 06, 10 to 17, 19 to 21), which is recorded: the subject sees it.
"""

from caremesh.errors import ErrorCode

NO_CONSENT = ErrorCode("access.01", "There is no such consent for this member.", "Ask the patient for access.")
WRONG_SIGNER = ErrorCode("access.02", "The requester's own current key has not signed this.", "Sign with that key.")
NOT_ASSERTABLE = ErrorCode("access.03", "An asserted request names the member itself.", "Name the asking member.")
UNKNOWN_BASIS = ErrorCode("access.04", "A request states a legal basis, each once.", "State at least one.")
NOT_A_CUSTODIAN = ErrorCode("access.05", "Only a custodian reports releases.", "Sign as a custodian.")
BRAKE_ON = ErrorCode("access.06", "The emergency brake is on: no receipts are given.", "Wait until it ends.")
OLD_REPORT = ErrorCode("access.07", "A release log only grows.", "Report the newest root.")
NO_RECEIPT = ErrorCode("access.08", "There is no such receipt.", "Check its id.")
ALREADY_CLOSED = ErrorCode("access.09", "This receipt is closed, or has expired.", "Nothing.")
NOT_ACTIVE = ErrorCode("access.10", "The consent is not active: revoked, not begun or over.", "Ask the patient.")
OTHER_PURPOSE = ErrorCode("access.11", "The consent does not allow this purpose.", "Ask the patient to allow it.")
OTHER_ACTION = ErrorCode("access.12", "The consent does not allow this action.", "Ask the patient to allow it.")
OUT_OF_SCOPE = ErrorCode("access.13", "The consent does not cover these segments.", "Ask for those that it covers.")
NOT_APPOINTED = ErrorCode(
    "access.14", "The requester is not appointed, suspended, or without a valid licence.", "Ask the appointing member."
)
USED_UP = ErrorCode("access.15", "The consent's receipts are used up.", "Ask the patient for a new consent.")
OTHER_JURISDICTION = ErrorCode("access.16", "The consent holds in another jurisdiction only.", "Ask the patient.")
NOT_PERMITTED = ErrorCode("access.17", "The regulations in force do not permit this access.", "See the policies cited.")
BAD_VISIT = ErrorCode(
    "access.18",
    "The visit is not the requester's with this member, not now, longer than twelve hours, or not signed by them.",
    "Begin another visit.",
)
BAD_RENEWAL = ErrorCode(
    "access.19", "This does not continue a living receipt of the same visit, or goes on for too long.", "Ask anew."
)
NEEDS_SECOND = ErrorCode(
    "access.20", "The consent asks for a second practitioner's signature.", "Have a colleague sign too."
)
NOT_DELEGATED = ErrorCode(
    "access.21", "The consent waits to be delegated anew: the stream is in another epoch.", "Ask the patient's wallet."
)
UNKNOWN_STREAM = ErrorCode("access.22", "There is no such stream.", "Check its id.")
NOT_THE_SUBJECT = ErrorCode(
    "access.23",
    "Neither the stream's key nor a controller's within its powers has signed this.",
    "Sign with such a key.",
)
NOT_ALONE = ErrorCode("access.24", "What a subject's key signs travels alone.", "Send one message a transaction.")
ALREADY_DISPUTED = ErrorCode("access.25", "This access is disputed already.", "Wait for the member's answer.")
NO_DISPUTE = ErrorCode("access.26", "No dispute of this access waits for this member's answer.", "Nothing.")
NOT_AN_OFFICER = ErrorCode(
    "access.27", "Only the member's privacy officer, and not the one who asked, reviews.", "Have the officer sign."
)
ALREADY_REVIEWED = ErrorCode("access.28", "This emergency access is reviewed already, or was denied.", "Nothing.")
