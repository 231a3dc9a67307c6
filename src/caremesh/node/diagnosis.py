"""What ``caremesh doctor`` looks at. Each check says what it found and what to do."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, NamedTuple

from caremesh.blobs.interface import BlockStore
from caremesh.codec import parse_cid
from caremesh.errors import CareMeshError
from caremesh.ledger.verify import check_store
from caremesh.node.mesh import LocalMesh
from caremesh.node.profiles import FOLDER, installed

MIN_FREE_BYTES: Final = 200 * 1024 * 1024
_NEEDED: Final = ("cedarpy", "cryptography", "lmdb", "msgspec", "pynacl", "umbral-pre")
_EARLIEST_S: Final = 1_767_225_600
"""2026-01-01: a clock before it is not set."""


class Finding(NamedTuple):
    """One check."""

    check: str
    ok: bool
    found: str
    cure: str


def diagnose(home: Path, profiles: Path | None = None) -> list[Finding]:
    """All checks, in order; those of the mesh only when there is one. ``profiles``: the folder of their packages."""
    findings = common(home, profiles)
    if not (home / "mesh" / "founding.cbor").exists():
        return [*findings, Finding("mesh", ok=True, found="none yet", cure="")]
    try:
        with LocalMesh(home / "mesh") as mesh:
            findings += [Finding("mesh", ok=True, found=f"opens, height {mesh.engine.status().height}", cure="")]
            findings += _mesh(mesh)
    except CareMeshError as error:
        findings.append(Finding("mesh", ok=False, found=error.code, cure=f"{error.error.sentence} {error.error.cure}"))
    return findings


def common(home: Path, profiles: Path | None = None) -> list[Finding]:
    """What any installation needs, with a mesh or a node or neither."""
    return [_python(), _libraries(), _clock(), _writable(home), _free(home), _profiles(profiles or home / FOLDER)]


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", sys.version_info >= (3, 11), found, "Use Python 3.11 or newer.")


def _libraries() -> Finding:
    missing = []
    for name in _NEEDED:
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    found = f"missing: {', '.join(missing)}" if missing else f"{len(_NEEDED)} found"
    return Finding("libraries", not missing, found, "Install again with `make demo`.")


def _clock() -> Finding:
    now = int(time.time())
    found = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    return Finding("clock", now >= _EARLIEST_S, found, "Set the clock: custodians refuse when clocks differ.")


def _writable(home: Path) -> Finding:
    folder = next(path for path in [home, *home.parents] if path.exists())
    ok = os.access(folder, os.W_OK)
    return Finding("folder", ok, "writable" if ok else "not writable", "Choose another folder with --home.")


def _free(home: Path) -> Finding:
    folder = next(path for path in [home, *home.parents] if path.exists())
    free = shutil.disk_usage(folder).free
    return Finding("disk", free >= MIN_FREE_BYTES, f"{free / 1e9:.1f} GB free", "Free at least 200 MB.")


def _profiles(folder: Path) -> Finding:
    cure = "Take the file away, or get it again; a profile without a snapshot is not checked."
    try:
        found = installed(folder)
    except CareMeshError as error:
        return Finding("profiles", ok=False, found=f"{error.code} {error.place}", cure=cure)
    told = f"{found.packages} packages with {found.usable} profiles" if found.packages else "no packages"
    return Finding("profiles", not found.bare, f"{told}, {found.bare} without snapshot" if found.bare else told, cure)


def _mesh(mesh: LocalMesh) -> Iterator[Finding]:
    status = mesh.engine.status()
    differing = sum(replica.status().app_hash != status.app_hash for replica in mesh.replicas)
    yield Finding(
        "replicas",
        not differing,
        f"{len(mesh.replicas) - differing} of {len(mesh.replicas)} agree",
        "Remove the ledger folder of those that differ; they follow anew.",
    )
    yield _guarded("state", "every value matches its proof", lambda: check_store(mesh.engine.machine.store))
    for name, member in mesh.members.items():
        if member.home.profile.holds_blocks:
            yield _blocks(name, member.home.blocks, member.home.folder / "blocks")


def _guarded(check: str, fine: str, attempt: Callable[[], object]) -> Finding:
    try:
        attempt()
    except CareMeshError as error:
        return Finding(check, ok=False, found=f"{error.code} {error.place}", cure=error.error.cure)
    return Finding(check, ok=True, found=fine, cure="")


def _blocks(name: str, store: BlockStore, folder: Path) -> Finding:
    cids = []
    for path in sorted(folder.rglob("b*")):
        try:
            if path.is_file():
                cids.append(parse_cid(path.name))
        except CareMeshError:
            continue  # a mark beside a block, not a block
    damaged = []
    for cid in cids:
        try:
            store.get(cid)
        except CareMeshError as error:
            damaged.append(error.place)
    found = f"{len(cids)} blocks" if not damaged else f"damaged: {', '.join(damaged)}"
    return Finding(f"blocks of {name}", not damaged, found, "Say: caremesh blocks check.")
