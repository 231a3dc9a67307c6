"""What can go wrong with a mesh on this machine."""

from caremesh.errors import ErrorCode

NO_MESH = ErrorCode("node.02", "There is no mesh in this folder.", "Make one with `caremesh wallet create`.")
IN_USE = ErrorCode("node.03", "Another command is using this mesh.", "Run this again when the other is done.")
UNKNOWN_MEMBER = ErrorCode("node.04", "This mesh has no such member.", "Choose one of those named here.")
BROKEN_GENESIS = ErrorCode("node.05", "The genesis file is damaged.", "Restore it; every member has the same.")
NOT_WRITABLE = ErrorCode("node.06", "The folder of the mesh cannot be made or written.", "Choose another with --home.")
PRUNED = ErrorCode(
    "node.07",
    "Blocks in between are no longer kept anywhere, so that they cannot be executed again.",
    "Use a newer snapshot, or check the replicas.",
)
NOT_A_SNAPSHOT = ErrorCode("node.08", "This file is not a snapshot of a ledger, or ends too early.", "Get it again.")
NO_BLOCKS = ErrorCode("node.09", "There is no block yet, so there is nothing to take a snapshot of.", "Try later.")
TOO_MANY_INDEXES = ErrorCode("node.10", "This member keeps as many wallet indexes as it can.", "Ask another member.")
PACKAGE_NOT_READ = ErrorCode(
    "node.11", "A package of profiles cannot be read, or is too large.", "Look at its permissions, or take it away."
)
