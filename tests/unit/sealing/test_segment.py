"""A segment opens to the original bytes, and for every change to any part of it not at all."""

import os
from collections.abc import Callable

import pytest
import zstandard

from caremesh import codec
from caremesh.codec import CID
from caremesh.crypto.envelope import ManyAead, seal_aead
from caremesh.crypto.hashes import length_prefixed
from caremesh.crypto.keys import derive
from caremesh.crypto.reencryption import ReadingKey, open_original, seal_hash
from caremesh.errors import BadInput, CareMeshError, ErrorCode, Tampered, Unavailable
from caremesh.sealing import descriptor as tables
from caremesh.sealing import segment as sealing
from caremesh.sealing.block_cipher import BlockCipher
from caremesh.sealing.descriptor import Chunk, Descriptor, Entry, key_commitment, read_descriptor, size_class
from caremesh.sealing.frames import Framer, padded_length
from caremesh.sealing.segment import (
    OpenedRecord,
    RecordToSeal,
    SealedSegment,
    open_segment,
    seal_anew,
    seal_segment,
)

STREAM, OTHER_STREAM = bytes([7]) * 32, bytes([8]) * 32
SOURCE = "did:caremesh:demo:" + "a" * 32
READING = ReadingKey.from_secret(bytes([1]) * 32)
FHIR = "application/fhir+json"
MEBIBYTE = 1024 * 1024
CANARY = "canary-of-a-person"


def record(data: bytes, identifier: str = CANARY, media_type: str = FHIR) -> RecordToSeal:
    return RecordToSeal(
        media_type=media_type,
        resource_type="Observation",
        id=identifier,
        version="2",
        last_updated="2024-02-29T12:00:00.000+00:00",
        data=data,
    )


def seal(*data: bytes, stream: bytes = STREAM) -> SealedSegment:
    return seal_segment(stream, SOURCE, READING.public, [record(item, f"{CANARY}-{i}") for i, item in enumerate(data)])


def reopen(sealed: SealedSegment, **changes: object) -> list[OpenedRecord]:
    """Open a segment of which some parts were replaced."""
    key = changes.pop("segment_key", sealed.segment_key)
    blocks = changes.pop("blocks", sealed.blocks)
    public = changes.pop("descriptor", sealed.descriptor)
    if changes:
        public = codec.encode(codec.decode(public) | changes)  # type: ignore[arg-type]
    return open_segment(key, public, blocks.__getitem__)  # type: ignore[arg-type, attr-defined]


SEALED = seal(b'{"a":1}', b"", b'{"b":"' + b"x" * 500 + b'"}')
TABLE = read_descriptor(SEALED.descriptor)
LARGE = seal(os.urandom(2 * MEBIBYTE + 5), b"after")


def forge(
    pieces: list[list[bytes]],
    chunks: Callable[[list[list[Chunk]]], list[list[Chunk]]] = lambda made: made,
    *,
    manifest: bytes | None = None,
    seal_block: Callable[..., bytes] = BlockCipher.seal,
    block_bytes: int = MEBIBYTE,
    frame_table: Callable[[bytes], bytes] = lambda framed: framed,
) -> SealedSegment:
    """A segment by a dishonest source: any plaintext pieces, any manifest, under a true key and true names."""
    key = os.urandom(32)
    cipher, framer = BlockCipher(key, STREAM), Framer()
    packed, made = [b""], []
    for record_pieces in pieces:
        row = []
        for piece in record_pieces:
            if len(packed[-1]) + len(piece) + 16 > block_bytes:
                packed.append(b"")
            row.append(Chunk(len(packed) - 1, len(packed[-1]), len(piece)))
            packed[-1] += piece
        made.append(row)
    blocks = [seal_block(cipher, i, block, last=i == len(packed) - 1) for i, block in enumerate(packed)]
    rows = [Entry(FHIR, "Observation", "", "", "", row) for row in chunks(made)]
    table = tables.write_manifest(rows) if manifest is None else manifest
    sealed_table = seal_aead(derive(key, b"manifest"), frame_table(framer.frame(table)), tables.manifest_aad(STREAM))
    named = {codec.cid_of_raw(block): block for block in blocks}
    public = Descriptor(
        v=1,
        stream=STREAM,
        source=SOURCE,
        seal=bytes(32),
        commitment=key_commitment(key),
        manifest=codec.cid_of_raw(sealed_table),
        blocks=[codec.cid_of_raw(block) for block in blocks],
        size_class=size_class(len(sealed_table) + sum(map(len, blocks))),
    )
    return SealedSegment(
        descriptor=codec.encode(public),
        descriptor_cid=codec.cid_of_cbor(codec.encode(public)),
        seal=SEALED.seal,
        seal_hash=bytes(32),
        blocks=named | {public.manifest: sealed_table},
        size_class=public.size_class,
        segment_key=key,
    )


