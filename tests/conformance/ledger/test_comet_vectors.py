"""Headers that real CometBFT nodes have signed are verified, and bent ones refused as the vectors say."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.consensus.comet_rpc import light_block
from caremesh.errors import CareMeshError, Tampered
from caremesh.ledger import forks
from caremesh.ledger.blocks import Validator
from caremesh.ledger.light import Answer, LightBlock, LightClient, check_answer, set_name
from tests.support import comet_headers
from tests.support.comet import VECTORS, cases, chain, recorded
from tools import comet_case_list, comet_cases, comet_own, comet_shown, comet_vectors
from tools.comet_cases import answers, as_light_block

HEIGHTS = sorted(map(int, chain()["blocks"]))
LAST = HEIGHTS[-1]
STRICTER = {"the set in another order"}
"""CometBFT's light client sorts a set that it is given; ours takes the order in which nodes answer."""
LAXER = {
    "the trusted header itself": "it is no other header",
    "one bad signature of four": "it counts nothing; CometBFT refuses all when it meets one before it has enough",
    "one vote dated before 1970": "as a bad signature",
    "dated as far ahead as clocks may differ": "compared in whole seconds",
}


def after() -> int:
    return recorded(LAST).signed.content().time + 1


def founders() -> LightClient:
    first = recorded(1)
    return LightClient(chain()["chain"], first.validators, trusted_at=first.signed.content().time)


@pytest.mark.promise("P4")
@pytest.mark.parametrize("height", HEIGHTS)
def test_hashes_are_those_that_the_validators_signed(height: int) -> None:
    said = comet_cases.block(chain(), height)["signed_header"]
    block = recorded(height)
    header = block.signed.content()
    assert header.hash().hex().upper() == said["commit"]["block_id"]["hash"]
    assert set_name(header, block.validators).hex().upper() == said["header"]["validators_hash"]
    assert codec.decode_as(codec.encode(block), LightBlock) == block
    assert comet_vectors.digest(chain(), height) == chain()["light_blocks"][str(height)]


@pytest.mark.promise("P4")
def test_every_header_follows_from_the_founders_one_by_one() -> None:
    client = founders()
    for height in HEIGHTS:
        assert client.verify(recorded(height), after()).height == height


@pytest.mark.promise("P4")
def test_the_last_header_follows_from_the_founders_by_bisection() -> None:
    client, asked = founders(), []

    def fetch(height: int) -> LightBlock:
        asked.append(height)
        return recorded(height)

    with pytest.raises(Tampered, match=r"light\.02"):
        client.check(recorded(LAST), after())
    assert client.advance(recorded(LAST), fetch, after()).height == LAST
    assert 1 <= len(asked) < LAST // 2


@pytest.mark.promise("P4")
@pytest.mark.parametrize("shown", comet_own.content()["blocks"], ids=lambda shown: shown["name"])
def test_headers_of_the_embedded_engine_are_followed_by_the_same_client(shown: dict[str, Any]) -> None:
    own = json.loads((VECTORS / "own.json").read_text("utf-8"))
    assert own == comet_own.content()
    validators = [Validator(bytes.fromhex(each["key"]), each["power"]) for each in own["validators"]]
    client = LightClient(own["chain"], validators, trusted_at=own["trusted_at"])
    block = codec.decode_as(bytes.fromhex(shown["light_block"]), LightBlock)
    header = block.signed.content()
    assert header.hash().hex() == shown["hash"]
    assert header.proves == header.height
    try:
        assert client.verify(block, own["now"]) == header
    except CareMeshError as error:
        found = error.code
    else:
        found = ""
    assert found == shown["expect"]


def test_the_root_of_a_state_is_in_the_next_header() -> None:
    changed = [height for height in HEIGHTS[1:] if _root(height) != _root(height - 1)]
    assert changed
    assert all(recorded(height).signed.content().proves == height - 1 for height in changed)


def _root(height: int) -> bytes:
    return recorded(height).signed.content().app_hash


def code_of(case: dict[str, Any]) -> str:
    given = comet_cases.built(chain(), case)
    try:
        trusted = as_light_block(given["trusted"], case["trusted"])
        client = LightClient.from_header(given["chain"], trusted, trusted.signed.content().hash())
        before = client.height
        header = client.verify(as_light_block(given["target"], case["target"]), case["now"])
    except CareMeshError as error:
        return error.code
    assert header.height == case["target"] == client.height >= before
    return ""


@pytest.mark.promise("P4")
@pytest.mark.parametrize("case", cases(), ids=lambda case: case["name"])
def test_a_case_comes_to_what_it_should(case: dict[str, Any]) -> None:
    assert code_of(case) == case["expect"]


def test_every_code_of_the_light_client_for_headers_has_a_case() -> None:
    found = {case["expect"] for case in cases()}
    assert found == {"", *(f"light.{number:02}" for number in (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12))}


