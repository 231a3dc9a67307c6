"""An audit that can be checked again without asking anybody: header, proofs of all that was read, logs.

The file is for whoever has the wallet: what its streams are stays there. Each value of the ledger has its proof, each
log its custodian's signature; a log that was not to be had is missing in the file, and shown as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from caremesh import codec
from caremesh.errors import BadInput, Tampered, WrongLedger
from caremesh.ledger.blocks import BlockHeader
from caremesh.ledger.light import Answer, LightBlock, LightClient, check_answer
from caremesh.ledger.state import Reader
from caremesh.ledger.succession import is_of
from caremesh.sealing.custody import Signed
from caremesh.sealing.evidence import Proven, Recorder
from caremesh.types import Seconds
from caremesh.wallet.audit import Audit, audit
from caremesh.wallet.errors import NOT_AN_AUDIT, OTHER_CHAIN
from caremesh.wallet.logs import StreamLog, read_log
from caremesh.wallet.state import WalletState


class AuditProof(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """DAG-CBOR of this is the file. ``answers`` are at the header's height."""

    v: Literal[1] = 1
    chain: str
    block: LightBlock
    answers: list[Answer]
    logs: list[Signed]
    releases: list[Signed]


class Checked(NamedTuple):
    """What an audit comes to under a header that was verified."""

    audit: Audit
    header: BlockHeader


def prove(
    state: WalletState,
    block: LightBlock,
    query: Callable[[bytes], Answer],
    logs: Sequence[StreamLog],
    releases: Sequence[Signed] = (),
) -> AuditProof:
    """The audit of now with all that it stands on. ``query``: an answer at the block's height, proven."""
    recorder = Recorder(query)
    signed = [log.signed for log in logs if log.signed is not None]
    _audit(state, recorder, signed, releases)
    return AuditProof(
        chain=block.signed.content().chain,
        block=block,
        answers=list(recorder.answers.values()),
        logs=signed,
        releases=list(releases),
    )


def read(data: bytes) -> AuditProof:
    """An audit from a file. Raises Tampered wallet.50."""
    try:
        return codec.decode_as(data, AuditProof)
    except BadInput as error:
        raise Tampered(NOT_AN_AUDIT, error.place) from error


def check(proof: AuditProof, state: WalletState, client: LightClient, now: Seconds) -> Checked:
    """The audit as of the file's header, by this wallet's streams and the client's validators alone.

    Raises Tampered light.NN, proofs.NN, evidence.03 (a proof is missing), custody.01, custody.02 (a log that its
    custodian has not signed); WrongLedger wallet.24.
    """
    header = client.verify(proof.block, now)
    if proof.chain != header.chain or not is_of(header.chain, state.chain):
        raise WrongLedger(OTHER_CHAIN)
    reader = Proven({answer.key: check_answer(header, answer) for answer in proof.answers})
    return Checked(_audit(state, reader, proof.logs, proof.releases), header)


def _audit(state: WalletState, reader: Reader, logs: Sequence[Signed], releases: Sequence[Signed]) -> Audit:
    return audit(state, reader, [read_log(reader, signed) for signed in logs], releases)