FRAMES = [[Framer().frame(b"one")], [Framer().frame(b"two")]]


def test_records_come_back_as_they_were() -> None:
    opened = reopen(SEALED)
    assert [item.data for item in opened] == [b'{"a":1}', b"", b'{"b":"' + b"x" * 500 + b'"}']
    assert [item.index for item in opened] == [0, 1, 2]
    assert opened[1] == OpenedRecord(1, FHIR, "Observation", f"{CANARY}-1", "2", "2024-02-29T12:00:00.000+00:00", b"")


def test_the_seal_holds_the_segment_key_and_the_descriptor_names_both() -> None:
    assert open_original(READING, SEALED.seal) == SEALED.segment_key
    assert TABLE.seal == SEALED.seal_hash == seal_hash(SEALED.seal)
    assert TABLE.commitment == derive(SEALED.segment_key, b"commit")
    assert (TABLE.stream, TABLE.source) == (STREAM, SOURCE)
    assert SEALED.descriptor_cid == codec.cid_of_cbor(SEALED.descriptor)
    assert set(SEALED.blocks) == {TABLE.manifest, *TABLE.blocks}
    assert SEALED.size_class == TABLE.size_class == (sum(map(len, SEALED.blocks.values())) - 1).bit_length()


def test_a_record_larger_than_a_block_spans_chunks() -> None:
    assert len(read_descriptor(LARGE.descriptor).blocks) == 3
    assert max(map(len, LARGE.blocks.values())) == MEBIBYTE
    opened = reopen(LARGE)
    assert (len(opened[0].data), opened[1].data) == (2 * MEBIBYTE + 5, b"after")
    data = os.urandom(MEBIBYTE)
    assert [item.data for item in reopen(seal(data, b"after"))] == [data, b"after"]


def test_who_opens_a_block_names_it() -> None:
    for length in (0, 15, 20):
        with pytest.raises(Tampered, match=r"envelope\.02") as caught:
            BlockCipher(bytes(32), STREAM).open(0, bytes(length), last=True)
        assert caught.value.place == ""


def test_blocks_are_filled_in_order() -> None:
    many = seal(*(os.urandom(400_000) for _ in range(7)))
    sizes = [len(many.blocks[cid]) for cid in read_descriptor(many.descriptor).blocks]
    assert sizes == [2 * 401_408 + 16, 2 * 401_408 + 16, 2 * 401_408 + 16, 401_408 + 16]


Use = tuple[bytes, bytes, bytes]
"""Key, nonce and associated data of one encryption."""


