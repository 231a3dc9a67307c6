"""A backup of a home, taken while its node runs or not, and a home made of one; both verify every byte.

    <backup>/backup.cbor   Signed Manifest by the node key: every file with its SHA-256
    <backup>/home/…        the home but for its key file, its run folder and its log

The key file stays where it is: without it a backup opens to nobody, and with it to anybody. What was destroyed after a
backup was taken is in the backup still; keep backups no longer than you need them (docs/explanation/threat-model.md).

Databases are copied as LMDB lets a second process do it, at one moment each. The vault is files, which may change while
they are copied: a copy counts when all of it opens, and is taken again otherwise.

Who restores has lost what came after: the custodian must not continue a release log that it may have continued before
(``node/restored.py``), and who orders blocks must not sign a height again. So the operator's node is not restored at
all; a validator under CometBFT is restored without its key, and takes up its vote again with another (``rotating.py``).
Its copy of the ledger comes from the others, as does that of every node of such a network.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import lmdb
from msgspec import Struct

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED, write_durably
from caremesh.blobs.filesystem import FilesystemBlocks
from caremesh.codec import parse_cid
from caremesh.crypto.hashes import sha256
from caremesh.custodian.log import ReleaseLog
from caremesh.errors import BadInput, CareMeshError, Refused, StorageFailed, Tampered
from caremesh.ledger.store import Store
from caremesh.ledger.transactions import Signs
from caremesh.ledger.verify import check_store
from caremesh.node import errors, founding, joining, keystore, restored
from caremesh.node.founding import Founding
from caremesh.node.member import VALIDATOR
from caremesh.node.running import LEDGER
from caremesh.sealing import custody
from caremesh.types import Count, Did, Digest, Seconds

MANIFEST: Final = "backup.cbor"
HOME: Final = "home"
VAULT: Final = "secrets"
KEY: Final = "secrets.key"
BLOCKS: Final = "blocks"
RELEASES: Final = "releases"
_DOMAIN: Final = "caremesh/v1/backup"
_DATABASES: Final = ("accounts", "directory", "holdings", LEDGER, RELEASES)
_FILES: Final = (joining.ADMISSION_FILE, founding.FILE, founding.CROSSING, "caremesh.toml", restored.FILE)
_TRIES: Final = 5


class File(Struct, frozen=True):
    """One file of a backup. ``path``: below ``home``, with slashes."""

    path: str
    size_bytes: Count
    hash: Digest


class Manifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backup holds, of whom, and when it was taken (seconds UTC)."""

    member: Did
    chain: str
    at: Seconds
    files: list[File]


def back_up(home: Path, out: Path, now: Seconds) -> Manifest:
    """Write a backup of a home into a new folder; its node may run.

    Raises Refused node.13, node.23 when ``out`` is there already; Tampered for what is damaged; StorageFailed.
    """
    if out.exists():
        raise Refused(errors.BACKUP_THERE, out.name)
    admission = joining.load_admission(home)
    to = out / HOME
    try:
        to.mkdir(parents=True, mode=0o700)
        node_key = _copy_vault(home, to)
        for name in _FILES:
            if (home / name).exists():
                shutil.copyfile(home / name, to / name)
        if (home / BLOCKS).exists():
            shutil.copytree(home / BLOCKS, to / BLOCKS, ignore=shutil.ignore_patterns(".writing-*", "lock"))
        known = founding.load(home)
        for name in _DATABASES:
            if name == LEDGER and known is not None and known.orders == "cometbft":
                continue  # CometBFT has to have the blocks of what the ledger has executed
            if (home / name / "data.mdb").exists():
                _copy_database(home / name, to / name)
    except OSError as error:
        raise StorageFailed(STORAGE_FAILED, out.name) from error
    manifest = Manifest(member=admission.admit.member, chain=admission.chain, at=now, files=list(_files(to)))
    signed = custody.sign_payload(_DOMAIN, manifest, node_key)
    write_durably(out / MANIFEST, codec.encode(signed), mode=0o600)
    return manifest


