/** Seal records into a segment, and open them again: as `caremesh.sealing.segment`, with the same checks and codes. */
import * as cbor from "@ipld/dag-cbor";
import { CID } from "multiformats/cid";
import { create as digestOf } from "multiformats/hashes/digest";

import { concatBytes, equal, lengthPrefixed, uint32 } from "../crypto/bytes.ts";
import { openAead, sealAead } from "../crypto/envelope.ts";
import { derive, sha256 } from "../crypto/keys.ts";
import { type Seal, sealHash, sealTo } from "../crypto/reencryption.ts";
import { BadInput, Tampered } from "../errors.ts";
import { frame, unframe } from "./frames.ts";

const MAX_BLOCK_BYTES = 1024 * 1024;
/** What a block holds before its tag is added. */
const ROOM = MAX_BLOCK_BYTES - 16;
const MAX_RECORDS = 4096;
const MAX_BLOCKS = 512;
const MAX_RECORD_BYTES = 64 * 1024 * 1024;
const MAX_SEGMENT_BYTES = 256 * 1024 * 1024;
const MAX_MANIFEST_BYTES = 8 * 1024 * 1024;
const RAW = 0x55;
const SHA2_256 = 0x12;
const FIELDS = ["blocks", "commitment", "manifest", "seal", "size_class", "source", "stream", "v"];

/** A record as its source has it. */
export interface RecordToSeal {
  mediaType: string;
  resourceType: string;
  id: string;
  version: string;
  lastUpdated: string;
  data: Uint8Array;
}

/** A segment as everybody may see it. */
export interface Descriptor {
  v: 1;
  stream: Uint8Array;
  source: string;
  seal: Uint8Array;
  commitment: Uint8Array;
  manifest: CID;
  blocks: CID[];
  size_class: number;
}

/** What to publish, what to deposit, what to keep. */
export interface SealedSegment {
  descriptor: Uint8Array;
  descriptorCid: CID;
  seal: Seal;
  blocks: Map<string, Uint8Array>;
  segmentKey: Uint8Array;
}

type Chunk = [block: number, offset: number, length: number];
type Entry = [mediaType: string, resourceType: string, id: string, version: string, lastUpdated: string, chunks: Chunk[]];

/** The CID of bytes: dag-cbor or raw, SHA-256. */
export function cidOf(bytes: Uint8Array, code: number = RAW): CID {
  return CID.createV1(code, digestOf(SHA2_256, sha256(bytes)));
}

/** Seal 1 to 4,096 records of a stream to its reading key. Throws BadInput sealing.01, sealing.02. */
export function sealSegment(
  stream: Uint8Array,
  source: string,
  reading: Uint8Array,
  records: RecordToSeal[],
): SealedSegment {
  if (!records.length) throw new BadInput("sealing.01", "There is nothing to seal.");
  if (records.length > MAX_RECORDS) throw new BadInput("sealing.02", "This is too much for one segment.");
  const segmentKey = crypto.getRandomValues(new Uint8Array(32));
  const seal = sealTo(reading, segmentKey);
  const frames: Uint8Array[][] = [[]];
  let length = 0;
  const add = (piece: Uint8Array): Chunk => {
    if (length + piece.length > ROOM) {
      frames.push([]);
      length = 0;
    }
    frames.at(-1)!.push(piece);
    length += piece.length;
    return [frames.length - 1, length - piece.length, piece.length];
  };
  const entries = records.map((record): Entry => {
    const framed = frame(record.data);
    const count = Math.max(1, Math.ceil(framed.length / ROOM));
    const chunks = Array.from({ length: count }, (_, at) => add(framed.subarray(at * ROOM, (at + 1) * ROOM)));
    return [record.mediaType, record.resourceType, record.id, record.version, record.lastUpdated, chunks];
  });
  const key = derive(segmentKey, "blocks");
  const packed = frames.map((parts, at) =>
    sealAead(key, concatBytes(...parts), blockAad(stream), blockNonce(at, at === frames.length - 1)),
  );
  const table = frame(new TextEncoder().encode(JSON.stringify({ v: 1, records: entries })));
  const manifest = sealAead(derive(segmentKey, "manifest"), table, manifestAad(stream));
  if (packed.length > MAX_BLOCKS || manifest.length > MAX_BLOCK_BYTES) {
    throw new BadInput("sealing.02", "This is too much for one segment.");
  }
  const descriptor: Descriptor = {
    v: 1,
    stream,
    source,
    seal: sealHash(seal),
    commitment: derive(segmentKey, "commit"),
    manifest: cidOf(manifest),
    blocks: packed.map((block) => cidOf(block)),
    size_class: sizeClass([manifest, ...packed]),
  };
  const bytes = cbor.encode(descriptor);
  return {
    descriptor: bytes,
    descriptorCid: cidOf(bytes, cbor.code),
    seal,
    blocks: new Map([...packed, manifest].map((block) => [cidOf(block).toString(), block])),
    segmentKey,
  };
}

