"""bench/_traffic.py: what is sent in benches of the ledger is of every kind in its table, sound, and taken."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path

import pytest

from caremesh.crypto import signatures

network = importlib.import_module("bench._network")
traffic = importlib.import_module("bench._traffic")
ledger = importlib.import_module("bench.ledger")

STREAMS = 25


@pytest.mark.slow
def test_every_transaction_is_signed_and_takes_effect(tmp_path: Path) -> None:
    net = network.Network()
    keys = network.populate(tmp_path / "ledger", network.CHAIN, net.genesis, net.rows(STREAMS))
    assert keys > 20 * STREAMS
    sent = traffic.Traffic(net, STREAMS)
    bench = ledger.Bench(tmp_path / "ledger", net, sent)
    batch = sent.batch(400)
    bench.commit(batch)  # raises for one that is refused
    kinds: Counter[str] = Counter()
    for signed in batch:
        read = bench.engine.machine.codec.read(signed.raw)[0]
        kinds[type(read.tx.msgs[0]).__struct_config__.tag] += 1
        assert len(signed.checks) - signed.permits == len(read.tx.signers)
        for check in signed.checks:
            signatures.verify(*check)
    documented = {line.split("``")[1] for line in (traffic.__doc__ or "").splitlines() if line.startswith("| ``")}
    assert set(kinds) == documented
    assert 1.5 < sum(len(signed.checks) for signed in batch) / len(batch) < 1.7
    for checked in sent.requests(20):
        assert bench.engine.machine.codec.decode(checked.raw).tx.msgs
    assert len(sent.consents(10)) == 10
    bench.engine.close()
