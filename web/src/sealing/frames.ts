/**
 * The plaintext of a record before encryption: uint32 length, zstd with the dictionary, zeros to a Padmé length
 * (`caremesh.sealing.frames`).
 */
import * as zstd from "@bokuweb/zstd-wasm";

import { concatBytes, uint32 } from "../crypto/bytes.ts";
import { Tampered } from "../errors.ts";
import { DICTIONARY } from "./dictionary.ts";

const LEVEL = 3;
const MAGIC = 0xfd2fb528;
let compressing = 0;
let decompressing = 0;

/** Load the compressor; to be awaited once before anything is framed. */
export async function ready(): Promise<void> {
  await zstd.init();
  compressing ||= zstd.createCCtx();
  decompressing ||= zstd.createDCtx();
}

/** The Padmé length of `length` bytes: at most 12 % more. */
export function paddedLength(length: number): number {
  if (length < 2) return length;
  const exponent = Math.floor(Math.log2(length));
  const free = exponent - (Math.floor(Math.log2(exponent)) + 1);
  const unit = 2 ** free;
  return Math.ceil(length / unit) * unit;
}

/** The padded frame of a record's original bytes. */
export function frame(data: Uint8Array): Uint8Array {
  const packed = zstd.compressUsingDict(compressing, data, DICTIONARY, LEVEL);
  const length = 4 + packed.length;
  return concatBytes(uint32(packed.length), packed, new Uint8Array(paddedLength(length) - length));
}

/** A record's original bytes, at most `limit`. Throws Tampered sealing.09, sealing.10 with `place`. */
export function unframe(framed: Uint8Array, limit: number, place: () => string): Uint8Array {
  const bad = () => new Tampered("sealing.09", "A record's frame is not as sealing makes it.", place());
  if (framed.length < 4) throw bad();
  const end = 4 + new DataView(framed.buffer, framed.byteOffset).getUint32(0);
  if (framed.length !== paddedLength(end)) throw bad();
  for (let at = end; at < framed.length; at++) if (framed[at]) throw bad();
  const packed = framed.subarray(4, end);
  const size = contentSize(packed);
  if (size === undefined) throw bad();
  if (size > limit) throw new Tampered("sealing.10", "It opens to more than the limits.", place());
  if (size === 0) return new Uint8Array();
  let data: Uint8Array;
  try {
    data = zstd.decompressUsingDict(decompressing, packed, DICTIONARY);
  } catch {
    throw bad();
  }
  if (data.length !== size) throw bad();
  return data;
}

/** What one whole zstd frame (RFC 8878) says that it opens to; undefined when it does not say, or is not one frame. */
function contentSize(packed: Uint8Array): number | undefined {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.length);
  try {
    if (view.getUint32(0, true) !== MAGIC) return undefined;
    const flags = view.getUint8(4);
    const single = (flags & 0x20) !== 0;
    const dictionaryBytes = [0, 1, 2, 4][flags & 3]!;
    const sizeBytes = [single ? 1 : 0, 2, 4, 8][flags >> 6]!;
    let at = 5 + (single ? 0 : 1) + dictionaryBytes;
    if (!sizeBytes) return undefined;
    const size =
      sizeBytes === 1
        ? view.getUint8(at)
        : sizeBytes === 2
          ? view.getUint16(at, true) + 256
          : sizeBytes === 4
            ? view.getUint32(at, true)
            : Number(view.getBigUint64(at, true));
    at += sizeBytes;
    for (;;) {
      const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
      at += 3 + (((header >> 1) & 3) === 1 ? 1 : header >> 3);
      if (header & 1) break;
    }
    return at + (flags & 4 ? 4 : 0) === packed.length ? size : undefined;
  } catch {
    return undefined;
  }
}
