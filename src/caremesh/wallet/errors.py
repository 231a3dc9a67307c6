"""What can go wrong in a wallet. Places are positions, ids and DIDs of members; never a category, never a key."""

from caremesh.errors import ErrorCode

WORD_COUNT = ErrorCode("wallet.01", "A recovery phrase has 24 words.", "Type all of them, in their order.")
MISSPELT = ErrorCode("wallet.02", "Not a word of a recovery phrase.", "Correct it as written on your paper.")
CHECKSUM = ErrorCode(
    "wallet.03",
    "All words exist, but together they are not a recovery phrase.",
    "Compare each with your paper: one is another word, or two changed places.",
)
BAD_SEED = ErrorCode("wallet.04", "A wallet's seed is 32 bytes.")
NOT_A_WALLET = ErrorCode(
    "wallet.05",
    "This is not a wallet file, or it was damaged.",
    "Use your backup of the file, or restore from the recovery phrase.",
)
UNKNOWN_VERSION = ErrorCode("wallet.06", "This wallet file is of a newer version.", "Use a newer caremesh.")
NOT_READABLE = ErrorCode("wallet.07", "The wallet file cannot be read.", "Check its name and its permissions.")
EXISTS = ErrorCode("wallet.08", "There is a wallet here already; it was left alone.", "Choose another file.")
IN_USE = ErrorCode("wallet.09", "Another command has this wallet open.", "Run this again when the other is done.")
BAD_COUNTER = ErrorCode("wallet.10", "Counters, rotations and epochs are whole numbers from 0 to 4,294,967,295.")
