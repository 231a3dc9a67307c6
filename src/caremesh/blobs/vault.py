"""Small secrets that can really be destroyed: seals, fragments, segment keys.

Each object is encrypted under a random key of its own. Those keys stand in pages of at most ``PAGE_ENTRIES``; each page
is encrypted under a random key too, and the keys of the pages stand in one small table, which is rewritten whole and
encrypted under the owner's key. To destroy an object is to write its page anew without it, under a new key, and the
table without the old page's key: what is left of object and page on disk, in backups or on worn flash opens no more.
So a write costs a page and the table, however much the vault holds.

    <folder>/keys.0, keys.1   the table and the one before it, in turns (``key_table.py``)
    <folder>/pages/<name>     AES-256-GCM(names, places and keys of objects)
    <folder>/objects/<name>   AES-256-GCM of the objects of one ``put``, one after the other

Every write replaces at least one page, and removes it last. So a table whose pages are all there is the newest, or a
crash came before the newest counted; one that lacks a page has been replaced, or the vault was tampered with.

Source: design page on custody ("fragments and seals are kept outside LMDB, encrypted under a small
key table that is rewritten whole, so that destroying is real"); docs/adr/0063.
"""

from __future__ import annotations

import bisect
import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED, NewFile, remove_leftovers, sync_folders, write_new
from caremesh.blobs.key_table import KeyTable, KeyTableFiles
from caremesh.crypto.envelope import open_aead, seal_aead
from caremesh.errors import BadInput, ErrorCode, StorageFailed, Tampered
from caremesh.types import Count

PAGE_ENTRIES: Final = 256
_PAGES_AT_HAND: Final = 8
"""Pages that stay decrypted in memory."""
_DOMAIN: Final = b"caremesh/v1/vault"

TABLE_BROKEN = ErrorCode(
    "vault.01", "The key table of this vault is damaged or belongs to another key.", "Restore the folder from a backup."
)
OBJECT_BROKEN = ErrorCode(
    "vault.02", "An object of this vault is damaged.", "Fetch it again from the party that deposited it."
)


class _Entry(Struct, frozen=True):
    """Where an object is, and its key."""

    file: str
    offset: Count
    length: Count
    key: bytes


_Page = dict[str, _Entry]


