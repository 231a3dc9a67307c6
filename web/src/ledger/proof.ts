/** Proofs: a key's value, or its absence, under a believed header: as `caremesh.ledger.proofs` and `light.check_answer`. */
import { decode, encode } from "@ipld/dag-cbor";

import { concatBytes, equal } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/keys.ts";
import { BadInput, Tampered } from "../errors.ts";
import { twoSpellings } from "./block.ts";
import { type BlockHeader, otherHeight, proves } from "./light.ts";
import { Shapes } from "./shapes.ts";

const BUCKET_BITS = 16;
const MAX_SIBLINGS = 256;
const EMPTY = new Uint8Array(32);

/**
 * A path from a key to the root. `siblings`: the hashes beside the path, lowest first. `value`: undefined when the key is
 * absent. `other`: [H(key), H(value)] of the lone leaf that stands where an absent key would be.
 */
export type Proof = { siblings: Uint8Array[]; value?: Uint8Array; other?: Uint8Array[] };
/** A key's value at a height, provable to anyone who trusts the header. */
export type Answer = { key: Uint8Array; height: number; proof: Proof };

const badProof = () => new Tampered("proof.01", "This proof does not lead to the app hash of this block.");
const shapes = new Shapes((at) => new BadInput("codec.03", "This value does not have the shape that its format demands.", at));

/** The value, undefined where its absence is proven, under a believed header. Throws light.08, proof.01. */
export function checkAnswer(header: BlockHeader, answer: Answer): Uint8Array | undefined {
  if (answer.height !== proves(header)) throw otherHeight(`height ${answer.height}`);
  return checkProof(header.app_hash, answer.key, answer.proof);
}

/** The value of a key under an app hash, undefined when it is proven absent. Throws proof.01. */
export function checkProof(appHash: Uint8Array, key: Uint8Array, proof: Proof): Uint8Array | undefined {
  const digest = sha256(key);
  if (proof.siblings.length < BUCKET_BITS || proof.siblings.length > MAX_SIBLINGS) throw badProof();
  let node = lowest(digest, proof);
  let depth = proof.siblings.length;
  for (const sibling of proof.siblings) {
    depth -= 1;
    const tag = Uint8Array.of(depth >= BUCKET_BITS ? 1 : 2);
    node = sha256(bit(digest, depth) ? concatBytes(tag, sibling, node) : concatBytes(tag, node, sibling));
  }
  if (!equal(node, appHash)) throw badProof();
  return proof.value;
}

/** An answer from its one spelling in DAG-CBOR. Throws codec.01, codec.03, codec.04. */
export function decodeAnswer(data: Uint8Array): Answer {
  let value: unknown;
  try {
    value = decode(data);
  } catch {
    throw new BadInput("codec.01", "These bytes are not canonical DAG-CBOR.");
  }
  const said = shapes.map(value, "", ["key", "height", "proof"]);
  const given = shapes.map(said.proof, "proof", ["siblings", "value", "other"]);
  const hashes = (list: unknown, at: string) => shapes.list(list, at).map((each) => shapes.bytes(each, 32, 32, at));
  const proof: Proof = { siblings: hashes(given.siblings, "proof.siblings") };
  if (given.value !== undefined) proof.value = shapes.bytes(given.value, 0, 2 ** 30, "proof.value");
  if (given.other !== undefined) proof.other = hashes(given.other, "proof.other");
  const answer: Answer = {
    key: shapes.bytes(said.key, 0, 2 ** 20, "key"),
    height: shapes.whole(said.height, 0, 2 ** 53, "height"),
    proof,
  };
  if (!equal(encode(answer), data)) throw twoSpellings();
  return answer;
}

function lowest(digest: Uint8Array, { siblings, value, other }: Proof): Uint8Array {
  if (value !== undefined) {
    if (other !== undefined) throw badProof();
    return leaf(digest, sha256(value));
  }
  if (other === undefined) return EMPTY;
  const [theirs, hash] = other;
  if (other.length !== 2 || equal(theirs!, digest) || !agree(theirs!, digest, siblings.length)) throw badProof();
  return leaf(theirs!, hash!);
}

function leaf(key: Uint8Array, value: Uint8Array): Uint8Array {
  return sha256(concatBytes(Uint8Array.of(0), key, value));
}

/** A bit of a digest, the highest first. */
function bit(digest: Uint8Array, at: number): boolean {
  return ((digest[at >> 3]! >> (7 - (at & 7))) & 1) === 1;
}

function agree(one: Uint8Array, two: Uint8Array, bits: number): boolean {
  for (let at = 0; at < bits; at++) if (bit(one, at) !== bit(two, at)) return false;
  return true;
}
