"""How organisations become a network, by handing files to one another, and never a secret.

1. Each makes a home with keys of its own, and from it an **admission file**: what the ledger will say of it, signed
   with the keys that it names.
2. One founds the network from these files: the **network file** is the genesis document and the keys that sign blocks.
   Its fingerprint is compared by voice.
3. Each joins with the network file, which must name it as its own admission file does.

Blocks are ordered by the node of who founded (``embedded``), or by all together who asked for it in their admission
files (``cometbft``): then authority is theirs together, too, and nobody's decision counts without a majority.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from caremesh import codec
from caremesh.blobs.durable import write_durably
from caremesh.contracts import Contracts, Genesis
from caremesh.contracts.members.messages import Admit
from caremesh.contracts.members.state import Member
from caremesh.contracts.network import messages as network
from caremesh.contracts.network.messages import Authorities, Params
from caremesh.contracts.policy.library import shipped
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, CareMeshError, Refused, StorageFailed, Tampered
from caremesh.ledger.blocks import Validator, in_comets_order
from caremesh.ledger.comet import address_of
from caremesh.ledger.state import View
from caremesh.node import errors, founding
from caremesh.node.founding import Crossed, EngineName, Founding, Peer
from caremesh.node.member import MemberHome, Profile
from caremesh.sealing import custody
from caremesh.sealing.custody import Signed
from caremesh.types import Code, CountryCode, Multikey, Seconds

ADMISSION_FILE: Final = "admission.cbor"
REGULATIONS: Final = ("gdpr", "hipaa", "house", "iso22600")
_BY_MEMBER: Final = "caremesh/v1/admission"
_BY_NODE: Final = "caremesh/v1/admission-node"
_BY_VALIDATOR: Final = "caremesh/v1/admission-validator"
_PEER: Final = re.compile(r"[0-9a-f]{40}@[A-Za-z0-9.\[\]:_-]{1,253}:[0-9]{1,5}")
POWER: Final = 1
"""Of each founding validator: one organisation, one vote."""
_CHAIN: Final = re.compile(r"[a-z0-9-]{1,32}")


class Ordering(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """That a member would order blocks with others. ``key``: its validator's; ``peer``: ``id@host:port``."""

    key: Multikey
    peer: str


