"""What a home knows of its network: who is a member, who orders blocks, who signed the last one, who is connected.

Members and heights are read from the node's own copy of the ledger, whether it runs or not; who signed and who is
connected is for its CometBFT to say, while it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from caremesh.consensus.comet_rpc import light_block
from caremesh.consensus.cometbft.engine import RPC_SOCKET
from caremesh.consensus.cometbft.rpc import Rpc
from caremesh.consensus.compaction import open_for_reading
from caremesh.contracts.members import queries as members
from caremesh.contracts.network import queries as network
from caremesh.errors import CareMeshError, Refused
from caremesh.ledger.past import StateAt
from caremesh.ledger.store import Head
from caremesh.node import doors, founding, joining
from caremesh.node.errors import NOT_JOINED
from caremesh.node.founding import EngineName, Founding
from caremesh.node.running import LEDGER
from caremesh.types import Code, Count, Did, Height, Multikey, Seconds

OPERATOR_POWER: Final = 1


class Standing(Struct, frozen=True):
    """One member. ``here``: whether it is that of this home. ``power``: its weight in votes on blocks, 0: it has none.

    ``signed``: whether it signed the last block that others have signed; ``connected``: whether its CometBFT is
    connected with this one. None: nobody could be asked, or no file of the network says which CometBFT is its own.
    """

    did: Did
    name: str
    roles: list[Code]
    status: str
    here: bool
    power: Count
    signed: bool | None
    connected: bool | None


class NetworkStatus(Struct, frozen=True):
    """Where this node's copy stands, and all members. ``time``: of its last block, seconds UTC, 0 before the first.

    ``upgrade``: from which block on the next version of the rules counts; ``conversion``: the last block that one key
    orders. None where that was not decided, or is over.
    ``besides``: how many are connected that no file of the network names, such as sentries and members without a vote;
    None: nobody could be asked.
    """

    chain: str
    engine: EngineName
    fingerprint: str
    height: Height
    time: Seconds
    rules: Count
    upgrade: Height | None
    conversion: Height | None
    members: list[Standing]
    besides: Count | None


def look(home: Path) -> NetworkStatus:
    """The network of a home. Raises Refused node.13, Tampered, StorageFailed, WrongLedger."""
    known = founding.load(home)
    if known is None:
        raise Refused(NOT_JOINED, home.name)
    mine = joining.load_admission(home).admit.member
    store = open_for_reading(home / LEDGER, known.chain)
    try:
        reader = StateAt(store)
        with store.read() as read:
            head = read.head() or Head(known.chain, 0, 0, b"", b"")
        powers = _powers(known, reader)
        rules, conversion = network.rules(reader), network.conversion(reader)
        signed, connected = _asked(known, home, head.height)
        named = {each.member: each.address.partition("@")[0] for each in known.reached}
        return NetworkStatus(
            chain=known.chain,
            engine=known.orders,
            fingerprint=joining.fingerprint(known),
            height=head.height,
            time=head.time,
            rules=rules.version,
            upgrade=None if rules.following is None else rules.height,
            conversion=None if conversion is None or known.orders != "embedded" else conversion.height,
            members=[
                Standing(
                    did=each.did,
                    name=each.name,
                    roles=each.roles,
                    status=each.status,
                    here=each.did == mine,
                    power=sum(powers.get(each.did, {}).values()),
                    signed=None if signed is None or each.did not in powers else bool(signed & powers[each.did].keys()),
                    connected=None if connected is None else _is_connected(each.did, mine, named, connected),
                )
                for each in members.members(reader)
            ],
            besides=None if connected is None else len(connected - set(named.values())),
        )
    finally:
        store.close()


def _is_connected(did: Did, mine: Did, named: Mapping[Did, str], connected: frozenset[str]) -> bool | None:
    if did == mine:
        return True
    return named[did] in connected if did in named else None


def _powers(known: Founding, reader: StateAt) -> dict[Did, dict[Multikey, Count]]:
    """Keys that sign blocks, with their power, by member."""
    if known.orders == "embedded":  # whoever was named to order blocks later does not do so yet
        keys = [signer.key for signer in known.validators]
        orders = [each for each in members.members(reader) if each.keys.node in keys]
        return {each.did: {each.keys.node: OPERATOR_POWER} for each in orders}
    found: dict[Did, dict[Multikey, Count]] = {}
    for validator in network.validators(reader):
        found.setdefault(validator.member, {})[validator.key] = validator.power
    return found


def _asked(known: Founding, home: Path, height: Height) -> tuple[frozenset[Multikey] | None, frozenset[str] | None]:
    """Keys that signed the last block, ids that are connected; None, None where no CometBFT answers."""
    if known.orders != "cometbft":
        return None, None
    rpc = Rpc(home / doors.RUN / RPC_SOCKET)
    try:
        signed = rpc.signed(height)
        block = light_block(signed.commit, signed.validators)
        return frozenset(each.key for each in block.signed.signatures), rpc.connected()
    except CareMeshError:
        return None, None