def test_it_agrees_with_cometbfts_own_light_client_but_where_it_says_so() -> None:
    apart = {case["name"] for case in cases() if (case["cometbft"] == "accepted") != (not case["expect"])}
    assert apart == STRICTER | set(LAXER)
    assert all((case["name"] in STRICTER) == bool(case["expect"]) for case in cases() if case["name"] in apart)


def test_the_recorded_chain_has_what_the_cases_need() -> None:
    commits = [comet_cases.block(chain(), height)["signed_header"]["commit"] for height in HEIGHTS]
    assert any(commit["round"] > 0 for commit in commits)
    assert any(vote["block_id_flag"] == 1 for commit in commits for vote in commit["signatures"])
    assert len(comet_cases.sets(chain())) >= 4
    assert len({case["name"] for case in cases()}) == len(cases()) > 90
    assert sum(path.stat().st_size for path in VECTORS.iterdir()) <= 300_000


def test_the_tool_writes_the_same_cases_again_where_no_keys_are_needed() -> None:
    """The keys were thrown away: cases that were signed with them cannot be made a second time."""
    strangers = {
        validator["address"]: hashlib.sha256(validator["address"].encode()).digest()
        for each in chain()["validators"].values()
        for validator in each
    }
    again = comet_case_list.cases(chain(), strangers)
    assert [case["name"] for case in again] == [case["name"] for case in cases()]
    kept = [{name: value for name, value in case.items() if name != "cometbft"} for case in cases()]
    same = [case["name"] for case, old in zip(again, kept, strict=True) if _plain(case) == _plain(old)]
    assert len(same) >= len(again) - 12


def _plain(case: dict[str, Any]) -> dict[str, Any]:
    return {**case, "edits": [list(edit) for edit in case["edits"]]}


def test_pages_of_a_set_are_put_together() -> None:
    given = comet_cases.block(chain(), 3)
    commit, _ = answers(given, 3)
    total = str(len(given["validators"]))

    def page(validators: list[Any], height: int = 3, total: str = total) -> bytes:
        return result_of({"block_height": str(height), "validators": validators, "total": total})

    both = [page(given["validators"][:3]), page(given["validators"][3:])]
    assert light_block(commit, both) == recorded(3)
    with pytest.raises(Tampered, match=r"light\.09"):
        light_block(commit, both[:1])
    with pytest.raises(Tampered, match=r"light\.09"):
        light_block(commit, [page(given["validators"], total="5")])
    with pytest.raises(Tampered, match=r"light\.08"):
        light_block(commit, [page(given["validators"], height=4)])


def result_of(result: dict[str, Any]) -> bytes:
    return json.dumps({"result": result}).encode()


def test_forks_are_shown_offline_from_the_founders_alone() -> None:
    kept = json.loads((VECTORS / "forks.json").read_text("utf-8"))
    assert kept == comet_shown.forks(chain(), cases())
    own = comet_own.content()
    four = [Validator(bytes.fromhex(each["key"]), each["power"]) for each in own["validators"]]
    for row in kept["forks"]:
        fork = forks.read(bytes.fromhex(row["fork"]))
        root = founders()
        if fork.chain == own["chain"]:
            root = LightClient(own["chain"], four, trusted_at=own["trusted_at"])
        if row["expect"]:
            with pytest.raises(CareMeshError) as caught:
                forks.verify(fork, root, row["now"])
            assert caught.value.code == row["expect"], row["name"]
            continue
        shown = forks.verify(fork, root, row["now"])
        assert (shown.same_round, shown.total > shown.power // 2) == (True, True)
        assert len(shown.twice) == (2 if fork.chain == own["chain"] else 4)
        assert shown.differs == (["next_validators"] if fork.chain == own["chain"] else ["app_hash"])


def test_answers_are_proven_under_a_header_of_either_engine() -> None:
    kept = json.loads((VECTORS / "proofs.json").read_text("utf-8"))
    assert {"", "proof.01", "light.08"} == {row["expect"] for row in kept["proofs"]}
    found = [row["value"] for row in kept["proofs"] if not row["expect"]]
    assert None in found
    assert any(found)
    for row in kept["proofs"]:
        answer, root = codec.decode_as(bytes.fromhex(row["answer"]), Answer), bytes.fromhex(row["app_hash"])
        comets = comet_headers.header(kept["height"] + 1, comet_headers.FOUR, app_hash=root)
        own = replace(comet_own.signed(kept["height"], [], (), []).signed.own(), app_hash=root)
        for header in (comets, own):
            if not row["expect"]:
                value = check_answer(header, answer)
                assert (None if value is None else value.hex()) == row["value"]
                continue
            with pytest.raises(Tampered) as caught:
                check_answer(header, answer)
            assert caught.value.code == row["expect"]
