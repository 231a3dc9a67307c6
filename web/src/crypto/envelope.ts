/** Under a key, and to a public key: as `caremesh.crypto.envelope`. */
import { gcm } from "@noble/ciphers/aes.js";
import { Aes256Gcm, CipherSuite, HkdfSha256 } from "@hpke/core";
import { XWing } from "@hpke/hybridkem-x-wing";

import { Tampered } from "../errors.ts";
import { concatBytes, lengthPrefixed } from "./bytes.ts";

const NONCE = new Uint8Array(12);
const ENCAPSULATION_BYTES = 1120;

/** Ciphertext and tag. A key never meets a nonce twice: one that encrypts nothing else may leave it at zeros. */
export function sealAead(key: Uint8Array, plaintext: Uint8Array, aad: Uint8Array, nonce: Uint8Array = NONCE): Uint8Array {
  return gcm(key, nonce, aad).encrypt(plaintext);
}

/**
 * The plaintext, opened by the platform's own AES. Rejects with Tampered envelope.02, which names the object; its name is
 * made only then.
 */
export async function openAead(
  key: Uint8Array,
  ciphertext: Uint8Array,
  aad: Uint8Array,
  place: () => string,
  nonce: Uint8Array = NONCE,
): Promise<Uint8Array> {
  const how = { name: "AES-GCM", iv: nonce as BufferSource, additionalData: aad as BufferSource };
  const handle = await crypto.subtle.importKey("raw", key as BufferSource, "AES-GCM", false, ["decrypt"]);
  try {
    return new Uint8Array(await crypto.subtle.decrypt(how, handle, ciphertext as BufferSource));
  } catch {
    throw new Tampered("envelope.02", "These sealed bytes were changed, or belong to another key or place.", place());
  }
}

const suite = () => new CipherSuite({ kem: new XWing(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });

/** The 1,216 bytes of the public key of a 32-byte seed (MLKEM768-X25519). */
export async function hpkePublic(seed: Uint8Array): Promise<Uint8Array> {
  const kem = new XWing();
  const pair = await kem.generateKeyPairDerand(new Uint8Array(seed));
  return new Uint8Array(await kem.serializePublicKey(pair.publicKey));
}

/** Encapsulation and ciphertext for the holder of the private seed. */
export async function hpkeSeal(
  publicKey: Uint8Array,
  plaintext: Uint8Array,
  info: Uint8Array,
  aad: Uint8Array,
): Promise<Uint8Array> {
  const recipientPublicKey = await new XWing().deserializePublicKey(buffer(publicKey));
  const sealed = await suite().seal({ recipientPublicKey, info: buffer(lengthPrefixed(info, aad)) }, buffer(plaintext));
  return concatBytes(new Uint8Array(sealed.enc), new Uint8Array(sealed.ct));
}

/** The plaintext. Throws Tampered envelope.06. */
export async function hpkeOpen(
  seed: Uint8Array,
  sealed: Uint8Array,
  info: Uint8Array,
  aad: Uint8Array,
): Promise<Uint8Array> {
  try {
    const { privateKey: recipientKey } = await new XWing().generateKeyPairDerand(new Uint8Array(seed));
    const enc = buffer(sealed.subarray(0, ENCAPSULATION_BYTES));
    const ciphertext = buffer(sealed.subarray(ENCAPSULATION_BYTES));
    const opened = await suite().open({ recipientKey, enc, info: buffer(lengthPrefixed(info, aad)) }, ciphertext);
    return new Uint8Array(opened);
  } catch {
    throw new Tampered("envelope.06", "This message was changed, or was sealed to another key or purpose.");
  }
}

function buffer(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}
