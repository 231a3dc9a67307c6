"""What the authorities of a network decide together: one file that goes from one to the other until enough have signed.

    DecisionFile = { tx, signatures: [signature | null, …], papers: [admission file, …] }

``tx`` is the transaction itself, of one message, which names its signers: what is signed is what the ledger gets. Who
reads such a file checks all of it against the ledger of their own node, and tries whether the ledger would take it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Annotated, Final, NamedTuple

from msgspec import Meta, Struct
from msgspec.structs import replace

from caremesh import codec
from caremesh.consensus.interface import Committed
from caremesh.consensus.refusals import refusal
from caremesh.contracts import Contracts
from caremesh.contracts.identity import queries as identities
from caremesh.contracts.members import queries as members
from caremesh.contracts.members.messages import Suspend
from caremesh.contracts.network import queries as network
from caremesh.contracts.network.messages import Authorities
from caremesh.crypto import signatures
from caremesh.errors import BadInput, ErrorCode, Refused, Tampered, WrongLedger
from caremesh.gateway.ask import Requester
from caremesh.ledger.application import Context
from caremesh.ledger.state import Reader, View
from caremesh.ledger.succession import chain_of
from caremesh.ledger.transactions import MAX_SIGNERS, SIGNING_DOMAIN, Signer, Tx, assemble, encode, tx_id
from caremesh.node.joining import Admission, read_admission
from caremesh.node.proposals import Kind, Wanted, is_backed, member_named, message, name_of, told
from caremesh.types import Did, Height, Seconds, Signature

MARGIN_S: Final[Seconds] = 30
"""By which clocks may differ, and a header be older than the clock: a decision lives so much shorter than it might."""
PLACE: Final = "decision"

NOT_A_DECISION = ErrorCode(
    "decision.03", "This is not a decision file, or it was changed.", "Ask for it again, or propose anew."
)
OTHER_NETWORK = ErrorCode("decision.04", "This decision is for another network.", "Ask for that of this network.")
EXPIRED = ErrorCode(
    "decision.05", "The time to sign this is over.", "Propose it anew, and sign while on the telephone."
)
TOO_LONG_AHEAD = ErrorCode(
    "decision.06",
    "This could be carried out later than the network allows.",
    "Look at this node's clock; propose anew.",
)
NOT_AN_AUTHORITY = ErrorCode(
    "decision.07",
    "Who is named here as a signer is no authority of the network now, or under another key.",
    "Propose it with others.",
)
WRONG_SIGNATURE = ErrorCode(
    "decision.08", "A signature in this file is not that of the signer it is for.", "Ask for the file again."
)
NO_PAPER = ErrorCode(
    "decision.09",
    "This names a key, and nothing shows that its holder wants this.",
    "Propose it anew, with that member's admission file.",
)
NOT_A_SIGNER = ErrorCode(
    "decision.10", "This member is not among those who sign this.", "Propose it anew, with this member among them."
)
NOT_COMPLETE = ErrorCode("decision.11", "Not all who are named have signed.", "Let them sign, or propose it anew.")
TWO_DECISIONS = ErrorCode("decision.12", "These files are not copies of one decision.", "Give copies of one.")
TOO_FEW = ErrorCode(
    "decision.13", "These are too few to decide, or more than can sign one decision.", "Name as many as the quorum."
)


class DecisionFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """DAG-CBOR of this is the file. ``signatures``: a place for each signer, in the order of the transaction."""

    tx: Annotated[bytes, Meta(max_length=2**20)]
    signatures: Annotated[list[Signature | None], Meta(min_length=1, max_length=MAX_SIGNERS)]
    papers: Annotated[list[Annotated[bytes, Meta(max_length=2**16)]], Meta(max_length=100)]


class Proposal(Struct, frozen=True):
    """What is wanted, and who is to sign besides the proposer, by name or DID; nobody named: as many as it takes."""

    wanted: Wanted
    others: list[str]


class Signatory(Struct, frozen=True):
    """One who is to sign."""

    did: Did
    name: str
    signed: bool


class Decision(Struct, frozen=True):
    """A decision as people are told of it. ``file``: the decision file; ``id``: of its transaction, in base32;
    ``says``: what is decided, a line each; ``height``: of the block that it took effect in, None before.
    """

    file: bytes
    id: str
    says: list[str]
    expires_at: Seconds
    signers: list[Signatory]
    height: Height | None = None

    @property
    def missing(self) -> list[str]:
        """Names of those who have not signed."""
        return [each.name for each in self.signers if not each.signed]


class Sight(NamedTuple):
    """What a decision is judged by: a node's copy of the ledger, where that stands, and the time, seconds UTC."""

    chain: str
    reader: Reader
    height: Height
    now: Seconds


