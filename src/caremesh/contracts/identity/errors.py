"""Why the identity contract refuses."""

from caremesh.errors import ErrorCode

NOT_REGISTERED = ErrorCode("identity.01", "There is no such DID on this ledger.", "Register it first.")
ALREADY_REGISTERED = ErrorCode("identity.02", "This DID is registered already.", "Use it, or another key.")
WRONG_SIGNER = ErrorCode("identity.03", "The DID's own key has not signed this.", "Sign with the DID's current key.")
KEY_REUSED = ErrorCode(
    "identity.04", "This key belongs, or has belonged, to a DID or a stream.", "Generate another key."
)
DID_MISMATCH = ErrorCode(
    "identity.05", "This DID is not the one that its first key gives on this chain.", "Derive it from the key."
)
DEACTIVATED = ErrorCode("identity.06", "This DID is deactivated.", "Nothing: a deactivated DID stays so.")
WRONG_KIND = ErrorCode(
    "identity.07", "A member's DID comes and goes with its membership.", "Use members/admit or members/leave."
)
THRESHOLD_NOT_MET = ErrorCode("identity.08", "Too few guardians have signed.", "Collect their signatures.")
WAITING_PERIOD = ErrorCode("identity.09", "The waiting period is not over.", "Wait; the current key may object.")
BAD_GUARDIANS = ErrorCode(
    "identity.10", "Guardians are sorted commitments, each once, and the threshold is 1 to their number.", "Sort them."
)
NO_RECOVERY = ErrorCode("identity.11", "No recovery of this DID is waiting.", "Begin one with the guardians.")
RECOVERY_WAITING = ErrorCode("identity.12", "A recovery of this DID is waiting already.", "Wait for its end.")