class Vault:
    """A folder of destroyable secrets, owned by one process."""

    def __init__(self, folder: Path, owner_key: bytes) -> None:
        """Open or create. ``owner_key``: 32 bytes. Raises Tampered vault.01, StorageFailed."""
        self._folder = folder
        self._lock = threading.RLock()
        self._tables = KeyTableFiles(folder, owner_key)
        self._at_hand: OrderedDict[str, _Page] = OrderedDict()
        self._table = KeyTable(0, {})
        self._open_page = ""
        self._page_of: dict[str, str] = {}
        self._names: list[str] = []
        self._living: Counter[str] = Counter()
        self._to_forget = False
        try:
            for name in ("pages", "objects"):
                (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            remove_leftovers(folder)
            if self._tables.exist() or any((folder / "objects").iterdir()):
                self._load()
                self._tables.forget(self._table)
            else:
                self._commit({}, (), [])
        except OSError as error:
            raise StorageFailed(STORAGE_FAILED, folder.name) from error

    def put(self, objects: Mapping[str, bytes]) -> None:
        """Store all objects, or none. An object under a name in use replaces the old one, which is destroyed.

        Durable when this returns. Raises StorageFailed.
        """
        if not objects:
            return
        with self._lock:
            file, at, sealed = secrets.token_hex(16), 0, []
            fresh: _Page = {}
            for name, data in objects.items():
                key = secrets.token_bytes(32)
                ciphertext = seal_aead(key, data, _aad(name))
                fresh[name] = _Entry(file, at, len(ciphertext), key)
                sealed.append(ciphertext)
                at += len(ciphertext)
            stale = [name for name in fresh if name in self._page_of]
            self._commit(fresh, stale, [NewFile(file, self._folder / "objects" / file, b"".join(sealed))])

    def get(self, name: str) -> bytes | None:
        """The object, or None when there is none of that name. Raises Tampered vault.01, vault.02, StorageFailed."""
        with self._lock:
            if name not in self._page_of:
                return None
            entry = self._page(self._page_of[name])[name]
            try:
                with (self._folder / "objects" / entry.file).open("rb") as file:
                    file.seek(entry.offset)
                    ciphertext = file.read(entry.length)
            except FileNotFoundError as error:
                raise Tampered(OBJECT_BROKEN, entry.file) from error
            except OSError as error:
                raise StorageFailed(STORAGE_FAILED, entry.file) from error
            try:
                return open_aead(entry.key, ciphertext, _aad(name), entry.file)
            except Tampered as error:
                raise Tampered(OBJECT_BROKEN, entry.file) from error

    def has(self, name: str) -> bool:
        """Whether there is an object of that name; it is not read."""
        return name in self._page_of

    def names(self, prefix: str = "") -> list[str]:
        """Names of the objects that start with ``prefix``, sorted."""
        with self._lock:
            start = bisect.bisect_left(self._names, prefix)
            end = start
            while end < len(self._names) and self._names[end].startswith(prefix):
                end += 1
            return self._names[start:end]

    def destroy(self, names: Iterable[str]) -> list[str]:
        """Destroy the named objects for good; returns those that existed. Durable when this returns."""
        with self._lock:
            gone = [name for name in dict.fromkeys(names) if name in self._page_of]
            if gone or self._to_forget:
                self._commit({}, gone, [])
            return gone

    def _commit(self, fresh: _Page, gone: Iterable[str], objects: list[NewFile]) -> None:
        """Write the pages anew that change, and the table; then remove what no table names any more."""
        gone = list(gone)
        replaced = {self._page_of[name] for name in gone} | ({self._open_page} - {""})
        loose: _Page = {}
        for file in sorted(replaced):
            loose |= self._page(file)
        stale = [loose.pop(name) for name in gone]
        loose |= fresh
        pages = {secrets.token_hex(16): page for page in _cut(loose)}
        keys = {file: secrets.token_bytes(32) for file in pages}
        kept = {file: key for file, key in self._table.pages.items() if file not in replaced}
        table = KeyTable(self._table.number + 1, kept | keys)
        written = objects + [
            NewFile(file, self._folder / "pages" / file, seal_aead(keys[file], codec.encode(page), _aad(file)))
            for file, page in pages.items()
        ]
        try:
            write_new(written)
            sync_folders(sorted({file.path.parent for file in written}))
        except BaseException:
            _remove(file.path for file in written)
            raise
        self._tables.write(table)
        self._table, self._open_page = table, min(pages, key=lambda file: len(pages[file]))
        for file in replaced:
            self._at_hand.pop(file, None)
        for file, page in pages.items():
            self._remember(file, page)
            self._page_of.update(dict.fromkeys(page, file))
        self._count(fresh, gone, stale)
        _remove(self._folder / "pages" / file for file in replaced)
        _remove(self._folder / "objects" / file for file in {entry.file for entry in stale} if not self._living[file])
        self._to_forget = self._to_forget or bool(gone)
        if self._to_forget:
            self._tables.forget(table)
            self._to_forget = False

    def _count(self, fresh: _Page, gone: list[str], stale: list[_Entry]) -> None:
        """Keep the names, and how many objects of each file live."""
        for name in gone:
            if name not in fresh:
                del self._page_of[name]
                del self._names[bisect.bisect_left(self._names, name)]
        for name in fresh:
            if name not in gone:
                bisect.insort(self._names, name)
        self._living.update(entry.file for entry in fresh.values())
        self._living.subtract(entry.file for entry in stale)

    def _load(self) -> None:
        """The newest table whose pages are all there; and no more on disk than what it names. Raises Tampered."""
        places = ["keys"]
        for table in self._tables.read():
            self._table, self._page_of, self._living, least = table, {}, Counter(), PAGE_ENTRIES + 1
            try:
                for file in table.pages:
                    page = self._read_page(file)
                    self._page_of.update(dict.fromkeys(page, file))
                    self._living.update(entry.file for entry in page.values())
                    if len(page) < least:
                        self._open_page, least = file, len(page)
            except Tampered as error:
                places.append(error.place)
                continue
            self._names = sorted(self._page_of)
            _remove(path for path in (self._folder / "pages").iterdir() if path.name not in table.pages)
            _remove(path for path in (self._folder / "objects").iterdir() if path.name not in self._living)
            return
        raise Tampered(TABLE_BROKEN, places[1] if places[1:] else places[0])

    def _page(self, file: str) -> _Page:
        page = self._at_hand.get(file)
        if page is None:
            page = self._read_page(file)
        self._remember(file, page)
        return page

    def _remember(self, file: str, page: _Page) -> None:
        self._at_hand[file] = page
        self._at_hand.move_to_end(file)
        while len(self._at_hand) > _PAGES_AT_HAND:
            self._at_hand.popitem(last=False)

    def _read_page(self, file: str) -> _Page:
        try:
            stored = (self._folder / "pages" / file).read_bytes()
            return codec.decode_as(open_aead(self._table.pages[file], stored, _aad(file), file), _Page)
        except (FileNotFoundError, Tampered, BadInput) as error:
            raise Tampered(TABLE_BROKEN, file) from error
        except OSError as error:
            raise StorageFailed(STORAGE_FAILED, file) from error


def _aad(name: str) -> bytes:
    return _DOMAIN + b"\0" + name.encode()


def _cut(entries: _Page) -> list[_Page]:
    """Pages of at most so many entries; one, when there is nothing."""
    rows = list(entries.items())
    return [dict(rows[at : at + PAGE_ENTRIES]) for at in range(0, max(len(rows), 1), PAGE_ENTRIES)]


def _remove(paths: Iterable[Path]) -> None:
    """Of what no table names, as far as the disk lets us; the rest goes at the next opening."""
    for path in paths:
        try:
            path.unlink()
        except OSError:
            continue