def watch(monkeypatch: pytest.MonkeyPatch, saw: Callable[[Use], None]) -> None:
    """Tell of every encryption that sealing makes, before it is made."""

    class Watched(ManyAead):
        def __init__(self, key: bytes) -> None:
            super().__init__(key)
            made = self.seal

            def seal(nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
                saw((key, nonce, aad))
                return made(nonce, plaintext, aad)

            self.seal = seal  # type: ignore[misc]

    def once(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
        saw((key, bytes(12), aad))
        return seal_aead(key, plaintext, aad)

    monkeypatch.setattr("caremesh.sealing.block_cipher.ManyAead", Watched)
    monkeypatch.setattr(sealing, "seal_aead", once)


def test_keys_nonces_and_associated_data_are_those_of_the_design(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Use] = []
    watch(monkeypatch, seen.append)
    made = seal(b"small", os.urandom(MEBIBYTE))
    key, aad = derive(made.segment_key, b"blocks"), length_prefixed(STREAM, b"blocks")
    manifest_aad = length_prefixed(STREAM, b"manifest", bytes(4), b"\1", b"application/json")
    assert seen == [
        *((key, number.to_bytes(8, "big") + last.to_bytes(4, "big"), aad) for number, last in ((0, 0), (1, 0), (2, 1))),
        (derive(made.segment_key, b"manifest"), bytes(12), manifest_aad),
    ]


@pytest.mark.promise("P6")
def test_no_key_meets_a_nonce_twice_even_when_sealing_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[bytes, bytes]] = []
    records = [b"one", os.urandom(MEBIBYTE)]

    class Crash(BaseException):
        pass

    def saw(use: Use) -> None:
        used.append(use[:2])
        if len(used) == 2:
            raise Crash

    watch(monkeypatch, saw)
    with pytest.raises(Crash):
        seal(*records)
    first, second = seal(*records), seal(*records)
    assert len(used) == len(set(used)) == 2 + 4 + 4
    assert len({key for key, _ in used}) == 1 + 2 + 2
    assert not set(first.blocks) & set(second.blocks)


def test_entropy_is_the_callers() -> None:
    asked: list[int] = []

    def fixed(count: int) -> bytes:
        asked.append(count)
        return bytes([5]) * count

    made = [seal_segment(STREAM, SOURCE, READING.public, [record(b"x")], fixed) for _ in range(2)]
    assert asked == [32, 32]
    assert made[0].segment_key == bytes([5]) * 32
    assert made[0].blocks == made[1].blocks
    with pytest.raises(BadInput, match=r"sealing\.04"):
        seal_segment(STREAM, SOURCE, READING.public, [record(b"x")], lambda count: bytes(count - 1))


@pytest.mark.promise("P6")
def test_every_flipped_byte_of_every_block_is_noticed_and_the_block_named() -> None:
    for cid, block in SEALED.blocks.items():
        for position in range(len(block)):
            changed = block[:position] + bytes([block[position] ^ 1]) + block[position + 1 :]
            with pytest.raises(Tampered, match=rf"sealing\.07.*{cid.encode()}"):
                reopen(SEALED, blocks=SEALED.blocks | {cid: changed})
        for changed in (b"", block[:-1], block + b"\0", bytes(2 * MEBIBYTE)):
            with pytest.raises(Tampered, match=rf"sealing\.07.*{cid.encode()}"):
                reopen(SEALED, blocks=SEALED.blocks | {cid: changed})


@pytest.mark.promise("P6")
def test_every_flipped_byte_of_the_descriptor_is_noticed() -> None:
    """Source and seal hash do not bear on opening: the ledger's CID binds them, so the name must differ at least."""
    noticed = 0
    for position in range(len(SEALED.descriptor)):
        changed = bytearray(SEALED.descriptor)
        changed[position] ^= 1
        assert codec.cid_of_cbor(bytes(changed)) != SEALED.descriptor_cid
        try:
            reopen(SEALED, descriptor=bytes(changed))
        except (Tampered, KeyError):
            noticed += 1
    assert noticed >= len(SEALED.descriptor) - 32 - 32  # all but those of seal hash and source


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"stream": OTHER_STREAM}, "envelope.02"),
        ({"commitment": bytes(32)}, "sealing.05"),
        ({"segment_key": bytes(32)}, "sealing.05"),
        ({"segment_key": b""}, "sealing.05"),
        ({"blocks": list(reversed(read_descriptor(LARGE.descriptor).blocks))}, "envelope.02"),
        ({"size_class": 0}, "sealing.10"),
        ({"size_class": SEALED.size_class + 1}, "sealing.10"),
        ({"size_class": 64}, "sealing.06"),
        ({"stream": bytes(31)}, "sealing.06"),
        ({"source": "a person"}, "sealing.06"),
        ({"v": 2}, "sealing.06"),
        ({"blocks": []}, "sealing.06"),
        ({"more": 1}, "sealing.06"),
    ],
)
def test_swapped_parts_are_noticed(changes: dict[str, object], code: str) -> None:
    sealed = LARGE if isinstance(changes.get("blocks"), list) and changes["blocks"] else SEALED
    segment_key = changes.get("segment_key", sealed.segment_key)
    public = codec.encode(
        codec.decode(sealed.descriptor) | {key: changes[key] for key in changes.keys() - {"segment_key"}}
    )
    with pytest.raises(Tampered, match=code) as caught:
        open_segment(segment_key, public, sealed.blocks.__getitem__)  # type: ignore[arg-type]
    if caught.value.code == "sealing.10":
        assert caught.value.place == codec.cid_of_cbor(public).encode()


