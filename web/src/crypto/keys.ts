/** SHA-256 with domains, HKDF-SHA256, Ed25519 keys: as `caremesh.crypto.hashes` and `caremesh.crypto.keys`. */
import { ed25519 } from "@noble/curves/ed25519.js";
import { expand, extract, hkdf } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";

import { concatBytes, lengthPrefixed } from "./bytes.ts";

const LAST_BLOCK = Uint8Array.of(1);
const ED25519_PREFIX = Uint8Array.of(0xed, 0x01);

export { sha256 };

/** SHA-256 of the length-prefixed domain and parts. */
export function taggedHash(domain: string, ...parts: (Uint8Array | string)[]): Uint8Array {
  return sha256(lengthPrefixed(domain, ...parts));
}

/** HKDF-SHA256 (RFC 5869) without salt; info is the length-prefixed parts. 32 bytes. */
export function derive(secret: Uint8Array, ...info: (Uint8Array | string)[]): Uint8Array {
  return hkdf(sha256, secret, undefined, lengthPrefixed(...info), 32);
}

/** The first half of `derive`: a pseudorandom key from which many are expanded. */
export function extractKey(secret: Uint8Array): Uint8Array {
  return extract(sha256, secret);
}

/** The second half of `derive`. */
export function expandKey(pseudorandom: Uint8Array, ...info: (Uint8Array | string)[]): Uint8Array {
  return expand(sha256, pseudorandom, lengthPrefixed(...info), 32);
}

/** `expandKey` for thousands under one pseudorandom key, whose schedule is made once (RFC 5869, one block of output). */
export class Expander {
  readonly #mac: ReturnType<typeof hmac.create>;

  constructor(pseudorandom: Uint8Array) {
    this.#mac = hmac.create(sha256, pseudorandom);
  }

  /** The key of these parts: 32 bytes, as `expandKey` gives it. */
  expand(...info: (Uint8Array | string)[]): Uint8Array {
    return this.#mac.clone().update(lengthPrefixed(...info)).update(LAST_BLOCK).digest();
  }
}

/** An Ed25519 key pair; `publicKey` is a Multikey of 34 bytes. */
export class SigningKey {
  readonly #seed: Uint8Array;
  readonly publicKey: Uint8Array;

  constructor(seed: Uint8Array) {
    this.#seed = seed;
    this.publicKey = concatBytes(ED25519_PREFIX, ed25519.getPublicKey(seed));
  }

  /** The 64 bytes of the signature. */
  sign(message: Uint8Array): Uint8Array {
    return ed25519.sign(message, this.#seed);
  }
}

/** A stream's id: the hash of its first Multikey. */
export function streamOf(firstKey: Uint8Array): Uint8Array {
  return taggedHash("caremesh/v1/stream", firstKey);
}
