/** Threshold re-encryption (Umbral): as `caremesh.crypto.reencryption`, with the same rules and codes. */
import { encode } from "@ipld/dag-cbor";
import * as umbral from "@nucypher/umbral-pre";

import { BadInput, Refused, Tampered } from "../errors.ts";
import { equal } from "./bytes.ts";
import { sha256 } from "./keys.ts";

/** A secret sealed to a reading key: 105 bytes of capsule, and the ciphertext. */
export interface Seal {
  capsule: Uint8Array;
  ciphertext: Uint8Array;
}

/** A fragment's keys: of its signer, of who gives, of who receives; 33 bytes each. */
export interface FragmentKeys {
  verifying: Uint8Array;
  delegating: Uint8Array;
  receiving: Uint8Array;
}

/** A stream's reading key of one epoch, or a receiving key. */
export class ReadingKey {
  readonly secret: umbral.SecretKey;
  readonly publicKey: Uint8Array;

  constructor(secret: Uint8Array) {
    try {
      this.secret = umbral.SecretKey.fromBEBytes(secret);
    } catch {
      throw new BadInput("reencryption.01", "The secret of a reading key is 32 bytes, neither zero nor too large.");
    }
    this.publicKey = this.secret.publicKey().toCompressedBytes();
  }
}

/** What the ledger holds of a seal: SHA-256 of DAG-CBOR [capsule, ciphertext]. */
export function sealHash(seal: Seal): Uint8Array {
  return sha256(encode([seal.capsule, seal.ciphertext]));
}

/** Seal a secret to a reading key. Throws BadInput reencryption.02. */
export function sealTo(reading: Uint8Array, secret: Uint8Array): Seal {
  const [capsule, ciphertext] = umbral.encrypt(publicKey(reading), secret);
  return { capsule: capsule.toBytes(), ciphertext };
}

/** The verifying key of a fresh signer, and `count` fragments of which `threshold` open. */
export function makeFragments(
  delegating: ReadingKey,
  receiving: Uint8Array,
  threshold: number,
  count: number,
): { verifying: Uint8Array; fragments: Uint8Array[] } {
  if (!(threshold >= 1 && threshold <= count && count <= 255)) {
    throw new BadInput("reencryption.04", "A threshold is at least 1 and at most the number of custodians (255).");
  }
  const signer = new umbral.Signer(umbral.SecretKey.random());
  const made = umbral.generateKFrags(delegating.secret, publicKey(receiving), signer, threshold, count, true, true);
  return {
    verifying: signer.verifyingKey().toCompressedBytes(),
    fragments: made.map((fragment) => fragment.toBytes()),
  };
}

/** Return when a fragment verifies with all three keys, and with neither of the last two left out. */
export function checkFragment(fragment: Uint8Array, keys: FragmentKeys): void {
  const [signer, giver, receiver] = parsed(keys);
  const verifies = (delegating: umbral.PublicKey | null, receiving: umbral.PublicKey | null): boolean => {
    try {
      umbral.KeyFrag.fromBytes(fragment).verify(signer, delegating, receiving);
      return true;
    } catch {
      return false;
    }
  };
  if (!verifies(giver, receiver)) {
    throw new Tampered("reencryption.05", "The fragment does not verify under the keys that it was made for.");
  }
  if (verifies(giver, null) || verifies(null, receiver)) {
    throw new Refused("reencryption.06", "The fragment does not sign both the delegating and the receiving key.");
  }
}

/** The re-encryption of a seal by one fragment. Throws Tampered reencryption.05. */
export function reencrypt(seal: Seal, fragment: Uint8Array, keys: FragmentKeys): Uint8Array {
  checkFragment(fragment, keys);
  return umbral.reencrypt(capsuleOf(seal), umbral.KeyFrag.fromBytes(fragment).verify(...parsed(keys))).toBytes();
}

/** The sealed secret, from re-encryptions that are each verified here; a wrong one is named by its place. */
export function openWith(
  receiving: ReadingKey,
  seal: Seal,
  reencryptions: { place: string; bytes: Uint8Array }[],
  keys: Omit<FragmentKeys, "receiving">,
): Uint8Array {
  const [signer, giver, receiver] = parsed({ ...keys, receiving: receiving.publicKey });
  const capsule = capsuleOf(seal);
  const verified = reencryptions.map(({ place, bytes }) => {
    try {
      return umbral.CapsuleFrag.fromBytes(bytes).verify(capsule, signer, giver, receiver);
    } catch {
      throw new Tampered("reencryption.07", "The re-encryption is not that of this seal by a true fragment.", place);
    }
  });
  try {
    return umbral.decryptReencrypted(receiving.secret, giver, capsule, verified, seal.ciphertext);
  } catch {
    throw new Tampered("reencryption.08", "These re-encryptions verify, but do not open the seal.");
  }
}

/** The sealed secret, for the owner of the reading key. Throws Tampered reencryption.03. */
export function openOriginal(reading: ReadingKey, seal: Seal): Uint8Array {
  try {
    return umbral.decryptOriginal(reading.secret, capsuleOf(seal), seal.ciphertext);
  } catch {
    throw new Tampered("reencryption.03", "The seal was changed, or belongs to another key.");
  }
}

function parsed(keys: FragmentKeys): [umbral.PublicKey, umbral.PublicKey, umbral.PublicKey] {
  return [publicKey(keys.verifying), publicKey(keys.delegating), publicKey(keys.receiving)];
}

function publicKey(bytes: Uint8Array): umbral.PublicKey {
  try {
    const key = umbral.PublicKey.fromCompressedBytes(bytes);
    if (equal(key.toCompressedBytes(), bytes)) return key;
  } catch {
    // said below
  }
  throw new BadInput("reencryption.02", "This is not a compressed public key for re-encryption.");
}

function capsuleOf(seal: Seal): umbral.Capsule {
  try {
    return umbral.Capsule.fromBytes(seal.capsule);
  } catch {
    throw new Tampered("reencryption.03", "The seal was changed, or belongs to another key.");
  }
}