def drawn_up(proposal: Proposal, by: Requester, at: Sight) -> Decision:
    """A decision that its proposer, an authority, has signed: its sponsor, too.

    Raises Refused decision.01, .02, .07, .13, and what the ledger would refuse it for; BadInput codec.03; Tampered
    node.16.
    """
    wanted, papers = message(proposal.wanted, at.reader, at.now)
    ttl = network.params(at.reader).tx_ttl_s
    signers = [*_others(proposal.others, wanted, by.did, at), by.did]
    tx = Tx(
        chain=chain_of(at.reader, at.chain),
        expires_at=at.now + ttl - MARGIN_S,
        salt=os.urandom(8),
        signers=[Signer(key=_key(at.reader, did), did=did) for did in signers],
        msgs=[wanted],
    )
    file = DecisionFile(tx=encode(tx), signatures=[None] * len(signers), papers=papers)
    return signed(codec.encode(file), by, at)


def read(data: bytes, at: Sight, place: str = PLACE) -> tuple[DecisionFile, Tx[Kind]]:
    """The decision in a file, all of it checked; a place is missing a signature or has one that verifies.

    Raises Tampered decision.03, decision.08; WrongLedger decision.04; Refused decision.05, .06, .07, .09, .13, and
    what the ledger would refuse it for.
    """
    file, tx = _parsed(data, place)
    if tx.chain != chain_of(at.reader, at.chain):
        raise WrongLedger(OTHER_NETWORK, place)
    _check_signatures(file, tx, at.reader, place)
    if tx.expires_at < at.now:
        raise Refused(EXPIRED, place)
    if tx.expires_at > at.now + network.params(at.reader).tx_ttl_s:
        raise Refused(TOO_LONG_AHEAD, place)
    _check_signers(tx, at.reader)
    papers = [read_admission(paper, f"{place}, paper {number}") for number, paper in enumerate(file.papers, 1)]
    if not _is_of(papers, at.chain) or not is_backed(tx.msgs[0], papers, at.reader):
        raise Refused(NO_PAPER, place)
    _try(file, tx, at)
    return file, tx


def shown(data: bytes, at: Sight) -> Decision:
    """What a file decides. Raises what ``read`` does."""
    return _told(*read(data, at), at.reader)


def signed(data: bytes, by: Requester, at: Sight) -> Decision:
    """The decision with this signature, too; again is no error. Raises Refused decision.10, and what ``read`` does."""
    file, tx = read(data, at)
    for number, signer in enumerate(tx.signers):
        if signer.did == by.did:
            made = list(file.signatures)
            made[number] = by.key.sign(SIGNING_DOMAIN + file.tx)
            return _told(replace(file, signatures=made), tx, at.reader)
    raise Refused(NOT_A_SIGNER, by.did)


def merged(copies: Sequence[bytes], at: Sight) -> Decision:
    """Copies of one decision that were signed apart, as one. Raises BadInput decision.12, and what ``read`` does."""
    read_copies = [read(data, at, f"file {number}") for number, data in enumerate(copies, 1)]
    file, tx = read_copies[0]
    if any(other.tx != file.tx for other, _ in read_copies):
        raise BadInput(TWO_DECISIONS, f"{len(copies)} files")
    together = [
        next((given for given in places if given is not None), None)
        for places in zip(*(other.signatures for other, _ in read_copies), strict=True)
    ]
    return _told(replace(file, signatures=together), tx, at.reader)


def carried_out(decision: Decision, submit: Callable[[bytes], Committed]) -> Decision:
    """Hand a complete decision to the ledger, and say in which block it took effect.

    Raises Refused decision.11 with who has not signed, and with the ledger's code where that refuses; Unavailable.
    """
    if decision.missing:
        raise Refused(NOT_COMPLETE, ", ".join(decision.missing))
    file = codec.decode_as(decision.file, DecisionFile)
    done = submit(assemble(file.tx, [each for each in file.signatures if each is not None]))
    if done.code:
        raise refusal(done)
    return replace(decision, height=done.height)


