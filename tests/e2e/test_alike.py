"""Unknown, not consented, withheld: one and the same answer. A thousand trials with a fixed seed.

Compared is what a clinician gets: code and sentence, the number of records, the size in bytes, and the work that the
answer took, counted in calls of functions, which is what time is made of and is the same on every machine. The time
itself is not compared: it differs from run to run by more than there is to find. How long it takes to *begin* a visit
depends on how many consents the member ever had of this patient, which it can read on the ledger.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from caremesh.errors import CareMeshError
from caremesh.gateway.ask import Asked
from caremesh.gateway.gateway import Gateway
from caremesh.gateway.visit import Purpose, Visit
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from caremesh.wallet import state as states
from tests.support.case import BASIS, Case
from tests.support.linker import area

pytestmark = [pytest.mark.slow, pytest.mark.promise("P1")]

TRIALS: Final = 1_000
SEED: Final = 20_261
MOST: Final = 0.55
SITUATIONS: Final = ("unknown", "not consented", "withheld")
PATIENTS: Final = 2
TREAT: Final = Purpose("TREAT", BASIS)
PROBED: Final = "imaging"


class Seen:
    """A patient in one situation, as the practice sees them. Everybody shares two conditions."""

    def __init__(self, mesh: LocalMesh, folder: Path, situation: str) -> None:
        self.case = Case(mesh, folder)
        self.case.add(1, 2)
        if situation != "unknown":
            self.case.bring([self._study()])
        self.gateway: Gateway = mesh.member("practice").gateway(mesh)
        shared = self.case.share(future=False)
        self.gateway.receive_share(shared.message)
        if situation == "withheld":
            taken_back = self.case.share(categories=[PROBED])
            self.gateway.receive_share(taken_back.message)
            self.case.person.revoke(taken_back.record.id)
            self.case.add(3, 4)  # more than what is there was not shared
        self.key = states.keys_of(self.case.wallet.state, self.case.did("practice")).channel().signing.public
        other = self.case.person.terms("laboratory" if situation == "unknown" else "hospital", ["conditions"], days=3)
        self.others = self.case.person.grant(other).record.items[0].consent if situation == "withheld" else bytes(32)
        self.visit: Visit = self.gateway.visit(self.key, TREAT, self.case.doctor)
        self.visit.open()

    def _study(self) -> dict[str, Any]:
        return {
            "resourceType": "ImagingStudy",
            "id": f"{self.case.name}-i",
            "status": "available",
            "subject": {"reference": f"Patient/{self.case.name}"},
        }

    def probes(self) -> dict[str, Callable[[], object]]:
        """What a clinician may try. The names of patients are of different lengths: they are taken out."""
        name = self.case.name.encode()
        doctor = self.case.doctor
        return {
            "records of a kind": lambda: self._plain(PROBED),
            "records of a kind that is shared": lambda: self._plain("conditions", name),
            "a visit for a kind": lambda: self.gateway.visit(self.key, TREAT, doctor, [PROBED]),
            "a request for a consent": lambda: self.gateway.ask(Asked(self.others, "read", "TREAT", BASIS), doctor),
        }

    def _plain(self, category: str, name: bytes = b"-") -> list[bytes]:
        return [bytes(record.data).replace(name, b"") for record in self.visit.records(category)]


class Answer:
    """One answer: what it says, and what it took."""

    def __init__(self, probe: Callable[[], Any]) -> None:
        calls = 0

        def count(_frame: object, event: str, _: object) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        said: Any
        sys.setprofile(count)
        try:
            said, self.code = probe(), ""
        except CareMeshError as error:
            said, self.code = [str(error).encode()], error.code
        finally:
            sys.setprofile(None)
        self.total = 0 if self.code else len(said)
        self.said = b"".join(said)
        self.size = sum(map(len, said))
        self.work = calls


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[tuple[str, Answer]]]]:
    folder = tmp_path_factory.mktemp("alike")
    with LocalMesh(folder / "mesh", SettableClock()) as mesh:
        everybody = [(situation, Seen(mesh, folder, situation)) for situation in SITUATIONS * PATIENTS]
        dice = random.Random(SEED)  # noqa: S311 -- the same trials on every run
        found: dict[str, list[tuple[str, Answer]]] = {}
        for _ in range(TRIALS):
            situation, seen = dice.choice(everybody)
            name, probe = dice.choice(sorted(seen.probes().items()))
            if name == "a request for a consent" and len(found.get(name, ())) >= 60:
                name, probe = "records of a kind", seen.probes()["records of a kind"]  # each costs a block
            found.setdefault(name, []).append((situation, Answer(probe)))
        yield found


@pytest.mark.parametrize(
    ("probe", "code", "total", "compared"),
    [
        ("records of a kind", "", 0, ("code", "total", "size", "work")),
        ("records of a kind that is shared", "", 2, ("code", "total", "size", "work")),
        ("a visit for a kind", "gateway.01", 0, ("code", "total", "size")),
        ("a request for a consent", "gateway.05", 0, ("code", "total", "size")),
    ],
)
def test_no_answer_tells_why_there_is_nothing(
    trials: dict[str, list[tuple[str, Answer]]], probe: str, code: str, total: int, compared: tuple[str, ...]
) -> None:
    answers = trials[probe]
    assert {(answer.code, answer.total) for _, answer in answers} == {(code, total)}
    assert len({answer.said for _, answer in answers}) == 1, "word for word"
    for feature in compared:
        values = {value: number for number, value in enumerate(sorted({getattr(a, feature) for _, a in answers}))}
        for one, two in itertools.combinations(SITUATIONS, 2):
            scores = [[values[getattr(a, feature)] for s, a in answers if s == which] for which in (one, two)]
            assert min(map(len, scores)) >= 10
            found = area(scores[0], scores[1])
            assert max(found, 1 - found) <= MOST, (feature, one, two, found)


def test_there_were_a_thousand(trials: dict[str, list[tuple[str, Answer]]]) -> None:
    assert sum(map(len, trials.values())) == TRIALS
    assert len(trials) == 4
