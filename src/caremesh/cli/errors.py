"""What can be wrong with what a command was given."""

from caremesh.errors import ErrorCode

NOT_READABLE = ErrorCode(
    "cli.01", "This file cannot be read.", "Check its name, its permissions, and that it is whole."
)
NOT_A_PROOF = ErrorCode("cli.02", "This is not a proof file.", "Make one with `caremesh ledger prove`.")
NOT_HEX = ErrorCode("cli.03", "An id is hexadecimal, 64 digits.", "Copy it as printed by audit or share.")
NO_MESH = ErrorCode("cli.04", "There is no mesh in this folder.", "Make one with `caremesh wallet create`.")
NOT_A_REQUEST = ErrorCode("cli.05", "This is not a policy request.", "Start from `caremesh policy example`.")
UNKNOWN_WORD = ErrorCode("cli.12", "This word is not known.", "Choose one of those named here.")
NOT_A_DAY = ErrorCode("cli.10", "This is not a day.", "Write it as YYYY-MM-DD.")
