"""Why the identity contract refuses."""

from caremesh.errors import ErrorCode

NOT_REGISTERED = ErrorCode("identity.01", "There is no such DID on this ledger.", "Register it first.")
ALREADY_REGISTERED = ErrorCode("identity.02", "This DID is registered already.", "Use it, or another key.")
WRONG_SIGNER = ErrorCode("identity.03", "The DID's own key has not signed this.", "Sign with the DID's current key.")
KEY_REUSED = ErrorCode("identity.04", "This key belongs, or has belonged, to a DID.", "Generate another key.")
DID_MISMATCH = ErrorCode("identity.05", "This DID is not the one that its first key gives.", "Derive it from the key.")
DEACTIVATED = ErrorCode("identity.06", "This DID is deactivated.", "Nothing: a deactivated DID stays so.")
WRONG_KIND = ErrorCode("identity.07", "A member's DID comes with its admission only.", "Use members/admit.")
