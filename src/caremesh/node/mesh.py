"""A mesh of five members in one process: the embedded engine at the regulator, a verifying replica at everyone else.

One operator, one trust domain: good for a demo, a pilot, a laptop, and tests. The interfaces between the members are
those that separate nodes use; each custodian decides by its own replica, which re-executes every block.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

from caremesh import codec
from caremesh.blobs.durable import write_durably
from caremesh.blobs.interface import BlockStore
from caremesh.blobs.placed import PlacedBlocks
from caremesh.client.wallet import Page
from caremesh.codec import CID
from caremesh.consensus.embedded import Embedded
from caremesh.consensus.interface import Committed
from caremesh.consensus.replica import Replica
from caremesh.contracts import Contracts, Genesis
from caremesh.contracts.identity.messages import Register
from caremesh.contracts.members.messages import Appoint
from caremesh.contracts.network import queries as network
from caremesh.contracts.network.messages import Authorities, Params
from caremesh.contracts.policy.library import shipped
from caremesh.custodian.custodian import Custodian
from caremesh.errors import BadInput, CareMeshError, Refused, StorageFailed, Unavailable
from caremesh.gateway.ask import Requester
from caremesh.ledger.blocks import Block, Validator
from caremesh.ledger.light import Answer, LightBlock, LightClient
from caremesh.ledger.transactions import Message, Signs
from caremesh.node import errors
from caremesh.node.at_desk import MemberDesk
from caremesh.node.founding import CHAIN, FILE, Clock, Founding, load
from caremesh.node.joining import REGULATIONS
from caremesh.node.member import FOUNDERS, MemberHome
from caremesh.node.relay import MemberLedger, SubjectLedger, signed_tx
from caremesh.node.running import LEDGER, SNAPSHOTS, Member
from caremesh.sealing.invitation import NO_NODE, Invitation
from caremesh.source.directory import Directory
from caremesh.source.invitations import LIFE_S
from caremesh.types import DAY_S, ConsentId, Count, Did, Height, Multikey, Seconds, StreamId
from caremesh.wallet.ports import Sponsor
from caremesh.wallet.proven import Fault

OPERATOR: Final = "regulator"
RELAY: Final = "hospital"
"""Who relays for wallets."""
THRESHOLD: Final = 2
PARAMS: Final = Params(batch_wait_s=0)
"""One subject at a time is at work on this machine: there is nobody to hide among."""
_YEAR_S: Final[Seconds] = 365 * DAY_S


class LocalMesh:
    """Five members, one process. Use as a context manager, or ``close`` it."""

    def __init__(self, folder: Path, clock: Clock = lambda: int(time.time()), params: Params = PARAMS) -> None:
        """Open, or found with ``params``. Raises Refused node.03 (in use), StorageFailed, Tampered, WrongLedger."""
        self.clock = clock
        self.folder = folder
        self.confirmations: list[bytes] = []
        self.faults: list[Fault] = []
        """What wallets had to do without: see ``wallet.ways.Ways``."""
        self.members: dict[str, Member] = {}
        self.replicas: list[Replica] = []
        with ExitStack() as opened:
            opened.enter_context(hold(folder))
            self._open(opened, params)
            self._closing = opened.pop_all()

    def __enter__(self) -> LocalMesh:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything."""
        self._closing.close()

    def member(self, name: str) -> Member:
        """One member by its short name. Raises BadInput node.04."""
        if name not in self.members:
            raise BadInput(errors.UNKNOWN_MEMBER, ", ".join(self.members))
        return self.members[name]

    def name_of(self, did: Did) -> str:
        """What people call a member, or who works there."""
        for member in self.members.values():
            if member.home.did == did:
                return member.home.profile.label
            if member.home.practitioner(CHAIN).did == did:
                return f"practitioner of {member.home.profile.label}"
        return did

    @property
    def custodians(self) -> dict[Did, Custodian]:
        """The custodians by DID."""
        return {member.home.did: member.custodian for member in self.members.values() if member.is_custodian}

    def holders(self) -> dict[Did, BlockStore]:
        """The block stores by the member that has it."""
        homes = [member.home for member in self.members.values()]
        return {home.did: home.blocks for home in homes if home.profile.holds_blocks}

    def stores(self) -> list[BlockStore]:
        """The block stores, each at a member of its own."""
        return list(self.holders().values())

    def directories(self) -> dict[Did, Directory]:
        """The directory of each member."""
        return {member.home.did: member.directory for member in self.members.values()}

    def subject_ledger(self) -> SubjectLedger:
        """The ledger for a wallet, which reads the hospital's copy."""
        return SubjectLedger(self.engine, self.members[RELAY].ledger)

    @property
    def chain(self) -> str:
        """The name of its ledger."""
        return CHAIN

    def did(self, name: str) -> Did:
        """A member by its short name or DID. Raises BadInput node.04."""
        return name if name in {member.home.did for member in self.members.values()} else self.member(name).home.did

    def light_block(self) -> LightBlock:
        """The newest signed header."""
        return self.engine.light_block()

    def query(self, key: bytes, height: Height) -> Answer:
        """A key's value with its proof. Raises BadInput ledger.11."""
        return self.engine.query(key, height)

    def deposit(self, custodian: Did, sealed: bytes) -> bytes:
        """The way of a wallet to the custodians. Raises Unavailable node.04."""
        return self._custodian(custodian).deposit_fragment(sealed)

    @property
    def relay(self) -> Did:
        """Who relays for wallets here."""
        return self.members[RELAY].home.did

    def sponsor(self, name: str = "") -> Sponsor:
        """The member that sponsors a wallet. Raises BadInput node.04."""
        return self._by_did(self.did(name or RELAY)).sponsoring

    def sponsors(self) -> list[Did]:
        """Every member, the relay first: any of them sponsors any subject."""
        return sorted((member.home.did for member in self.members.values()), key=lambda did: did != self.relay)

    def desk(self, member: str) -> MemberDesk:
        """What the people of a member do, by its short name or DID. Raises BadInput node.04."""
        at = self._by_did(self.did(member))

        def leave(relay: Did, channel_key: Multikey, sealed: bytes) -> None:
            self.leave_message(channel_key, sealed, relay, at.home.did)

        return MemberDesk(
            at,
            self,
            founding=self.founding,
            submit=self.engine.submit,
            proves=self,
            leave=leave,
            endpoint=lambda: NO_NODE,
        )

    def invite(self, member: str, patient: str, *, again: bool = False, life_s: Seconds = LIFE_S) -> Invitation:
        """An invitation by a member's front desk. Raises BadInput node.04, and what ``Invitations.invite`` raises."""
        return self.desk(member).invite(patient, life_s, again=again)

    def send_letter(self, member: Did, sealed: bytes) -> bytes:
        """The way of a wallet to a member by letter. Raises Unavailable node.04, Tampered relay.02, StorageFailed."""
        return self._by_did(member).letters(self).receive(sealed)

    def leave_message(self, channel_key: bytes, sealed: bytes, relay: Did | None, sender: Did) -> None:
        """Leave a sealed message for who has this channel key, at the relay that they named, or else at the sender's.

        Raises Unavailable node.04; Refused relay.10 to relay.13; StorageFailed.
        """
        self._by_did(relay or sender).inbox.leave(channel_key, sealed, sender)

    def messages(self, relay: Did, channel: Signs, after: str = "") -> Page:
        """What waits at a relay for who holds this channel key. Raises Unavailable node.04, StorageFailed."""
        return self._by_did(relay).inbox.waiting(channel.public, after)

    def acknowledge(self, relay: Did, channel: Signs, ids: Sequence[str]) -> Count:
        """Let the relay destroy what the wallet has kept. Raises Unavailable node.04, StorageFailed."""
        return self._by_did(relay).inbox.acknowledge(channel.public, ids)

    def deposit_reseal(self, custodian: Did, sealed: bytes) -> bytes:
        """The way of a wallet to the custodians, with a seal made anew. Raises Unavailable node.04."""
        return self._custodian(custodian).deposit_reseal(sealed)

    def blocks_of(self, stream: StreamId, source: Did, key: Signs, cids: Sequence[CID]) -> PlacedBlocks:
        """The way of a wallet to the block stores; nobody is asked for a link to what is in this process."""
        del key, cids
        wanted = network.params(self.engine.reader()).replicas
        return PlacedBlocks(stream, source, self.holders(), lambda: wanted, self._failed)

    def own_seals(self, custodian: Did, request: bytes) -> bytes:
        """The way of a wallet to the seals of its streams. Raises Unavailable node.04."""
        return self._custodian(custodian).seals(request)

    def confirm_erased(self, member: Did, stream: StreamId, segment: int) -> list[bytes]:
        """What a member confirms of an erased segment: all that it might have kept. Raises Unavailable, Refused."""
        return self._by_did(member).confirm_erased(stream, segment)

    def confirm_destroyed(self, custodian: Did, consent: ConsentId) -> bytes:
        """What a custodian confirms of a consent that is over. Raises Unavailable node.04, Refused custodian.24."""
        return self._custodian(custodian).confirm_destroyed(consent)

    def put_index(self, member: Did, data: bytes) -> None:
        """The way of a wallet to who keeps its index. Raises Unavailable node.04, Refused, Tampered, StorageFailed."""
        self._by_did(member).indexes.put(data)

    def get_index(self, member: Did, locator: bytes) -> bytes | None:
        """The version of an index that a member has, or None. Raises Unavailable node.04, Tampered, StorageFailed."""
        return self._by_did(member).indexes.get(locator)

    def own_log(self, custodian: Did, request: bytes) -> bytes:
        """The way of a wallet to what was released of its streams. Raises Unavailable node.04."""
        return self._custodian(custodian).stream_log(request)

    def light_client(self) -> LightClient:
        """A client that trusts the founding validators, and nobody else."""
        return self.founding.light_client()

    def tick(self) -> None:
        """A block of its own, so that the newest header is fresh."""
        self.engine.make_block()

    def send(self, signers: Sequence[Requester], message: Message) -> Committed:
        """One message, signed by these, the last of them a member. Raises Refused with the ledger's code."""
        return self.engine.submit(signed_tx(CHAIN, self.clock(), signers, message))

    def anchor_logs(self) -> None:
        """Every custodian with releases anchors its log's root on the ledger."""
        from caremesh.contracts.access.messages import Report

        for member in self.members.values():
            root, count = member.custodian.log_root()
            if count:
                self.send([member.home.requester], Report(root=root, count=count))

    def _open(self, opened: ExitStack, params: Params) -> None:
        folder, clock = self.folder, self.clock
        homes = {profile.name: MemberHome(folder / profile.name, CHAIN, profile) for profile in FOUNDERS}
        known = load(folder)
        self.founding = known or self._found(homes, params)
        self.snapshots = folder / OPERATOR / SNAPSHOTS
        self.engine = Embedded(
            folder / OPERATOR / LEDGER,
            Contracts(),
            chain=CHAIN,
            genesis=self.founding.genesis,
            genesis_time=self.founding.time,
            key=homes[OPERATOR].node_key,
            clock=clock,
        )
        opened.callback(self.engine.close)
        for name, home in homes.items():
            copy = self.engine if name == OPERATOR else self._follower(name, opened)
            member = Member(home, MemberLedger(self.engine, copy), clock)
            opened.callback(member.close)
            self.members[name] = member
        for custodian in self.custodians.values():
            custodian.meet(self.custodians)
        self.engine.on_block(self._follow)
        self.tick()
        if known is None:
            self._appoint()

    def _follower(self, name: str, opened: ExitStack) -> Replica:
        copy = self.founding.replica(self.folder / name / LEDGER, self.clock)
        opened.callback(copy.close)
        for block in self.engine.blocks(copy.height() + 1):
            copy.apply(block)
        self.replicas.append(copy)
        return copy

    def _failed(self, did: Did, error: CareMeshError) -> None:
        self.faults.append(Fault(did, error.code))

    def _by_did(self, did: Did) -> Member:
        for member in self.members.values():
            if member.home.did == did:
                return member
        raise Unavailable(errors.UNKNOWN_MEMBER, did)

    def _custodian(self, did: Did) -> Custodian:
        if did not in self.custodians:
            raise Unavailable(errors.UNKNOWN_MEMBER, did)
        return self.custodians[did]

    def _follow(self, block: Block) -> None:
        for replica in self.replicas:
            replica.apply(block)
        for member in self.members.values():
            self.confirmations += member.follow()
        for member in self.members.values():
            member.upkeep()

    def _found(self, homes: dict[str, MemberHome], params: Params) -> Founding:
        genesis = Genesis(
            chain=CHAIN,
            time=self.clock(),
            params=params,
            authorities=Authorities([homes[OPERATOR].did], 1),
            members=[home.admission() for home in homes.values()],
            regulations=shipped(*REGULATIONS),
        )
        founding = Founding(codec.encode(genesis), [Validator(homes[OPERATOR].node_key.public, 1)])
        write_durably(self.folder / FILE, codec.encode(founding))
        return founding

    def _appoint(self) -> None:
        """The practice registers and appoints its physician."""
        practice = self.members["practice"].home
        doctor = practice.practitioner(CHAIN)
        register = Register(did=doctor.did, key=doctor.key.public, kind="practitioner")
        appoint = Appoint(
            practitioner=doctor.did, roles=["physician"], licensed_until=(self.clock() + 2 * _YEAR_S) // DAY_S * DAY_S
        )
        for signers, message in (([doctor, practice.requester], register), ([practice.requester], appoint)):
            committed = self.send(signers, message)
            if committed.result.code:
                raise Refused(errors.BROKEN_GENESIS, committed.result.code)


def hold(folder: Path) -> IO[bytes]:
    """One process at a time. Raises Refused node.03, StorageFailed node.06."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / "lock").open("ab")
    except OSError as error:
        raise StorageFailed(errors.NOT_WRITABLE, folder.name) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise Refused(errors.IN_USE) from error
    return lock
