"""Why the access contract refuses or denies.

What is *refused* (01 to 09) changes nothing and is not recorded. What is *denied* (10 to 17) is: the subject sees it.
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
