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
UNKNOWN_STREAM = ErrorCode("wallet.11", "This wallet has no such stream.", "List the streams of this wallet.")
UNKNOWN_SHARE = ErrorCode("wallet.12", "This wallet has no such share.", "List the shares of this wallet.")
UNKNOWN_MEMBER = ErrorCode("wallet.13", "The ledger knows no such member.", "Check the member's DID.")
MEMBER_INACTIVE = ErrorCode("wallet.14", "This member is suspended or has left.", "Choose another member.")
UNKNOWN_TEMPLATE = ErrorCode("wallet.15", "There is no such template.", "Choose one of those named here.")
BAD_CATEGORIES = ErrorCode("wallet.16", "Name at least one category, each once.", "Choose categories.")
NOT_WHOLE_DAYS = ErrorCode("wallet.17", "A period is of whole days, and not empty.", "Round to midnight UTC.")
BAD_THRESHOLD = ErrorCode("wallet.18", "At least 1 and at most all custodians must agree.", "Choose another number.")
NOTHING_GRANTED = ErrorCode("wallet.19", "A share names streams, purposes and actions, each once.", "Choose some.")
GRANTEE_IS_CUSTODIAN = ErrorCode(
    "wallet.20", "This member is a custodian of a stream that you share.", "Choose another, or other custodians first."
)
NOT_OPEN = ErrorCode("wallet.21", "This stream has no write permit that is known here.", "Enrol with its member again.")
NOT_ACKNOWLEDGED = ErrorCode(
    "wallet.22", "Too few custodians have acknowledged; nothing was granted.", "Share again when they can be reached."
)
OTHER_ACKNOWLEDGEMENT = ErrorCode("wallet.23", "A custodian acknowledges something else.", "Share again; tell it.")
OTHER_CHAIN = ErrorCode("wallet.24", "This wallet belongs to another ledger.", "Name the folder of its ledger.")
FOREIGN_KEYS = ErrorCode(
    "wallet.25", "The ledger has other keys for this stream than this wallet.", "Restore the wallet from its phrase."
)
WRONG_CONFIRMATION = ErrorCode(
    "wallet.26", "A custodian confirms something else than the destruction asked about.", "Ask it again; keep this."
)
NOTHING_THERE = ErrorCode(
    "wallet.27", "There are no records in this stream yet.", "Share future records too, or leave out the stream."
)
OWN_SEAL = ErrorCode(
    "wallet.28", "A custodian handed out a descriptor or a seal that is not the ledger's.", "Ask another custodian."
)
NO_OWN_SEAL = ErrorCode("wallet.29", "No custodian handed out the seal of this segment.", "Ask again later.")
OTHER_ANSWER = ErrorCode("wallet.30", "A custodian answered another request.", "Ask again; keep its answer.")
KIND_NOT_ALLOWED = ErrorCode(
    "wallet.31",
    "The law on this kind of records does not let them be shared in this way.",
    "Say yes expressly, choose another purpose, or leave this kind out.",
)
NOTHING_TO_CHANGE = ErrorCode("wallet.32", "This share is so already, or is over.", "Look at it with `wallet shares`.")
NO_SUCH_SEGMENT = ErrorCode(
    "wallet.33", "There is no such segment, or it is erased.", "List the segments of the stream."
)
NOT_MY_INQUIRY = ErrorCode(
    "wallet.34", "The words of this request are not those that its member put on the ledger.", "Do not answer it."
)
UNKNOWN_OFFER = ErrorCode("wallet.35", "There is no such request to this wallet.", "List them: `wallet requests`.")
OFFER_ANSWERED = ErrorCode("wallet.36", "This request was answered, or has expired.", "Wait to be asked again.")
NOT_BEGUN = ErrorCode("wallet.37", "Nothing was written to this stream or granted of it yet.", "It needs no new key.")
NO_SUCH_RECORD = ErrorCode("wallet.38", "This segment has no such record.", "List the records of the segment.")
NOTHING_LEFT = ErrorCode("wallet.39", "No record would be left in this segment.", "Erase the segment.")
INDEX_TOO_LARGE = ErrorCode("wallet.40", "This wallet's index is too large to be kept by members.", "Keep its file.")
INDEX_OLDER = ErrorCode("wallet.41", "This copy of a wallet's index is not the newest.", "Use the newest.")
INDEX_CHANGED = ErrorCode("wallet.42", "This copy of a wallet's index was changed.", "Use another member's.")
NOT_AN_AUDIT = ErrorCode("wallet.50", "This file is not a saved audit.", "Save one: `wallet audit --save`.")
NOT_MY_ACCESS = ErrorCode(
    "wallet.51", "The ledger knows no such access to this wallet's records.", "List them: `wallet audit`."
)
NOT_MY_DISPUTE = ErrorCode("wallet.52", "This access was not disputed, or not answered yet.", "Wait until it is due.")
NOT_THE_NETWORK = ErrorCode(
    "wallet.63", "This is not the network that the invitation names.", "Ask the front desk for a new invitation."
)
NO_FRONT_DESK = ErrorCode("wallet.64", "Members invite at their own front desks.", "Ask for an invitation.")
NO_SUCH_STREAM = ErrorCode(
    "wallet.67", "This wallet has no stream of this category.", "Let a member write it first: `wallet join`."
)
SEVERAL_SOURCES = ErrorCode("wallet.68", "Several members write this category.", "Say which one is meant: `--from`.")
NO_SUCH_NODE = ErrorCode(
    "wallet.66", "No founding member has its node at this address.", "Name the member, or use an invitation's link."
)
NO_NETWORK = ErrorCode(
    "wallet.81", "This wallet has joined no network.", "Join one with an invitation: `caremesh wallet join`."
)
