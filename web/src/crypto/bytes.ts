/** Bytes and their spellings. */
import { concatBytes, utf8ToBytes } from "@noble/hashes/utils.js";

export { bytesToHex, concatBytes, hexToBytes, utf8ToBytes } from "@noble/hashes/utils.js";

/** A number as uint32, big-endian. */
export function uint32(value: number): Uint8Array {
  if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) throw new RangeError("not a uint32");
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

/** Each part after its length as uint32 big-endian; texts are UTF-8. */
export function lengthPrefixed(...parts: (Uint8Array | string)[]): Uint8Array {
  const pieces: Uint8Array[] = [];
  for (const part of parts) {
    const bytes = typeof part === "string" ? utf8ToBytes(part) : part;
    pieces.push(uint32(bytes.length), bytes);
  }
  return concatBytes(...pieces);
}

/** Whether two byte strings are the same; in time that depends on their lengths alone. */
export function equal(one: Uint8Array, two: Uint8Array): boolean {
  if (one.length !== two.length) return false;
  let difference = 0;
  for (let at = 0; at < one.length; at++) difference |= one[at]! ^ two[at]!;
  return difference === 0;
}
