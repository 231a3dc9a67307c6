"""Why the network contract refuses."""

from caremesh.errors import ErrorCode

NO_QUORUM = ErrorCode("network.01", "Too few of the network's authorities have signed.", "Collect their signatures.")
BAD_PARAMS = ErrorCode("network.02", "A parameter is out of its range.", "Keep to the ranges of the reference.")
BRAKE_TOO_LONG = ErrorCode("network.03", "A brake ends by itself within seven days.", "Ask for a shorter time.")
BRAKE_NOT_ON = ErrorCode("network.04", "The brake is not on.", "Nothing.")
BRAKE_ON = ErrorCode("network.05", "The emergency brake is on.", "Wait until it ends; revocations still work.")
BAD_VALIDATORS = ErrorCode(
    "network.06", "Validators are active members, sorted by key, each key named once.", "Name others, or sort them."
)
WRONG_VERSION = ErrorCode("network.07", "Rules are upgraded one version at a time.", "Name the next version.")
TOO_EARLY = ErrorCode("network.08", "An upgrade or a conversion counts from a later block on.", "Name a later height.")
NO_UPGRADE = ErrorCode("network.09", "No upgrade is waiting.", "Nothing.")
BAD_AUTHORITIES = ErrorCode(
    "network.11",
    "Authorities are active members, each named once, and the quorum is 1 to their number.",
    "Name others.",
)
NOT_ITS_VALIDATOR = ErrorCode(
    "network.12", "This key is not that of a validator of this member.", "Name the key that it orders blocks with."
)
NEW_KEY_MISSING = ErrorCode("network.13", "The new key has not signed.", "Sign with it in the member's name.")
VALIDATOR_KEY_USED = ErrorCode("network.14", "This key has been somebody's before.", "Make a new one.")
UNKNOWN_RULES = ErrorCode(
    "network.10", "This software does not know the rules that count from this height on.", "Install the next version."
)
CONVERTED = ErrorCode("network.15", "Its members order the blocks of this network together already.", "Nothing.")
NO_CONVERSION = ErrorCode("network.16", "No conversion is waiting.", "Nothing.")
