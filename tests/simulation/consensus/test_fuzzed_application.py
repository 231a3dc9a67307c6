"""Whatever comes on the application's socket: an answer of the right kind, or a refusal with a code; and what is
committed changes when Commit is answered, and never else."""

from __future__ import annotations

from pathlib import Path

import pytest

from caremesh.consensus import kept
from caremesh.consensus.cometbft.abci_pb2 import Request, RequestCommit
from caremesh.consensus.cometbft.application import LedgerApplication
from caremesh.consensus.cometbft.beginning import Beginning
from caremesh.consensus.cometbft.framing import Frames, framed
from caremesh.errors import CareMeshError
from caremesh.ledger.blocks import Validator
from caremesh.ledger.machine import Machine
from tests.support.abci_requests import AnyAbci
from tests.support.kv import CHAIN, GENESIS, MEMBER, NODE, START_S, Clock, Kv

AREAS = {"consensus", "ledger", "codec", "tx", "signatures"}
EVERY = 50
"""After so many requests a good block must still go through."""


def opened(folder: Path) -> Machine:
    return kept.open_machine(folder, Kv([MEMBER]), chain=CHAIN, genesis=GENESIS, genesis_time=START_S)


def serving(machine: Machine) -> LedgerApplication:
    return LedgerApplication(
        machine,
        Kv([MEMBER]),
        begins=Beginning(CHAIN, GENESIS, START_S, [Validator(NODE.public, 1)]),
        clock=Clock(),
    )


def ask(application: LedgerApplication, request: Request) -> bool:
    """Whether it was answered, and not refused with a code."""
    kind = request.WhichOneof("value")
    before = application.machine.head
    try:
        answer = application.answer(request)
    except CareMeshError as error:
        assert error.code.partition(".")[0] in AREAS  # noqa: PT017 - to be refused is what most of them deserve
        assert application.machine.head == before
        return False
    assert answer.WhichOneof("value") == kind
    assert framed(answer)
    assert (application.machine.head == before) == (kind != "commit")
    return True


def fuzz(folder: Path, seed: int, count: int) -> None:
    """So many requests; every failure replays from the seed."""
    machine = opened(folder)
    try:
        application, makes = serving(machine), AnyAbci(seed, machine)
        answered = 0
        for number in range(count):
            if number % 4:
                answered += ask(application, makes.request())
            else:
                try:
                    for request in Frames().feed(makes.damaged()):
                        ask(application, request)
                except CareMeshError as error:
                    assert error.code == "consensus.20"  # noqa: PT017 - most of them are refused
            if not number % EVERY:
                height = machine.head.height
                assert ask(application, makes.good_block())
                assert ask(application, Request(commit=RequestCommit()))
                assert machine.head.height == height + 1
        assert answered > count / 4
        head = machine.head
    finally:
        machine.store.close()
    again = opened(folder)
    try:
        assert again.head == head, "what was committed is read again"
        assert [block.signed.own().height for block in kept.blocks_from(again, head.height)] == [head.height]
    finally:
        again.store.close()


@pytest.mark.promise("P5")
@pytest.mark.slow
def test_no_request_gets_an_exception_out_of_a_handler(tmp_path: Path, seed: int) -> None:
    fuzz(tmp_path, seed, 1_500)


@pytest.mark.promise("P5")
@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_no_request_of_a_million_gets_an_exception_out_of_a_handler(tmp_path: Path) -> None:
    for part in range(20):
        fuzz(tmp_path / str(part), 10_000 + part, 50_000)
