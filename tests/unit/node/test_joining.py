"""Organisations become a network by files: what is changed, of another network or of another home is refused."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered
from caremesh.ledger.blocks import in_comets_order
from caremesh.node import founding, joining
from caremesh.node.joining import Admission, AdmissionFile
from caremesh.sealing import custody

NOW = int(time.time())


def begin(folder: Path, **changes: Any) -> Admission:
    said: dict[str, Any] = {
        "chain": "net",
        "name": folder.name,
        "roles": ["provider"],
        "country": "US",
        "address": f"https://{folder.name}.example:8443",
    }
    _, made = joining.begin(folder, **(said | changes))
    return joining.read_admission(made, folder.name)


def found(operator: Path, *others: Path) -> bytes:
    begin(operator, roles=["regulator"])
    joining.found(operator, [begin(other) for other in others], NOW)
    return (operator / founding.FILE).read_bytes()


def test_a_network_of_two_is_the_same_in_both_homes(tmp_path: Path) -> None:
    file = found(tmp_path / "one", tmp_path / "two")
    joined = joining.join(tmp_path / "two", file)
    known = founding.load(tmp_path / "one")
    assert known is not None
    assert joining.fingerprint(joined) == joining.fingerprint(known)
    assert [member.name for member in joined.document.members] == ["one", "two"]
    assert joined.validators[0].key == joining.load_home(tmp_path / "one").node_key.public
    assert joining.join(tmp_path / "two", file) == joined


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"chain": "Net"}, "network"),
        ({"name": ""}, "name"),
        ({"roles": ["wizard"]}, "members.10"),
        ({"country": "us"}, "jurisdiction"),
        ({"address": "http://a.example:1"}, "endpoints"),
        ({"address": "mesh://a.example:1"}, "address"),
    ],
)
def test_what_the_ledger_would_not_take_is_refused_at_home(tmp_path: Path, changes: dict[str, Any], place: str) -> None:
    with pytest.raises(BadInput) as error:
        begin(tmp_path / "one", **changes)
    assert error.value.code == "node.18"
    assert place in error.value.place
    assert not (tmp_path / "one" / joining.ADMISSION_FILE).exists()


def test_a_home_begins_once(tmp_path: Path) -> None:
    begin(tmp_path / "one")
    with pytest.raises(Refused) as error:
        begin(tmp_path / "one")
    assert error.value.code == "node.15"


@pytest.mark.promise("P6")
def test_any_changed_byte_of_an_admission_file_is_noticed(tmp_path: Path) -> None:
    _, made = joining.begin(
        tmp_path / "one", chain="n", name="one", roles=["payer"], country="US", address="https://a.example:1"
    )
    for at in range(0, len(made), 97):
        changed = made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :]
        with pytest.raises(Tampered) as error:
            joining.read_admission(changed, "file")
        assert error.value.code == "node.16"


def test_an_admission_needs_both_keys(tmp_path: Path) -> None:
    home, made = joining.begin(
        tmp_path / "one", chain="n", name="one", roles=["payer"], country="US", address="https://a.example:1"
    )
    other, _ = joining.begin(
        tmp_path / "two", chain="n", name="two", roles=["payer"], country="US", address="https://b.example:1"
    )
    file = codec.decode_as(made, AdmissionFile)
    admission = joining.read_admission(made, "file")
    taken = replace(admission, admit=replace(admission.admit, keys=other.admission().keys))
    renamed = replace(admission, admit=replace(admission.admit, name="another"))
    for forged in (
        replace(file, by_node=custody.sign_payload("caremesh/v1/admission-node", renamed, home.node_key)),
        replace(file, by_node=custody.sign_payload("caremesh/v1/admission-node", admission, other.node_key)),
        replace(file, by_member=custody.sign_payload("caremesh/v1/admission", admission, other.key)),
        AdmissionFile(  # another's node key, which this one does not have
            by_member=custody.sign_payload("caremesh/v1/admission", taken, home.key),
            by_node=custody.sign_payload("caremesh/v1/admission-node", taken, home.node_key),
        ),
    ):
        with pytest.raises(Tampered) as error:
            joining.read_admission(codec.encode(forged), "file")
        assert error.value.code == "node.16"


def test_members_of_another_network_are_not_founded_with(tmp_path: Path) -> None:
    begin(tmp_path / "one")
    with pytest.raises(BadInput) as error:
        joining.found(tmp_path / "one", [begin(tmp_path / "two", chain="other")], NOW)
    assert error.value.code == "node.18"


def refused(folder: Path, file: bytes) -> str:
    with pytest.raises(CareMeshError) as error:
        joining.join(folder, file)
    return error.value.code


def test_a_home_joins_only_where_it_is_named_as_it_named_itself(tmp_path: Path) -> None:
    file = found(tmp_path / "one", tmp_path / "two")
    begin(tmp_path / "stranger")
    assert refused(tmp_path / "stranger", file) == "node.14"
    known = codec.decode_as(file, founding.Founding)
    members = [replace(member, endpoints=["https://evil.example:1"]) for member in known.document.members]
    changed = replace(known, genesis=codec.encode(replace(known.document, members=members)))
    assert refused(tmp_path / "two", codec.encode(changed)) == "node.14"
    assert refused(tmp_path / "nobody", file) == "node.13"


def test_a_network_file_that_no_ledger_begins_with_is_refused(tmp_path: Path) -> None:
    file = found(tmp_path / "one", tmp_path / "two")
    known = codec.decode_as(file, founding.Founding)
    doubled = replace(known, genesis=codec.encode(replace(known.document, members=known.document.members * 2)))
    assert refused(tmp_path / "two", codec.encode(doubled)) == "node.17"
    assert refused(tmp_path / "two", codec.encode(replace(known, validators=[]))) == "node.17"
    assert refused(tmp_path / "two", file[:-1]) == "node.17"


def test_a_home_has_one_network(tmp_path: Path) -> None:
    file = found(tmp_path / "one", tmp_path / "two")
    joining.join(tmp_path / "two", file)
    other = codec.decode_as(file, founding.Founding)
    later = replace(other, genesis=codec.encode(replace(other.document, time=NOW + 1)))
    assert refused(tmp_path / "two", codec.encode(later)) == "node.15"
    with pytest.raises(Refused) as error:
        joining.found(tmp_path / "one", [], NOW)
    assert error.value.code == "node.15"


def founded_together(folder: Path, *names: str, watching: str = "") -> bytes:
    """A network whose validators are these; ``watching`` is a member that orders nothing."""
    first, *others = (begin(folder / name, peers=f"{name}.example:26656") for name in names)
    assert first.ordering is not None
    if watching:
        others.append(begin(folder / watching))
    joining.found(folder / names[0], others, NOW, engine="cometbft")
    return (folder / names[0] / founding.FILE).read_bytes()


def test_a_network_founded_together_has_no_operator(tmp_path: Path) -> None:
    file = founded_together(tmp_path, "one", "two", "three", watching="four")
    for name in ("two", "three", "four"):
        joining.join(tmp_path / name, file)
    known = codec.decode_as(file, founding.Founding)
    keys = {name: joining.load_home(tmp_path / name).validator_key.public for name in ("one", "two", "three")}
    assert known.engine == "cometbft"
    assert {each.key for each in known.validators} == set(keys.values())
    assert [each.key for each in known.document.validators] == sorted(keys.values())
    assert {each.power for each in known.validators} == {1}
    assert len(known.peers) == 3
    assert (len(known.document.authorities.dids), known.document.authorities.quorum) == (4, 3)
    assert known.validators == sorted(known.validators, key=in_comets_order)


def test_somebody_has_to_order_blocks(tmp_path: Path) -> None:
    begin(tmp_path / "one")
    with pytest.raises(Refused) as error:
        joining.found(tmp_path / "one", [begin(tmp_path / "two")], NOW, engine="cometbft")
    assert error.value.code == "node.30"


@pytest.mark.parametrize("peers", ["nowhere", "a.example:port", "a b:1", ":1"])
def test_where_a_validator_is_reached_has_one_form(tmp_path: Path, peers: str) -> None:
    with pytest.raises(BadInput) as error:
        begin(tmp_path / "one", peers=peers)
    assert (error.value.code, error.value.place) == ("node.18", "peers")


def test_a_validator_signs_that_it_is_one(tmp_path: Path) -> None:
    """Else one could put another's key among the validators."""
    home, made = joining.begin(
        tmp_path / "one",
        chain="n",
        name="one",
        roles=["payer"],
        country="US",
        address="https://a.example:1",
        peers="a.example:2",
    )
    other = SigningKey.from_seed(bytes(32))
    file = codec.decode_as(made, AdmissionFile)
    admission = joining.read_admission(made, "file")
    assert admission.ordering is not None
    taken = replace(admission, ordering=replace(admission.ordering, key=other.public))
    signed = AdmissionFile(
        by_member=custody.sign_payload("caremesh/v1/admission", taken, home.key),
        by_node=custody.sign_payload("caremesh/v1/admission-node", taken, home.node_key),
    )
    mine = custody.sign_payload("caremesh/v1/admission-validator", taken, home.validator_key)
    before = custody.sign_payload("caremesh/v1/admission-validator", admission, home.validator_key)
    for forged in (
        replace(file, by_validator=None),
        signed,
        replace(signed, by_validator=mine),
        replace(signed, by_validator=before),
    ):
        with pytest.raises(Tampered) as error:
            joining.read_admission(codec.encode(forged), "file")
        assert error.value.code == "node.16"