@pytest.mark.promise("P6")
def test_a_key_of_another_segment_does_not_open() -> None:
    with pytest.raises(Tampered, match=rf"sealing\.05.*{SEALED.descriptor_cid.encode()}"):
        reopen(SEALED, segment_key=LARGE.segment_key)


def test_a_descriptor_that_is_none_is_named() -> None:
    for wrong in (b"", b"\xa0", SEALED.descriptor[:-1], SEALED.descriptor + b"\0", b"{}"):
        with pytest.raises(Tampered, match=rf"sealing\.06.*{codec.cid_of_cbor(wrong).encode()}"):
            read_descriptor(wrong)


@pytest.mark.promise("P6")
def test_a_forger_with_nothing_wrong_is_a_true_source() -> None:
    """The forgeries below differ from this one in one thing each."""
    assert [item.data for item in reopen(forge(FRAMES))] == [b"one", b"two"]


def swapped(made: list[list[Chunk]]) -> list[list[Chunk]]:
    return [made[1], made[0]]


def gap(made: list[list[Chunk]]) -> list[list[Chunk]]:
    return made[1:]


def left_over(made: list[list[Chunk]]) -> list[list[Chunk]]:
    return made[:-1]


def twice(made: list[list[Chunk]]) -> list[list[Chunk]]:
    return [made[0], made[0]]


def outside(made: list[list[Chunk]]) -> list[list[Chunk]]:
    return [made[0], [Chunk(0, made[1][0].offset, made[1][0].length + 1)]]


def other_block(made: list[list[Chunk]]) -> list[list[Chunk]]:
    return [made[0], [Chunk(1, made[1][0].offset, made[1][0].length)]]


def one_more(made: list[list[Chunk]]) -> list[list[Chunk]]:
    return [*made, [Chunk(1, 0, 9)]]


def nowhere(made: list[list[Chunk]]) -> list[list[Chunk]]:
    return [[Chunk(99_999, 0, 1)], made[1]]


def joined(made: list[list[Chunk]]) -> list[list[Chunk]]:
    return [made[0] + made[1]]


@pytest.mark.promise("P6")
def test_a_chunk_beyond_the_end_of_a_block() -> None:
    with pytest.raises(Tampered, match=r"sealing\.08"):
        reopen(forge(FRAMES, outside))


@pytest.mark.promise("P6")
@pytest.mark.parametrize("lie", [swapped, gap, left_over, twice, other_block, one_more, nowhere])
def test_a_manifest_that_does_not_describe_its_blocks(lie: Callable[..., list[list[Chunk]]]) -> None:
    made = forge(FRAMES, lie)
    with pytest.raises(Tampered, match=r"sealing\.08") as caught:
        reopen(made)
    names = read_descriptor(made.descriptor)
    assert caught.value.place.startswith((names.manifest.encode(), names.blocks[0].encode()))
    assert (caught.value.place == names.manifest.encode()) == (lie is left_over)


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"{}",
        b'{"v":1,"records":[]}',
        b'{"v":2,"records":[["","","","","",[[0,0,1]]]]}',
        b'{"v":1,"records":[["","","","","",[]]]}',
        b'{"v":1,"records":[["","","","","",[[0,0,-1]]]]}',
        b'{"v":1,"records":[["","","","","",[[0,0,1,1]]]]}',
        b'{"v":1,"records":[["","","","","",[[0,0,1]],1]]}',
        b'{"v":1,"records":[["","","","","",[[0,0,1]]]],"more":1}',
        b'{"v":1,"records":' + b"[" * 100_000,
        b'{"v":1,"records":[["\xff","","","","",[[0,0,1]]]]}',
        b'{"v":1,"records":[["' + b"x" * 256 + b'","","","","",[[0,0,1]]]]}',
    ],
)
def test_a_manifest_that_is_none(manifest: bytes) -> None:
    made = forge(FRAMES, manifest=manifest)
    with pytest.raises(Tampered, match=r"sealing\.08") as caught:
        reopen(made)
    assert caught.value.place == read_descriptor(made.descriptor).manifest.encode()


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("table", "code"), [(lambda frame: frame + b"\0", "sealing.09"), (lambda _: bomb(8 * MEBIBYTE + 1), "sealing.10")]
)
def test_a_manifest_that_is_not_a_frame(table: Callable[[bytes], bytes], code: str) -> None:
    made = forge(FRAMES, frame_table=table)
    with pytest.raises(Tampered) as caught:
        reopen(made)
    assert (caught.value.code, caught.value.place) == (code, read_descriptor(made.descriptor).manifest.encode())


