"""Why the consent contract refuses."""

from caremesh.errors import ErrorCode

INVALID_PATIENT = ErrorCode("consent.01", "Invalid patient: there is no such stream.", "Send the write permit along.")
ALREADY_HAS_ACCESS = ErrorCode(
    "consent.02", "The provider already has access: an active consent covers the same.", "Narrow or extend that one."
)
EMPTY_PERIOD = ErrorCode("consent.03", "The period is empty, or over.", "Give an end after the start and after now.")
PERIOD_TOO_LONG = ErrorCode("consent.04", "The period is too long for this purpose.", "Grant it for a shorter time.")
UNKNOWN_GRANTEE = ErrorCode("consent.05", "The grantee is not a member.", "Name a member of this network.")
GRANTEE_SUSPENDED = ErrorCode("consent.06", "The grantee is suspended or has left.", "Grant it to another member.")
GRANTEE_IS_CUSTODIAN = ErrorCode(
    "consent.07", "The grantee is a custodian of this stream.", "Change the stream's custodians first."
)
UNKNOWN_PURPOSE = ErrorCode("consent.08", "A purpose is unknown, or named twice.", "Use codes of PurposeOfUse.")
WRONG_KEY = ErrorCode(
    "consent.09",
    "Neither the stream's key nor a controller's within its powers has signed this.",
    "Sign with such a key.",
)
ALREADY_REVOKED = ErrorCode("consent.10", "This consent is revoked already.", "Nothing: it opens nothing any more.")
UNKNOWN_CONSENT = ErrorCode("consent.11", "There is no such consent.", "Check its id.")
NOT_WHOLE_DAYS = ErrorCode("consent.12", "A period begins and ends at midnight UTC.", "Round to whole days.")
UNKNOWN_ACTION = ErrorCode("consent.13", "An action is unknown, or named twice.", "Use read, copy, compute or decide.")
WRONG_EPOCH = ErrorCode("consent.14", "The consent is for another epoch of the stream.", "Delegate for this epoch.")
WRONG_CUSTODIANS = ErrorCode(
    "consent.15", "The fragments are not one for each custodian of the stream, in order.", "Make them anew."
)
WRONG_RECEIVING_KEY = ErrorCode(
    "consent.16", "The receiving key is not the grantee's.", "Read the grantee's key from the ledger again."
)
NOT_ALONE = ErrorCode("consent.17", "What a subject's key signs travels alone.", "Send one message a transaction.")
BAD_SCOPE = ErrorCode("consent.18", "The scope names segments that are not there, twice, or none.", "Name some.")
NOT_PERMITTED = ErrorCode("consent.19", "The regulations in force do not permit this grant.", "See the policies cited.")
BRAKE_ON = ErrorCode("consent.20", "The emergency brake is on.", "Wait until it ends; revocations still work.")
SALT_REUSED = ErrorCode("consent.21", "A consent with this salt exists.", "Draw a new salt.")
BAD_KEY = ErrorCode("consent.22", "The verifying key is no compressed public key.", "Make the fragments anew.")
OTHER_STREAM = ErrorCode("consent.23", "The permit is for another stream.", "Send the permit of this stream.")
BAD_CONDITIONS = ErrorCode("consent.24", "A condition can never be met.", "Allow at least one receipt.")
CLOSED = ErrorCode("consent.25", "The stream is closed.", "Open another.")
NOT_IN_FORCE = ErrorCode("consent.26", "This consent is over.", "Grant anew.")
NOT_NARROWER = ErrorCode("consent.27", "This allows something that the consent does not, or changes nothing.", "Grant.")
NOT_LONGER = ErrorCode("consent.28", "The new end is not after the old one.", "Narrow it, to end it sooner.")
SAME_FRAGMENTS = ErrorCode("consent.29", "These are the fragments that the consent has.", "Make new ones.")
UNKNOWN_OFFER = ErrorCode("consent.30", "There is no such offer.", "Check its id.")
OFFER_OVER = ErrorCode("consent.31", "The offer was answered, or has expired.", "Ask for a new one.")
BEYOND_OFFER = ErrorCode("consent.32", "This grants another, or more, than the offer asks for.", "Grant as offered.")
OFFER_WAITING = ErrorCode("consent.33", "An offer of this member is waiting for an answer.", "Wait for it.")
BAD_OFFER = ErrorCode("consent.34", "An offer expires on a whole day, at most 92 days ahead.", "Change its end.")
TOO_MANY = ErrorCode("consent.35", "This stream has as many consents in force as there may be.", "Revoke one first.")
