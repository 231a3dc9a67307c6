/** Two headers of one height, found by asking a second node, shown by a file: as `caremesh.ledger.forks`. */
import { encode } from "@ipld/dag-cbor";

import { bytesToHex, equal } from "../crypto/bytes.ts";
import { BadInput, CareMeshError, Tampered } from "../errors.ts";
import { plainLightBlock, read, shapeLightBlock, twoSpellings } from "./block.ts";
import { type BlockHeader, type Fetch, hashOf, isComet, type LightBlock, type LightClient, otherHeight, signersOf } from "./light.ts";
import { Shapes } from "./shapes.ts";

const MAX_STEPS = 256;
const STATE = ["validators", "next_validators", "params", "app_hash", "results"];

/** `one`, `other`: headers by which each end is come to from the founders. */
export type Fork = { chain: string; one: readonly LightBlock[]; other: readonly LightBlock[] };

/** What a fork shows: two headers of a height, by their hashes, who signed both, and with what power. */
export type Shown = {
  height: number;
  one: Uint8Array;
  other: Uint8Array;
  time: number;
  twice: Uint8Array[];
  sameRound: boolean;
  power: bigint;
  total: bigint;
  differs: string[];
};

/** One node, as far as it shows headers. */
export type Witness = { did: string; lightBlock: Fetch };

/** Who has the same header; who did not answer, or lied, and the code of what was wrong. */
export type Compared = { agreed: string[]; silent: [string, string][]; lied: [string, string][] };

/** light.07, with what shows it where the nodes gave it. */
export class Forked extends Tampered {
  readonly fork: Fork | undefined;

  constructor(fork: Fork | undefined, place: string) {
    super("light.07", "Two signed headers of one height differ: someone has signed a fork.", place);
    this.fork = fork;
  }
}

const noFork = (at: string) => new Tampered("light.13", "This does not show a fork.", at);
const notAForkFile = (at: string) => new Tampered("light.14", "This is not a file of a fork, or it was changed.", at);
const shapes = new Shapes(notAForkFile);

/**
 * Ask witnesses for their header of the block's height. `root`: the trust from which both have to follow; it stays as it
 * is. `block` has been verified, and came from `primary`. Throws Forked; light.03 when the trust in `root` has ended and a
 * witness has another header.
 */
export async function compare(
  root: LightClient,
  primary: Witness,
  block: LightBlock,
  witnesses: readonly Witness[],
  now: number,
): Promise<Compared> {
  const [name, { height, chain }] = [hashOf(block.header), block.header];
  const found: Compared = { agreed: [], silent: [], lied: [] };
  for (const witness of witnesses) {
    let theirs: LightBlock;
    try {
      theirs = await witness.lightBlock(height);
    } catch (error) {
      found.silent.push([witness.did, codeOf(error)]);
      continue;
    }
    let other: LightBlock[];
    try {
      if (theirs.header.height !== height) throw otherHeight(`height ${height}`);
      if (equal(hashOf(theirs.header), name)) {
        found.agreed.push(witness.did);
        continue;
      }
      other = await follow(root, theirs, witness.lightBlock, now);
    } catch (error) {
      const code = codeOf(error);
      if (code === "light.03" || code === "light.07") throw error;
      found.lied.push([witness.did, code]);
      continue;
    }
    const one = await follow(root, block, primary.lightBlock, now).catch(() => undefined);
    throw new Forked(one && { chain, one, other }, `height ${height}`);
  }
  return found;
}

/** The headers by which a client comes from `root` to a target, the target the last. Throws light.NN. */
export async function follow(root: LightClient, target: LightBlock, fetch: Fetch, now: number): Promise<LightBlock[]> {
  const steps: LightBlock[] = [];
  await root.copy().advance(target, fetch, now, steps);
  return steps;
}

/** The one spelling of a fork: the file. */
export function encodeFork(fork: Fork): Uint8Array {
  const [one, other] = [fork.one.map(plainLightBlock), fork.other.map(plainLightBlock)];
  return encode({ v: 1, kind: "fork", chain: fork.chain, one, other });
}

/** A fork from a file. Throws light.14. */
export function decodeFork(data: Uint8Array): Fork {
  try {
    const said = shapes.map(read(data), "", ["v", "kind", "chain", "one", "other"]);
    shapes.whole(said.v, 1, 2, "v");
    shapes.text(said.kind, /^fork$/, "kind");
    const fork = { chain: shapes.text(said.chain, /^/, "chain"), one: steps(said.one), other: steps(said.other) };
    if (!equal(encodeFork(fork), data)) throw twoSpellings();
    return fork;
  } catch (error) {
    throw error instanceof BadInput ? notAForkFile(error.place) : error;
  }
}

/** What a file shows to whoever trusts `root`, which stays as it is. Throws light.13, and light.NN. */
export function verifyFork(fork: Fork, root: LightClient, now: number): Shown {
  const [one, other] = [end(root, fork.one, now), end(root, fork.other, now)];
  if (one.header.chain !== fork.chain) throw noFork("chain");
  const [first, second] = [hashOf(one.header), hashOf(other.header)];
  if (one.header.height !== other.header.height || equal(first, second))
    throw noFork(`heights ${one.header.height}, ${other.header.height}`);
  const also = new Set(signersOf(other).map(bytesToHex));
  const twice = signersOf(one).filter((key) => also.has(bytesToHex(key)));
  const keys = new Set(twice.map(bytesToHex));
  const powers = new Map(one.validators.map(({ key, power }) => [bytesToHex(key), BigInt(power)]));
  return {
    height: one.header.height,
    one: first,
    other: second,
    time: Math.min(one.header.time, other.header.time),
    twice: twice.toSorted((left, right) => (bytesToHex(left) < bytesToHex(right) ? -1 : 1)),
    sameRound: round(one.header) === round(other.header),
    power: [...keys].reduce((sum, key) => sum + powers.get(key)!, 0n),
    total: one.validators.reduce((sum, { power }) => sum + BigInt(power), 0n),
    differs: STATE.filter((field) => differ(one.header, other.header, field)),
  };
}

function end(root: LightClient, blocks: readonly LightBlock[], now: number): LightBlock {
  const client = root.copy();
  for (const block of blocks) client.verify(block, now);
  return blocks.at(-1)!;
}

function steps(value: unknown): LightBlock[] {
  const found = shapes.list(value, "steps");
  if (found.length < 1 || found.length > MAX_STEPS) throw notAForkFile("steps");
  return found.map(shapeLightBlock);
}

function differ(one: BlockHeader, other: BlockHeader, field: string): boolean {
  const [left, right] = [one, other].map((header) => (header as unknown as Record<string, Uint8Array | undefined>)[field]);
  return left === undefined || right === undefined ? left !== right : !equal(left, right);
}

function round(header: BlockHeader): number {
  return isComet(header) ? header.round : 0;
}

function codeOf(error: unknown): string {
  if (error instanceof CareMeshError) return error.code;
  throw error;
}
