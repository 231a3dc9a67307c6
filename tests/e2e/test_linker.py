"""The whole ledger in the hands of a linker who knows the truth: what ties two streams of one person together?

Everybody here shares the same kinds of records on the same terms, as from a template. Compared is every field of every
message and of its transaction, against the same ledger with its streams dealt out to people anew, kind by kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from caremesh.contracts.network.messages import Params
from caremesh.gateway.visit import Purpose
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from caremesh.types import StreamId
from caremesh.wallet import state as states
from tests.support import linker
from tests.support.case import BASIS, Case

pytestmark = [pytest.mark.slow, pytest.mark.promise("P1")]

PEOPLE: Final = 12
CATEGORIES: Final = ("conditions", "demographics")
DEALS: Final = 100
MARGIN: Final = 0.12
"""Beyond the best of so many deals: the standard error of an area over twelve pairs is 0.08."""
AT_ONCE: Final = frozenset({"access/request", "access/close", "consent/revoke"})
"""What opens or ends a visit, and revocations, go at once: their time ties the streams concerned, as documented."""


class Life:
    """Twelve people: imported, shared, visited one after the other, some of it taken back."""

    def __init__(self, folder: Path, days: Callable[[int], int]) -> None:
        mesh = LocalMesh(folder / "mesh", SettableClock(), Params(batch_min=PEOPLE, batch_wait_s=30))
        try:
            cases = [Case(mesh, folder) for _ in range(PEOPLE)]
            with ThreadPoolExecutor(PEOPLE) as pool:  # each waits for the others: that is what a batch is
                list(pool.map(lambda case: case.add(1, 2), cases))
                shared = list(
                    pool.map(lambda row: row[1].share(categories=CATEGORIES, days=days(row[0])), enumerate(cases))
                )
            practice = mesh.member("practice")
            gateway = practice.gateway(mesh)
            session = gateway.sign_in(cases[0].doctor)
            for case, share in zip(cases, shared, strict=True):
                gateway.receive_share(share.message)
                key = states.keys_of(case.wallet.state, practice.home.did).channel().signing.public
                with gateway.visit(key, Purpose("TREAT", BASIS), session) as visit:
                    visit.open()
                    mesh.clock.advance(7)  # type: ignore[attr-defined]
                mesh.tick()
            for case, share in list(zip(cases, shared, strict=True))[::2]:
                case.person.revoke(share.record.id)
            self.values, self.times = linker.fields(mesh.engine.blocks(1), mesh.engine.reader())
            self.person = {
                found.stream.id: number
                for number, case in enumerate(cases)
                for found in states.streams(case.wallet.state)
                if found.stream.category in CATEGORIES
            }
            self.category = {
                found.stream.id: found.stream.category
                for case in cases
                for found in states.streams(case.wallet.state)
                if found.stream.id in self.person
            }
        finally:
            mesh.close()

    def deal(self, seed: int) -> dict[StreamId, int]:
        """Everybody gets one stream of each kind, another's."""
        dealt: dict[StreamId, int] = {}
        for number, category in enumerate(CATEGORIES):
            mine = {stream: self.person[stream] for stream in self.person if self.category[stream] == category}
            dealt |= linker.shuffled(mine, seed * len(CATEGORIES) + number)
        return dealt

    def linking(self) -> dict[str, tuple[float, float]]:
        """Field → (how well it links, how well it links streams dealt anew), for those that do more than guess."""
        found = {}
        compared: list[tuple[linker.Fields, Callable[[Mapping[StreamId, Sequence[Any]], Sequence[StreamId]], Any]]] = [
            (self.values, linker.by_value),
            (self.times, linker.by_nearness),
        ]
        for fields, score in compared:
            for name, seen in fields.items():
                scores = score(seen, list(self.person))
                real = linker.linked(scores, self.person)
                dealt = max(linker.linked(scores, self.deal(seed)) for seed in range(DEALS))
                if real > min(0.99, dealt + MARGIN):
                    found[name] = (real, dealt)
        return found


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    return Life(tmp_path_factory.mktemp("linker"), lambda _: 30)  # type: ignore[return-value]


def test_no_field_links_two_streams_and_time_only_what_goes_at_once(life: Life) -> None:
    kinds = {name.split()[0] for name in life.values}
    assert kinds >= {"records/register", "consent/grant", *AT_ONCE}
    assert len(life.values) > 45
    found = life.linking()
    by_time = {f"{kind} {what}" for kind in AT_ONCE for what in ("height", "time", "place")}
    by_time |= {f"{kind} tx.expires_at" for kind in AT_ONCE}
    assert set(found) - by_time == set()


def test_the_time_of_what_waits_for_company_says_nothing(life: Life) -> None:
    for kind in ("records/register", "consent/grant"):
        for what in ("height", "time"):
            scores = linker.by_nearness(life.times[f"{kind} {what}"], list(life.person))
            assert linker.linked(scores, life.person) == 0.5, "they are all in one block"


def test_the_time_of_a_visit_links_and_how_well_is_known(life: Life) -> None:
    """One visit after the other, nobody else at the same time: linking is certain. That limit is documented."""
    scores = linker.by_nearness(life.times["access/request height"], list(life.person))
    assert linker.linked(scores, life.person) > 0.99


def test_terms_like_nobody_elses_link_and_no_other_field_does(tmp_path: Path) -> None:
    """Everybody shares for another number of days: the end of a consent then ties the streams of one act together."""
    found = Life(tmp_path, lambda number: 30 + number).linking()
    assert {name for name in found if name.split()[0] not in AT_ONCE} == {"consent/grant until"}


def test_the_linker_is_not_blind(life: Life) -> None:
    """A field that does tie the streams of a person together is seen."""
    told = {stream: [number] for stream, number in life.person.items()}
    assert linker.linked(linker.by_value(told, list(life.person)), life.person) == 1.0
    assert linker.area([2.0, 1.0], [1.0, 0.0]) == 0.875
    nothing: dict[StreamId, list[int]] = {}
    assert linker.linked(linker.by_nearness(nothing, list(life.person)), life.person) == 0.5