@pytest.mark.promise("P6")
def test_a_manifest_of_another_key_is_named() -> None:
    with pytest.raises(Tampered, match=r"envelope\.02") as caught:
        reopen(SEALED, stream=OTHER_STREAM)
    assert caught.value.place == TABLE.manifest.encode()


@pytest.mark.promise("P6")
@pytest.mark.parametrize("said", [True, False])
def test_the_last_block_and_no_other_says_that_it_is_the_last(said: bool) -> None:
    def always(cipher: BlockCipher, block: int, frames: bytes, *, last: bool) -> bytes:  # noqa: ARG001 -- the lie
        return BlockCipher.seal(cipher, block, frames, last=said)

    made = forge(FRAMES, seal_block=always, block_bytes=50)
    names = [cid.encode() for cid in read_descriptor(made.descriptor).blocks]
    assert len(names) == 2
    with pytest.raises(Tampered, match=r"envelope\.02") as caught:
        reopen(made)
    assert caught.value.place == (names[0] if said else f"{names[1]} record 1")


@pytest.mark.promise("P6")
def test_blocks_of_another_stream_or_none_are_named() -> None:
    def elsewhere(_: BlockCipher, block: int, frames: bytes, *, last: bool) -> bytes:
        return BlockCipher(keys[0], OTHER_STREAM).seal(block, frames, last=last)

    keys = [os.urandom(32)]
    for lie in (elsewhere, lambda *_, **__: b"", lambda *_, **__: bytes(15)):
        made = forge(FRAMES, seal_block=lie)
        with pytest.raises(Tampered, match=r"envelope\.02") as caught:
            reopen(made)
        assert caught.value.place == read_descriptor(made.descriptor).blocks[0].encode()


@pytest.mark.promise("P6")
def test_a_segment_that_lost_its_last_block() -> None:
    table = read_descriptor(LARGE.descriptor)
    blocks = {cid: LARGE.blocks[cid] for cid in (table.manifest, *table.blocks[:-1])}
    public = codec.encode(
        codec.decode(LARGE.descriptor)
        | {"blocks": list(table.blocks[:-1]), "size_class": size_class(sum(map(len, blocks.values())))}
    )
    with pytest.raises(Tampered, match=rf"envelope\.02.*{table.blocks[-2].encode()} record 0"):
        open_segment(LARGE.segment_key, public, blocks.__getitem__)


@pytest.mark.promise("P6")
def test_records_cut_short_reordered_or_joined() -> None:
    frame = FRAMES[0][0]
    whole = forge([[frame[:3], frame[3:]]])
    assert reopen(whole)[0].data == b"one"
    with pytest.raises(Tampered, match=r"sealing\.09.*record 0"):
        reopen(forge([[frame], [frame]], joined))
    with pytest.raises(Tampered, match=r"sealing\.09.*record 0"):
        reopen(forge([[frame[:-1]], [frame]]))

    def in_place_of(cipher: BlockCipher, block: int, frames: bytes, *, last: bool) -> bytes:
        return BlockCipher.seal(cipher, 1 - block, frames, last=last)

    assert len(reopen(forge(FRAMES, block_bytes=50))) == 2
    with pytest.raises(Tampered, match=r"envelope\.02"):
        reopen(forge(FRAMES, seal_block=in_place_of, block_bytes=50))