class Admission(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an organisation asks the founders to write. ``chain``: the network's name, which its DID holds."""

    chain: str
    admit: Admit
    ordering: Ordering | None = None


class AdmissionFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """DAG-CBOR of this is the file. ``by_member``: signed with the DID's key; ``by_node``: with the node key;
    ``by_validator``: with that of its validator, where it is to be one.
    """

    by_member: Signed
    by_node: Signed
    by_validator: Signed | None = None


def begin(
    folder: Path,
    *,
    chain: str,
    name: str,
    roles: Sequence[Code],
    country: CountryCode,
    address: str,
    peers: str = "",
) -> tuple[MemberHome, bytes]:
    """A new home and its admission file. ``address``: ``https://host:port``, where others reach the node.

    ``peers``: ``host:port``, where other members' CometBFT reach this one's; empty where it is not to order blocks.

    Raises BadInput node.18; Refused node.15 when there is one; StorageFailed.
    """
    if (folder / ADMISSION_FILE).exists():
        raise Refused(errors.ALREADY_THERE, folder.name)
    if not _CHAIN.fullmatch(chain):
        raise BadInput(errors.WRONG_PROFILE, "network")
    home = MemberHome(folder, chain, Profile(folder.name, name, list(roles), country, holds_blocks=True))
    admission = Admission(chain=chain, admit=replace(home.admission(), endpoints=[address]))
    if peers:
        peer = f"{address_of(home.peer_key.public).hex()}@{peers}"
        admission = replace(admission, ordering=Ordering(key=home.validator_key.public, peer=peer))
    _check(admission)
    made = _signed(admission, home)
    write_durably(folder / ADMISSION_FILE, made)
    return home, made


def offer(folder: Path, peers: str) -> bytes:
    """The admission file of a home once more, with what it takes to order blocks with others. ``peers``: as above.

    Raises Refused node.13; BadInput node.18; Tampered node.16; StorageFailed.
    """
    said, home = load_admission(folder), load_home(folder)
    peer = f"{address_of(home.peer_key.public).hex()}@{peers}"
    admission = replace(said, ordering=Ordering(key=home.validator_key.public, peer=peer))
    _check(admission)
    return _signed(admission, home)


def _signed(admission: Admission, home: MemberHome) -> bytes:
    return codec.encode(
        AdmissionFile(
            by_member=custody.sign_payload(_BY_MEMBER, admission, home.key),
            by_node=custody.sign_payload(_BY_NODE, admission, home.node_key),
            by_validator=(
                None
                if admission.ordering is None
                else custody.sign_payload(_BY_VALIDATOR, admission, home.validator_key)
            ),
        )
    )


def read_admission(data: bytes, place: str) -> Admission:
    """What an admission file asks for. Raises Tampered node.16 with the place."""
    try:
        file = codec.decode_as(data, AdmissionFile)
        admission = custody.open_signed(_BY_MEMBER, file.by_member, Admission, file.by_member.key, place)
        key = admission.admit.keys.node
        if file.by_member.key != admission.admit.key or file.by_node.payload != file.by_member.payload:
            raise Tampered(errors.NOT_AN_ADMISSION, place)
        custody.open_signed(_BY_NODE, file.by_node, Admission, key, place)
        if admission.ordering is not None:
            if file.by_validator is None or file.by_validator.payload != file.by_member.payload:
                raise Tampered(errors.NOT_AN_ADMISSION, place)
            custody.open_signed(_BY_VALIDATOR, file.by_validator, Admission, admission.ordering.key, place)
        _check(admission)
    except (BadInput, Tampered) as error:
        raise Tampered(errors.NOT_AN_ADMISSION, place) from error
    return admission


def found(
    folder: Path,
    admissions: Sequence[Admission],
    now: Seconds,
    params: Params | None = None,
    engine: EngineName = "embedded",
) -> Founding:
    """The network of these members and of this home; kept in the home.

    Raises Refused node.13 without a home, node.15 when it has a network, node.30 when nobody asked to order blocks by
    CometBFT; BadInput node.18 with the member's name.
    """
    home = load_home(folder)
    if founding.load(folder) is not None:
        raise Refused(errors.ALREADY_THERE, folder.name)
    mine = load_admission(folder)
    for admission in admissions:
        if admission.chain != mine.chain:
            raise BadInput(errors.WRONG_PROFILE, f"{admission.admit.name}: network {admission.chain}")
    files = {each.admit.member: each for each in (mine, *admissions)}
    together = engine == "cometbft"
    validators = _validators(list(files.values())) if together else []
    founders = sorted(files) if together else [home.did]
    genesis = codec.encode(
        Genesis(
            chain=mine.chain,
            time=now,
            params=params or Params(),
            authorities=Authorities(founders, len(founders) // 2 + 1),
            members=[each.admit for each in files.values()],
            regulations=shipped(*REGULATIONS),
            validators=sorted(validators, key=lambda validator: validator.key),
        )
    )
    if together:
        signing = sorted((Validator(each.key, each.power) for each in validators), key=in_comets_order)
        peers = [Peer(did, each.ordering.peer) for did, each in files.items() if each.ordering is not None]
        made = Founding(genesis, signing, engine, peers)
    else:
        made = Founding(genesis, [Validator(home.node_key.public, 1)])
    check(made)
    write_durably(folder / founding.FILE, codec.encode(made))
    return made


def _validators(files: Sequence[Admission]) -> list[network.Validator]:
    found = [
        network.Validator(member=each.admit.member, key=each.ordering.key, power=POWER)
        for each in files
        if each.ordering is not None
    ]
    if not found:
        raise Refused(errors.NOBODY_ORDERS)
    return found


def join(
    folder: Path,
    network_file: bytes,
    admitted: Callable[[Founding, MemberHome], Member | None] = lambda *_: None,
    crossed: Callable[[Founding, MemberHome], Crossed | None] = lambda *_: None,
) -> Founding:
    """Take up the network; kept in the home. The same one again is no error.

    ``admitted``: what the running network's ledger proves of a member that is no founder; None when it knows none.
    ``crossed``: what leads to who orders its blocks now, where one who did handed over to others; None when not known.
    Raises what these do; Tampered node.17, light.NN; Refused node.13, node.14, and node.15 when the home is of another
    network.
    """
    home = load_home(folder)
    try:
        given = codec.decode_as(network_file, Founding)
        check(given)
        document = given.document
    except CareMeshError as error:
        raise Tampered(errors.NOT_A_NETWORK) from error
    mine = load_admission(folder)
    if document.chain != home.chain or not (_is_founder(given, mine) or _is_admitted(admitted(given, home), mine)):
        raise Refused(errors.NOT_IN_NETWORK, document.chain)
    known = founding.load(folder)
    if known is not None and known.founded != given:
        raise Refused(errors.ALREADY_THERE, folder.name)
    over = known.crossed if known is not None and known.crossed is not None else crossed(given, home)
    made = replace(given, crossed=over)
    if over is not None:
        made.light_client()  # whoever showed it: it proves itself
    write_durably(folder / founding.FILE, codec.encode(given))
    if over is not None:
        write_durably(folder / founding.CROSSING, codec.encode(over))
    return made


def check(given: Founding) -> None:
    """Whether a ledger can begin so. Raises BadInput contracts.01, codec.NN; Tampered node.17."""
    Contracts().genesis(View(_Nothing()), given.genesis)
    if not given.validators or given.crossed is not None:
        raise Tampered(errors.NOT_A_NETWORK)
    if given.engine == "cometbft":
        named = sorted((Validator(each.key, each.power) for each in given.document.validators), key=in_comets_order)
        members = [each.member for each in given.document.members]
        known = all(each.member in members and _PEER.fullmatch(each.address) for each in given.peers)
        if named != given.validators or not known or len({each.member for each in given.peers}) != len(given.peers):
            raise Tampered(errors.NOT_A_NETWORK)


def _is_admitted(known: Member | None, mine: Admission) -> bool:
    """Whether the ledger says of a member what this home's own admission file says."""
    said = mine.admit
    return known is not None and (known.did, known.keys, known.endpoints, known.status) == (
        said.member,
        said.keys,
        said.endpoints,
        "active",
    )


def _is_founder(given: Founding, mine: Admission) -> bool:
    """Whether the file says of this member, and of whether it orders blocks, what its own admission file says."""
    if mine.admit not in given.document.members:
        return False
    if given.engine == "embedded" or mine.ordering is None:
        return True
    keys = [each.key for each in given.document.validators if each.member == mine.admit.member]
    return keys == [mine.ordering.key] and Peer(mine.admit.member, mine.ordering.peer) in given.peers


def fingerprint(given: Founding) -> str:
    """What people compare: 16 hexadecimal digits in groups of four."""
    digits = sha256(codec.encode(given.founded)).hex()[:16]
    return " ".join(digits[at : at + 4] for at in range(0, 16, 4))


def load_home(folder: Path) -> MemberHome:
    """The member of a home, as its admission file says. Raises Refused node.13, Tampered node.16, StorageFailed."""
    admission = load_admission(folder)
    said = admission.admit
    profile = Profile(folder.name, said.name, said.roles, said.jurisdiction, holds_blocks=True)
    return MemberHome(folder, admission.chain, profile)


def load_admission(folder: Path) -> Admission:
    """What a home says of its member. Raises Refused node.13, Tampered node.16, StorageFailed."""
    try:
        data = (folder / ADMISSION_FILE).read_bytes()
    except FileNotFoundError:
        raise Refused(errors.NOT_JOINED, folder.name) from None
    except OSError as error:
        raise StorageFailed(errors.NOT_WRITABLE, folder.name) from error
    return read_admission(data, ADMISSION_FILE)


def _check(admission: Admission) -> None:
    """Whether the ledger would take it: form and rules. Raises BadInput node.18."""
    try:
        msgspec.convert(msgspec.to_builtins(admission.admit, builtin_types=(bytes,)), Admit, builtin_types=(bytes,))
        Contracts().genesis(View(_Nothing()), codec.encode(_alone(admission)))
    except (msgspec.ValidationError, CareMeshError) as error:
        raise BadInput(errors.WRONG_PROFILE, getattr(error, "place", "") or _field(error)) from error
    if admission.ordering is not None and not _PEER.fullmatch(admission.ordering.peer):
        raise BadInput(errors.WRONG_PROFILE, "peers")
    if not admission.admit.endpoints or not admission.admit.endpoints[0].startswith("https://"):
        raise BadInput(errors.WRONG_PROFILE, "address")


def _alone(admission: Admission) -> Genesis:
    return Genesis(
        chain=admission.chain,
        time=0,
        params=Params(),
        authorities=Authorities([admission.admit.member], 1),
        members=[admission.admit],
        regulations=[],
    )


def _field(error: BaseException) -> str:
    _, _, path = str(error).partition("$.")
    return path.rstrip("`")


class _Nothing:
    """A state without anything in it."""

    def get(self, _: bytes, /) -> bytes | None:
        return None
