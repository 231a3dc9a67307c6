"""Why the members contract refuses."""

from caremesh.errors import ErrorCode

NO_QUORUM = ErrorCode("members.01", "Too few of the network's authorities have signed.", "Collect their signatures.")
NOT_A_MEMBER = ErrorCode("members.02", "There is no such member.", "Check the DID, or have it admitted.")
ALREADY_MEMBER = ErrorCode("members.03", "This member is admitted already.", "Reinstate it if it was suspended.")
SUSPENDED = ErrorCode("members.04", "This member is suspended or has left.", "Ask the network's authorities.")
WRONG_SIGNER = ErrorCode("members.05", "Only the member itself may do this.", "Sign with the member's current key.")
NOT_A_PRACTITIONER = ErrorCode("members.06", "This DID is not that of a practitioner.", "Register it as one.")
NOT_APPOINTED = ErrorCode("members.07", "This practitioner does not act for this member.", "Appoint them first.")
LICENCE_OVER = ErrorCode("members.08", "A licence ends with a whole day that is not over.", "Give a later date.")
BAD_KEY = ErrorCode("members.09", "The receiving key is no compressed public key.", "Generate the keys anew.")
UNKNOWN_ROLE = ErrorCode("members.10", "A role is unknown or named twice.", "Name roles of the glossary, each once.")
SAME_STATE = ErrorCode("members.11", "It is so already.", "Nothing.")
TOO_FEW_AUTHORITIES = ErrorCode(
    "members.12", "Without this member the network's authorities could decide nothing.", "Name other authorities first."
)
WRONG_PERSON = ErrorCode(
    "members.13", "Only the practitioner may do this.", "Sign with the practitioner's current key."
)
