/** SHA-256 with domains, HKDF-SHA256, Ed25519 keys: as `caremesh.crypto.hashes` and `caremesh.crypto.keys`. */
import { ed25519 } from "@noble/curves/ed25519.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";

import { concatBytes, lengthPrefixed } from "./bytes.ts";

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