/** All records of a segment in their order, each block checked against its CID; all or none. */
export async function openSegment(
  segmentKey: Uint8Array,
  descriptor: Uint8Array,
  fetch: (cid: string) => Uint8Array,
): Promise<RecordToSeal[]> {
  const table = readDescriptor(descriptor);
  const name = cidOf(descriptor, cbor.code).toString();
  if (!equal(derive(segmentKey, "commit"), table.commitment)) {
    throw new Tampered("sealing.05", "The key is not the one that the descriptor commits to.", name);
  }
  const manifestBlock = await verified(table.manifest, fetch);
  const blocks: Uint8Array[] = [];
  for (const cid of table.blocks) blocks.push(await verified(cid, fetch));
  if (sizeClass([manifestBlock, ...blocks]) !== table.size_class) {
    throw new Tampered("sealing.10", "It is not of the size that it states.", name);
  }
  const entries = await readManifest(segmentKey, table, manifestBlock);
  const key = derive(segmentKey, "blocks");
  const aad = blockAad(table.stream);
  const names = table.blocks.map(String);
  const last = blocks.length - 1;
  const framesOf = (at: number) => openAead(key, blocks[at]!, aad, () => names[at]!, blockNonce(at, at === last));
  const bad = () => new Tampered("sealing.08", "The manifest does not describe the blocks.", table.manifest.toString());
  let block = 0;
  let offset = 0;
  let frames = await framesOf(0);
  let left = MAX_SEGMENT_BYTES;
  const records: RecordToSeal[] = [];
  for (const [number, [mediaType, resourceType, id, version, lastUpdated, chunks]] of entries.entries()) {
    const pieces: Uint8Array[] = [];
    for (const [at, from, size] of chunks) {
      if (offset === frames.length && block < last) [block, offset, frames] = [block + 1, 0, await framesOf(block + 1)];
      if (at !== block || from !== offset || from + size > frames.length) throw bad();
      offset = from + size;
      pieces.push(frames.subarray(from, offset));
    }
    const framed = pieces.length === 1 ? pieces[0]! : concatBytes(...pieces);
    const data = unframe(framed, Math.min(left, MAX_RECORD_BYTES), () => `${names[block]} record ${number}`);
    left -= data.length;
    records.push({ mediaType, resourceType, id, version, lastUpdated, data });
  }
  if (block !== last || offset !== frames.length) throw bad();
  return records;
}

/** A descriptor from its one canonical spelling. Throws Tampered sealing.06. */
export function readDescriptor(bytes: Uint8Array): Descriptor {
  const bad = () => new Tampered("sealing.06", "This is not a descriptor.", cidOf(bytes, cbor.code).toString());
  let table: Descriptor;
  try {
    table = cbor.decode(bytes);
    if (!equal(cbor.encode(table), bytes)) throw bad();
  } catch {
    throw bad();
  }
  const isBytes32 = (value: unknown) => value instanceof Uint8Array && value.length === 32;
  const isRaw = (value: unknown) => {
    const cid = CID.asCID(value);
    return cid !== null && cid.version === 1 && cid.code === RAW && cid.multihash.code === SHA2_256;
  };
  const holds =
    table !== null &&
    typeof table === "object" &&
    Object.keys(table).sort().join() === FIELDS.join() &&
    table.v === 1 &&
    typeof table.source === "string" &&
    [table.stream, table.seal, table.commitment].every(isBytes32) &&
    isRaw(table.manifest) &&
    Array.isArray(table.blocks) &&
    table.blocks.length >= 1 &&
    table.blocks.length <= MAX_BLOCKS &&
    table.blocks.every(isRaw) &&
    Number.isInteger(table.size_class);
  if (!holds) throw bad();
  return table;
}

/** A block as it was named: raw, SHA-256. */
async function verified(cid: CID, fetch: (cid: string) => Uint8Array): Promise<Uint8Array> {
  const block = fetch(cid.toString());
  if (block.length <= MAX_BLOCK_BYTES) {
    const digest = await crypto.subtle.digest("SHA-256", block as BufferSource);
    if (equal(new Uint8Array(digest), cid.multihash.digest)) return block;
  }
  throw new Tampered("sealing.07", "A block does not match its name.", cid.toString());
}

async function readManifest(segmentKey: Uint8Array, table: Descriptor, block: Uint8Array): Promise<Entry[]> {
  const place = table.manifest.toString();
  const framed = await openAead(derive(segmentKey, "manifest"), block, manifestAad(table.stream), () => place);
  const text = new TextDecoder("utf-8", { fatal: true });
  const isIndex = (value: unknown) => Number.isInteger(value) && (value as number) >= 0;
  try {
    const parsed = JSON.parse(text.decode(unframe(framed, MAX_MANIFEST_BYTES, () => place)));
    const entries: Entry[] = parsed.records;
    const holds =
      Object.keys(parsed).sort().join() === "records,v" &&
      parsed.v === 1 &&
      entries.length >= 1 &&
      entries.length <= MAX_RECORDS &&
      entries.every(
        (entry) =>
          entry.length === 6 &&
          entry.slice(0, 5).every((field) => typeof field === "string") &&
          entry[5].length >= 1 &&
          entry[5].every((chunk) => chunk.length === 3 && chunk.every(isIndex)),
      );
    if (holds) return entries;
  } catch (error) {
    if (error instanceof Tampered) throw error;
  }
  throw new Tampered("sealing.08", "The manifest does not describe the blocks.", place);
}

function blockNonce(block: number, last: boolean): Uint8Array {
  return concatBytes(uint32(0), uint32(block), uint32(last ? 1 : 0));
}

function blockAad(stream: Uint8Array): Uint8Array {
  return lengthPrefixed(stream, "blocks");
}

function manifestAad(stream: Uint8Array): Uint8Array {
  return lengthPrefixed(stream, "manifest", new Uint8Array(4), Uint8Array.of(1), "application/json");
}

function sizeClass(blocks: Uint8Array[]): number {
  const total = blocks.reduce((sum, block) => sum + block.length, 0);
  return Math.ceil(Math.log2(total));
}

