"""One running member of a network: what its roles are made of. How it reaches others is for ``Ways`` to say.

The same for a member of a mesh in one process and for one on a machine of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from weakref import WeakSet

from caremesh.blobs.accounts import Accounts
from caremesh.blobs.holding import QUOTA_BYTES, Holder, wallets
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.messages import Report
from caremesh.custodian.custodian import Custodian
from caremesh.custodian.log import ReleaseLog
from caremesh.gateway.directories import Directories
from caremesh.gateway.gateway import Gateway
from caremesh.gateway.gather import PATIENCE_S, ReleaseCustodian
from caremesh.ledger.succession import chain_of
from caremesh.node.forgetting import Forgetting
from caremesh.node.founding import Clock
from caremesh.node.inbox import Inbox
from caremesh.node.index_keeper import IndexKeeper
from caremesh.node.letters import Letters
from caremesh.node.member import MemberHome
from caremesh.node.relay import MemberLedger, signed_tx
from caremesh.node.restored import RestoredLog
from caremesh.node.sponsoring import Sponsoring
from caremesh.node.upkeep import Upkeep
from caremesh.node.ways import Ways
from caremesh.sealing.channel import Share
from caremesh.settings import Settings
from caremesh.source.directory import Directory
from caremesh.source.importer import Source
from caremesh.source.index import SourceIndex
from caremesh.source.invitations import Invitations
from caremesh.source.survey import Check, valid_r4
from caremesh.types import Count, Did, ReceiptId, Seconds, StreamId

LEDGER: Final = "ledger"
SNAPSHOTS: Final = "snapshots"
MAX_CONFIRMATIONS: Final = 10_000


class Member:
    """A running member: its roles over its home and its copy of the ledger. Close it."""

    def __init__(self, home: MemberHome, ledger: MemberLedger, clock: Clock, settings: Settings | None = None) -> None:
        """``ledger``: its copy is in the home's folder. ``settings``: what others may keep here.

        Raises StorageFailed, Tampered.
        """
        self.home = home
        self.ledger = ledger
        self._clock = clock
        self.confirmations: list[bytes] = []
        """What it has let go of, as it said under signature; the newest last."""
        self.confirmed = 0
        """How many there have been since it began."""
        self._gateways: WeakSet[Gateway] = WeakSet()
        self._upkeep = Upkeep(ledger.copy, home.folder / LEDGER, home.folder / SNAPSHOTS)
        self.log: ReleaseLog = RestoredLog(home.folder, ledger.reader)
        self.directory = Directory(home.folder / "directory", home.did, home.node_key.public)
        self.custodian = Custodian(
            did=home.did,
            key=home.node_key,
            hpke_private=home.hpke_private,
            vault=home.vault,
            log=self.log,
            ledger=ledger.copy,
            clock=clock,
        )
        self.holder = Holder(
            did=home.did,
            store=home.blocks,
            accounts=Accounts(home.folder / "accounts"),
            ledger=ledger.copy,
            clock=clock,
            quota_bytes=QUOTA_BYTES if settings is None else settings.blocks_quota_bytes,
            quotas={} if settings is None else {wallets(home.did): settings.blocks_wallets_quota_bytes},
        )
        self.indexes = IndexKeeper(home.vault)
        self.inbox = Inbox(home.vault, clock)
        self.invitations = Invitations(home.chain, home.did, home.hpke_private, home.vault, clock)
        self.sponsoring = Sponsoring(home.did, home.key, ledger.reader, clock)
        self.forgetting = Forgetting(
            folder=home.folder / "holdings",
            did=home.did,
            key=home.node_key,
            blocks=self.holder.of(home.did) if home.profile.holds_blocks else None,
            index=SourceIndex(home.vault),
            ledger=ledger.copy,
            clock=clock,
        )

    @property
    def is_custodian(self) -> bool:
        """Whether it is one."""
        return "custodian" in self.home.profile.roles

    def follow(self) -> list[bytes]:
        """After a block: let go of what the ledger has ended; what was confirmed of that. Raises StorageFailed."""
        said = self.custodian.follow() if self.is_custodian else []
        for gateway in list(self._gateways):
            gateway.follow()
        said += self.forgetting.follow()
        self.confirmed += len(said)
        self.confirmations += said
        del self.confirmations[:-MAX_CONFIRMATIONS]
        return said

    def confirm_erased(self, stream: StreamId, segment: Count) -> list[bytes]:
        """What this member confirms of an erased segment: all that it might have kept. Raises Refused custodian.23."""
        seals = [self.custodian.confirm_erased(stream, segment)] if self.is_custodian else []
        return seals + self.forgetting.confirm_erased(stream, segment)

    def upkeep(self) -> None:
        """After a block, by the thread that made it: see ``Upkeep``. Raises StorageFailed."""
        self._upkeep.after(self.ledger.copy.machine.head.height)

    def report(self) -> bytes | None:
        """The transaction that anchors the root of the release log, when there is something new in it.

        Raises StorageFailed.
        """
        root, count = self.custodian.log_root()
        known = access.anchor(self.ledger.reader(), self.home.did)
        if not count or (known is not None and known.root == root):
            return None
        chain = chain_of(self.ledger.reader(), self.home.chain)
        return signed_tx(chain, self._clock(), [self.home.requester], Report(root=root, count=count))

    def close(self) -> None:
        """Let go of everything but the copy of the ledger."""
        self.ledger.outbox.close()
        self.directory.close()
        self.holder.accounts.close()
        self.forgetting.close()
        self.log.close()

    def source(self, ways: Ways, check: Check = valid_r4) -> Source:
        """The member as a source of records. ``check``: FHIR validation, see ``node/profiles.py``."""
        return Source(
            chain=self.home.chain,
            did=self.home.did,
            key=self.home.key,
            node_key=self.home.node_key,
            hpke_private=self.home.hpke_private,
            vault=self.home.vault,
            stores=ways.holders(),
            custodians=ways.custodians,
            ledger=self.ledger,
            directory=self.directory,
            check=check,
            clock=ways.clock,
        )

    def letters(self, ways: Ways) -> Letters:
        """Where letters to this member are opened."""
        return Letters(self.home.did, self.home.hpke_private, _Hearing(self, ways))

    def directories(self, ways: Ways) -> Directories:
        """The directories of the members of the mesh, as this one sees them."""
        return Directories(ways.directories(), self.ledger, ways.clock)

    def gateway(
        self,
        ways: Ways,
        custodians: Mapping[Did, ReleaseCustodian] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> Gateway:
        """The member as a recipient. ``custodians``: the way to each; those of the mesh when not given.

        ``patience_s``: see ``Gateway``.
        """
        made = Gateway(
            chain=self.home.chain,
            member=self.home.requester,
            node_key=self.home.node_key,
            hpke_private=self.home.hpke_private,
            receiving=self.home.receiving,
            vault=self.home.vault,
            stores=ways.stores(),
            custodians=ways.custodians if custodians is None else custodians,
            ledger=self.ledger,
            clock=ways.clock,
            patience_s=patience_s,
        )
        self._gateways.add(made)
        return made


class _Hearing:
    """What a member does with letters: see ``letters.Hears``."""

    def __init__(self, member: Member, ways: Ways) -> None:
        self._member = member
        self._ways = ways

    def claim(self, data: bytes) -> str:
        return self._member.invitations.claim(data)

    def renew_profile(self, sealed_profile: bytes) -> None:
        self._member.source(self._ways).renew_profile(sealed_profile)

    def receive_share(self, sealed: bytes) -> Share:
        return self._member.gateway(self._ways).receive_share(sealed)

    def hear_dispute(self, receipt: ReceiptId, sealed: bytes) -> Seconds:
        return self._member.gateway(self._ways).hear_dispute(receipt, sealed).dispute.due