def _parsed(data: bytes, place: str) -> tuple[DecisionFile, Tx[Kind]]:
    try:
        file = codec.decode_as(data, DecisionFile)
        tx = codec.decode_as(file.tx, Tx[Kind])
    except BadInput as error:
        raise Tampered(NOT_A_DECISION, place) from error
    keys = {signer.key for signer in tx.signers}
    if len(tx.msgs) != 1 or not len(file.signatures) == len(tx.signers) == len(keys):
        raise Tampered(NOT_A_DECISION, place)
    return file, tx


def _check_signatures(file: DecisionFile, tx: Tx[Kind], reader: Reader, place: str) -> None:
    for signer, signature in zip(tx.signers, file.signatures, strict=True):
        if signature is not None:
            try:
                signatures.verify(signer.key, SIGNING_DOMAIN + file.tx, signature)
            except Tampered as error:
                raise Tampered(WRONG_SIGNATURE, f"{place}, {name_of(reader, signer.did or '')}") from error


def _check_signers(tx: Tx[Kind], reader: Reader) -> None:
    """Each is an authority that may act now, under its current key; they are enough."""
    able = _able(reader)
    for signer in tx.signers:
        did = signer.did or ""
        if did not in able or not identities.is_current_key(reader, did, signer.key):
            raise Refused(NOT_AN_AUTHORITY, name_of(reader, did))
    if len({signer.did for signer in tx.signers}) < _authorities(reader).quorum:
        raise Refused(TOO_FEW, str(len(tx.signers)))


def _try(file: DecisionFile, tx: Tx[Kind], at: Sight) -> None:
    """Whether the ledger would take it, if all signed: on a view that is let go of. Raises Refused with its code."""
    sponsor = tx.signers[-1].did or ""
    Contracts().handle(
        Context(
            chain=at.chain,
            height=at.height + 1,
            time=at.now,
            tx_id=bytes(tx_id(file.tx)),
            signers=tx.signers,
            sponsor=sponsor,
            alone=True,
            state=View(at.reader),
            events=[],
        ),
        tx.msgs[0],
    )


def _others(words: Sequence[str], wanted: Kind, proposer: Did, at: Sight) -> list[Did]:
    """Who signs besides the proposer: who is named, else authorities in their order up to the quorum, but not whom it
    is about. Whether they are authorities, and enough, is checked as in any decision.
    """
    if words:
        found = [member_named(at.reader, word, f"--with {number}").did for number, word in enumerate(words, 1)]
        found = list(dict.fromkeys(did for did in found if did != proposer))
    else:
        about = wanted.member if isinstance(wanted, Suspend) else None
        found = [did for did in _able(at.reader) if did not in (proposer, about)][: _authorities(at.reader).quorum - 1]
    if len(found) + 1 > MAX_SIGNERS:
        raise Refused(TOO_FEW, str(len(found) + 1))
    return found


def _able(reader: Reader) -> list[Did]:
    """The authorities that may act now, in their order."""
    return [did for did in _authorities(reader).dids if members.is_active(reader, did)]


def _authorities(reader: Reader) -> Authorities:
    return network.authorities(reader) or Authorities([], 1)


def _key(reader: Reader, did: Did) -> bytes:
    known = identities.identity(reader, did)
    return b"" if known is None else known.key


def _is_of(papers: Sequence[Admission], chain: str) -> bool:
    return all(paper.chain == chain for paper in papers)


def _told(file: DecisionFile, tx: Tx[Kind], reader: Reader) -> Decision:
    return Decision(
        file=codec.encode(file),
        id=tx_id(file.tx).encode(),
        says=[_on_one_line(line) for line in told(tx.msgs[0], reader)],
        expires_at=tx.expires_at,
        signers=[
            Signatory(signer.did or "", _on_one_line(name_of(reader, signer.did or "")), signature is not None)
            for signer, signature in zip(tx.signers, file.signatures, strict=True)
        ],
    )


def _on_one_line(text: str) -> str:
    """Names and reasons are others' words: none of them looks like a line of ours, or moves the cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
