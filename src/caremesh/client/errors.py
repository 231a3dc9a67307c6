"""What can go wrong on the way to a node."""

from caremesh.errors import ErrorCode

UNREACHABLE = ErrorCode("client.02", "The node cannot be reached, or did not answer in time.", "Ask another, or later.")
NOT_THE_NODE = ErrorCode(
    "client.03", "Who answers there is not the node that was meant: its certificate is another.", "Ask its operator."
)
TOO_MUCH = ErrorCode("client.04", "The node's answer is longer than this kind of answer can be.", "Ask another node.")
NO_ADDRESS = ErrorCode("client.05", "The ledger has no address of this member.", "Ask its operator.")
BEHIND = ErrorCode("client.06", "The newest block of this node is too old.", "Ask another node, or later.")
NOTHING_TRUSTED = ErrorCode(
    "client.07", "There is no header to start from, so nothing can be verified.", "Give the client a light client."
)
CUT_SHORT = ErrorCode(
    "client.09",
    "The node's answer ended before it was whole.",
    "Ask again; what was asked for may have been done all the same.",
)