@pytest.mark.promise("P6")
def test_a_block_larger_than_any_may_be_is_refused_under_its_true_name() -> None:
    pieces = [[Framer().frame(os.urandom(700_000))], [Framer().frame(os.urandom(700_000))]]
    assert len(reopen(forge(pieces))) == 2
    with pytest.raises(Tampered, match=r"sealing\.07"):
        reopen(forge(pieces, block_bytes=2 * MEBIBYTE))


def bomb(size: int) -> bytes:
    packed = zstandard.ZstdCompressor(level=3).compress(bytes(size))
    length = 4 + len(packed)
    return len(packed).to_bytes(4, "big") + packed + bytes(padded_length(length) - length)


def framed(packed: bytes) -> bytes:
    length = 4 + len(packed)
    return len(packed).to_bytes(4, "big") + packed + bytes(padded_length(length) - length)


@pytest.mark.promise("P6")
def test_a_record_that_unpacks_to_too_much_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MAX_RECORD_BYTES", 1000)
    monkeypatch.setattr(sealing, "MAX_SEGMENT_BYTES", 2500)
    assert len(reopen(forge([[bomb(1000)], [bomb(1000)], [bomb(500)]]))) == 3
    for sizes in ([1001], [1000, 1000, 501]):
        with pytest.raises(Tampered, match=rf"sealing\.10.*record {len(sizes) - 1}"):
            reopen(forge([[bomb(size)] for size in sizes]))


PACKED = zstandard.ZstdCompressor().compress(b"data")


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0\0\0",
        bytes(4),
        b"\xff\xff\xff\xff",
        framed(b""),
        framed(b"not zstd"),
        framed(PACKED[:-1]),
        framed(PACKED + b"\0"),
        framed(PACKED + PACKED),
        framed(zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 100)),
        framed(PACKED) + b"\0",
        framed(PACKED)[:-1],
        Framer().frame(os.urandom(60))[:-1] + b"\1",
    ],
)
def test_a_record_that_is_not_a_frame(frame: bytes) -> None:
    with pytest.raises(Tampered, match=r"sealing\.09.*record 0"):
        reopen(forge([[frame]]))


def test_padding_says_little_about_a_size() -> None:
    assert [padded_length(n) for n in (0, 1, 2, 9, 17, 100, 1000, 1025)] == [0, 1, 2, 10, 18, 104, 1024, 1088]
    frame = Framer().frame(b'{"a":1}')
    assert len(frame) == padded_length(len(frame))


def test_what_cannot_be_sealed() -> None:
    def attempt(records: list[RecordToSeal], code: str) -> None:
        with pytest.raises(BadInput, match=code) as caught:
            seal_segment(STREAM, SOURCE, READING.public, records)
        assert CANARY not in str(caught.value)

    attempt([], r"sealing\.01")
    attempt([record(b"")] * 4097, r"sealing\.02")
    attempt([record(b""), record(b"", "x" * 256)], r"sealing\.03.*record 1")
    attempt([record(b"", f"{CANARY}\ud800")], r"sealing\.03.*record 0")
    attempt([record(b"", media_type="x" * 256)], r"sealing\.03")
    with pytest.raises(BadInput, match=r"reencryption\.02"):
        seal_segment(STREAM, SOURCE, bytes(33), [record(b"")])
    for stream, source in ((bytes(31), SOURCE), (STREAM, CANARY)):
        with pytest.raises(BadInput, match=r"codec\.03") as caught:
            seal_segment(stream, source, READING.public, [record(b"")])
        assert CANARY not in str(caught.value)


def test_too_much_for_one_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MAX_RECORD_BYTES", 10)
    monkeypatch.setattr(sealing, "MAX_SEGMENT_BYTES", 25)
    monkeypatch.setattr(sealing, "MAX_RECORDS", 4)
    assert seal(bytes(10), bytes(10), bytes(5))
    assert seal(b"", b"", b"", b"")
    for data, place in (
        ([b"", bytes(11)], "record 1"),
        ([bytes(10), bytes(10), bytes(6)], ""),
        ([b""] * 5, ""),
    ):
        with pytest.raises(BadInput, match=r"sealing\.02") as caught:
            seal(*data)
        assert caught.value.place == place