def test_a_validator_joins_only_where_it_orders_as_it_asked(tmp_path: Path) -> None:
    file = founded_together(tmp_path, "one", "two")
    known = codec.decode_as(file, founding.Founding)
    mine = joining.load_home(tmp_path / "two")
    moved = [replace(each, address=each.address.replace("two", "evil")) for each in known.peers]
    assert refused(tmp_path / "two", codec.encode(replace(known, peers=moved))) == "node.14"
    left = [each for each in known.document.validators if each.member != mine.did]
    alone = replace(
        known,
        genesis=codec.encode(replace(known.document, validators=left)),
        validators=[each for each in known.validators if each.key != mine.validator_key.public],
    )
    assert refused(tmp_path / "two", codec.encode(alone)) == "node.14"
    joining.join(tmp_path / "two", file)


def test_a_network_file_whose_parts_differ_is_refused(tmp_path: Path) -> None:
    file = founded_together(tmp_path, "one", "two")
    known = codec.decode_as(file, founding.Founding)
    stranger = founding.Peer("did:caremesh:net:" + "1" * 32, known.peers[0].address)
    for changed in (
        replace(known, validators=known.validators[:1]),
        replace(known, validators=known.validators[::-1]),
        replace(known, validators=[replace(known.validators[0], power=9), known.validators[1]]),
        replace(known, peers=[*known.peers, known.peers[0]]),
        replace(known, peers=[*known.peers, stranger]),
        replace(known, peers=[replace(known.peers[0], address="somewhere"), known.peers[1]]),
    ):
        assert refused(tmp_path / "two", codec.encode(changed)) == "node.17"
