"""Why the network contract refuses."""

from caremesh.errors import ErrorCode

NO_QUORUM = ErrorCode("network.01", "Too few of the network's authorities have signed.", "Collect their signatures.")
BAD_PARAMS = ErrorCode("network.02", "A parameter is out of its range.", "Keep to the ranges of the reference.")
BRAKE_TOO_LONG = ErrorCode("network.03", "A brake ends by itself within seven days.", "Ask for a shorter time.")
BRAKE_NOT_ON = ErrorCode("network.04", "The brake is not on.", "Nothing.")
BRAKE_ON = ErrorCode("network.05", "The emergency brake is on.", "Wait until it ends; revocations still work.")