def test_a_segment_whose_tables_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each limit is the most that there may be."""
    data, tables_made = [b"1", b"2"], []

    def spy(entries: list[Entry]) -> bytes:
        tables_made.append(tables.write_manifest(entries))
        return tables_made[-1]

    monkeypatch.setattr(sealing, "write_manifest", spy)
    made = seal(*data)
    manifest = made.blocks[read_descriptor(made.descriptor).manifest]
    for limit, least in (
        ("MAX_BLOCKS", 1),
        ("_MAX_MANIFEST_BYTES", len(tables_made[0])),
        ("MAX_BLOCK_BYTES", len(manifest)),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(sealing, limit, least)
            assert seal(*data)
            patched.setattr(sealing, limit, least - 1)
            with pytest.raises(BadInput, match=r"sealing\.02"):
                seal(*data)


def test_a_block_may_be_filled_to_its_last_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    data = [os.urandom(700), os.urandom(700)]
    made = seal(*data)
    [cid] = read_descriptor(made.descriptor).blocks
    length = len(made.blocks[cid])
    for limit, blocks in ((length, 1), (length - 1, 2)):
        monkeypatch.setattr(sealing, "MAX_BLOCK_BYTES", limit)
        assert len(read_descriptor(seal(*data).descriptor).blocks) == blocks


def test_texts_are_as_long_as_they_may_be() -> None:
    assert seal_segment(STREAM, SOURCE, READING.public, [record(b"", "x" * 255)])


def test_a_manifest_that_does_not_fit_a_block() -> None:
    texts = [os.urandom(127).hex() for _ in range(4096)]
    records = [RecordToSeal(resource_type=text, id=text[::-1], version=text[3:], data=b"") for text in texts]
    with pytest.raises(BadInput, match=r"sealing\.02"):
        seal_segment(STREAM, SOURCE, READING.public, records)


def test_a_new_epoch_seals_the_same_key_anew() -> None:
    next_epoch = ReadingKey.from_secret(bytes([2]) * 32)
    public, cid, again = seal_anew(SEALED.segment_key, SEALED.descriptor, next_epoch.public)
    assert cid == codec.cid_of_cbor(public) != SEALED.descriptor_cid
    assert open_original(next_epoch, again) == SEALED.segment_key
    assert codec.decode(public) == codec.decode(SEALED.descriptor) | {"seal": seal_hash(again)}
    assert reopen(SEALED, descriptor=public) == reopen(SEALED)
    with pytest.raises(Tampered, match=r"sealing\.05") as caught:
        seal_anew(bytes(32), SEALED.descriptor, next_epoch.public)
    assert caught.value.place == SEALED.descriptor_cid.encode()


def test_errors_of_the_store_pass_through() -> None:
    def gone(cid: CID) -> bytes:
        raise Unavailable(ErrorCode("blobs.02", "gone"), cid.encode())

    with pytest.raises(Unavailable, match=r"blobs\.02"):
        open_segment(SEALED.segment_key, SEALED.descriptor, gone)


@pytest.mark.promise("P1")
def test_nothing_shows_what_is_inside() -> None:
    shown = [repr(item) for item in (record(CANARY.encode()), SEALED, reopen(SEALED)[0], Entry(*[CANARY] * 5, []))]
    outside = b"".join(SEALED.blocks.values()) + SEALED.descriptor
    assert shown == [
        "RecordToSeal(…)",
        f"SealedSegment({SEALED.descriptor_cid.encode()})",
        "OpenedRecord(0, …)",
        "Entry(…)",
    ]
    assert not any(CANARY in text or SEALED.segment_key.hex() in text for text in shown)
    assert CANARY.encode() not in outside
    assert SEALED.segment_key not in outside
    assert b"Observation" not in outside


def test_garbage_never_crashes() -> None:
    for length in (0, 1, 10, 100, 1000):
        with pytest.raises(CareMeshError):
            reopen(forge([[os.urandom(length)]]))
        with pytest.raises(CareMeshError):
            reopen(SEALED, descriptor=os.urandom(length))
