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
NO_SOURCE = ErrorCode(
    "node.12", "No member that can be reached has blocks of the ledger.", "Look at the network, and at the operator."
)
NOT_JOINED = ErrorCode(
    "node.13", "This home is not part of a network yet.", "Run `caremesh init`, then `caremesh join` with its file."
)
NOT_IN_NETWORK = ErrorCode(
    "node.14",
    "The network file does not name this member with the keys of this home.",
    "Send the admission file of this home to the operator, and join with the network file that comes of it.",
)
ALREADY_THERE = ErrorCode(
    "node.15", "There is a member in this home already.", "Use it, or choose another folder with --home."
)
NOT_AN_ADMISSION = ErrorCode(
    "node.16", "This is not an admission file, or it was changed.", "Ask the member for it again."
)
NOT_A_NETWORK = ErrorCode("node.17", "This is not a network file, or it was changed.", "Ask the operator for it again.")
WRONG_PROFILE = ErrorCode(
    "node.18", "A network needs names, roles and addresses of another form.", "Look at `caremesh init --help`."
)
PORT_TAKEN = ErrorCode(
    "node.19", "Another program uses this address.", "Stop it, or choose another with `listen_port` or `admin_port`."
)
PATH_TOO_LONG = ErrorCode(
    "node.20", "The path of this home is too long for a socket in it.", "Use a home with a shorter path."
)
NO_NODE = ErrorCode("node.21", "No node runs in this home.", "Start it with `caremesh node`.")
NO_ADDRESS = ErrorCode(
    "node.22", "The ledger names no address at which this member is reached.", "Ask that member's operator."
)
BACKUP_THERE = ErrorCode(
    "node.23", "There is something in the place of the backup.", "Name a folder that is not there."
)
BACKUP_BROKEN = ErrorCode(
    "node.24", "This backup is damaged, was changed, or is not complete.", "Use another one; nothing was restored."
)
NOT_THE_OPERATOR = ErrorCode(
    "node.25",
    "This node orders the network's blocks: made anew from a backup it could order a height a second time.",
    "Move its home as it is, with the node stopped; its followers hold every block.",
)
NO_KEY_FILE = ErrorCode("node.26", "The key file is not there.", "Bring secrets.key from where you keep its copy.")
LOG_CLOSED = ErrorCode(
    "node.27",
    "This custodian was restored from a backup and does not continue the release log of this stream.",
    "Ask another custodian; the patient can choose custodians anew.",
)
NOT_READY = ErrorCode("node.28", "The node is not ready.", "Look at its log, and at `caremesh doctor`.")
NO_TRACES = ErrorCode(
    "node.29",
    "The setting traces_endpoint asks for traces, and the packages for them are not installed.",
    "Install `caremesh[otel]`, or leave the setting empty.",
)
NOBODY_ORDERS = ErrorCode(
    "node.30",
    "None of these members asks to order blocks together with the others.",
    "Let each make its home with `caremesh init --peers HOST:PORT`, or found with `--engine embedded`.",
)
NO_COMETBFT = ErrorCode(
    "node.31",
    "The network's blocks are ordered by CometBFT, and the program is not there.",
    "Install it, and name it in the setting `cometbft_program`; docs/how-to/run-a-node.md tells how.",
)
LATER_CHAIN = ErrorCode(
    "node.35",
    "This is of the chain that the network went over to, and nothing here leads to that.",
    "Let the wallet ask the network once, as with `caremesh wallet audit`; a node's home: `caremesh join` once more.",
)
NO_CROSSING = ErrorCode(
    "node.34",
    "Members' nodes say that the network went over to another chain, and none of them proves it.",
    "Look at this machine's clock, ask those members' operators, and join again.",
)
NO_VALIDATOR = ErrorCode(
    "node.32",
    "This member orders no blocks.",
    "Ask the authorities of the network to name it: `caremesh network status` shows who orders blocks.",
)