def verify(backup: Path) -> Manifest:
    """Every file is the one that was backed up, and none is missing. Raises Tampered node.24 with the file's name."""
    try:
        signed = custody.read_signed((backup / MANIFEST).read_bytes(), MANIFEST)
        key = joining.load_admission(backup / HOME).admit.keys.node
        manifest = custody.open_signed(_DOMAIN, signed, Manifest, key, MANIFEST)
    except (OSError, CareMeshError) as error:
        raise Tampered(errors.BACKUP_BROKEN, MANIFEST) from error
    found = {file.path: file for file in _files(backup / HOME)}
    for file in manifest.files:
        if found.pop(file.path, None) != file:
            raise Tampered(errors.BACKUP_BROKEN, file.path)
    if found:
        raise Tampered(errors.BACKUP_BROKEN, min(found))
    return manifest


def restore(backup: Path, home: Path, key_file: Path, now: Seconds) -> Manifest:
    """Make a home of a backup and the key file; it is there whole and checked, or not at all.

    Raises Refused node.15 when ``home`` is there, node.25 for a node that orders blocks; Tampered node.24, node.01,
    vault.NN, custodian.21, ledger.NN; BadInput node.26 without the key file; StorageFailed.
    """
    if home.exists() and any(home.iterdir()):
        raise Refused(errors.ALREADY_THERE, home.name)
    manifest = verify(backup)
    beside = home.with_name(f".restoring-{home.name}")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(backup / HOME, beside)
        beside.chmod(0o700)
        try:
            write_durably(beside / KEY, key_file.read_bytes())
        except FileNotFoundError:
            raise BadInput(errors.NO_KEY_FILE, key_file.name) from None
        _check(beside)
        restored.mark(beside, now)
        if home.exists():
            home.rmdir()
        beside.replace(home)
    except OSError as error:
        raise StorageFailed(STORAGE_FAILED, home.name) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return manifest


def _check(home: Path) -> None:
    """Everything in it opens, and is what it says."""
    made = joining.load_home(home)
    for name in made.vault.names():
        made.vault.get(name)
    known = founding.load(home)
    by_one = known is not None and known.orders == "embedded"
    if known is not None and by_one and made.node_key.public in [each.key for each in known.validators]:
        raise Refused(errors.NOT_THE_OPERATOR, known.chain)
    if known is not None and not by_one:
        keystore.forget_signing_key(made.vault, VALIDATOR)
        keystore.forget_signing_key(made.vault, f"{VALIDATOR}/next")
    if known is not None and (home / LEDGER).exists():
        _check_ledger(home, known)
    log = ReleaseLog(home / RELEASES)
    try:
        for stream in log.heads():
            log.entries(stream)
    finally:
        log.close()
    blocks = FilesystemBlocks(home / BLOCKS)
    for path in sorted((home / BLOCKS).rglob("b*")):
        if path.is_file() and "." not in path.name:
            blocks.get(parse_cid(path.name))


def _check_ledger(home: Path, known: Founding) -> None:
    store = Store(str(home / LEDGER), known.chain)
    try:
        check_store(store)
    finally:
        store.close()


def _copy_vault(home: Path, to: Path) -> Signs:
    """Copy until a copy opens whole; the node's key, to sign with. Raises Tampered vault.NN, StorageFailed."""
    for left in range(_TRIES - 1, -1, -1):
        try:
            shutil.rmtree(to / VAULT, ignore_errors=True)
            shutil.copytree(home / VAULT, to / VAULT, ignore=shutil.ignore_patterns(".writing-*"))
            shutil.copyfile(home / KEY, to / KEY)
            vault = keystore.open_vault(to, VAULT)
            for name in vault.names():
                vault.get(name)
            return keystore.signing_key(vault, "node")
        except (CareMeshError, OSError, shutil.Error):
            if not left:
                raise
        finally:
            (to / KEY).unlink(missing_ok=True)
    raise Tampered(errors.BACKUP_BROKEN, VAULT)  # not reached: the last try returns or raises


def _copy_database(folder: Path, to: Path) -> None:
    to.mkdir(mode=0o700)
    try:
        env = lmdb.open(str(folder), readonly=True, max_dbs=16, create=False)
        try:
            env.copy(str(to), compact=True)
        finally:
            env.close()
    except lmdb.Error as error:
        raise StorageFailed(STORAGE_FAILED, folder.name) from error


def _files(folder: Path) -> Iterator[File]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            yield File(path.relative_to(folder).as_posix(), len(data), sha256(data))
