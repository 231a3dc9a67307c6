/**
 * The light client: as `caremesh.ledger.light`, whose rules and codes these are. Believe a header because enough
 * validators that you know have signed it. A wrong answer throws; nothing here returns a truth value that could be ignored.
 */
import { decode, encode } from "@ipld/dag-cbor";
import { ed25519 } from "@noble/curves/ed25519.js";

import { bytesToHex, concatBytes, equal, utf8ToBytes } from "../crypto/bytes.ts";
import { sha256, taggedHash } from "../crypto/keys.ts";
import { Refused, Tampered, WrongLedger } from "../errors.ts";
import * as comet from "./comet.ts";
import type { CometHeader, Instant, Validator } from "./comet.ts";
import { type Answer, checkAnswer } from "./proof.ts";

export type { Validator } from "./comet.ts";

/** A header of the embedded engine. The names are those of its CBOR. */
export type Header = {
  chain: string;
  height: number;
  time: number;
  previous: Uint8Array;
  txs: Uint8Array;
  app_hash: Uint8Array;
  validators: Uint8Array;
  next_validators: Uint8Array;
};
export type BlockHeader = Header | CometHeader;
/** `at`: when it voted, where CometBFT's validators sign that too. */
export type HeaderSignature = { key: Uint8Array; signature: Uint8Array; at?: Instant };
/** A header with its signatures and the set that signed. */
export type LightBlock = { header: BlockHeader; signatures: readonly HeaderSignature[]; validators: readonly Validator[] };

/** What leads from one chain of a ledger to the next: its last block, the proof of who follows, who signs the first. */
export type Crossing = { block: LightBlock; answer: Answer; validators: readonly Validator[] };

/** How a node is asked for its header of a height. */
export type Fetch = (height: number) => Promise<LightBlock>;

export const TRUST_PERIOD_S = 14 * 86_400;
export const MAX_DRIFT_S = 10;

const HEADER_DOMAIN = utf8ToBytes("caremesh/header/v1\0");
const MULTICODEC_BYTES = 2;
const SUCCESSION = utf8ToBytes("ledger/chain/");

const notSigned = (at: string) => new Tampered("light.01", "The header is not signed by enough of the validators that it names.", at);
const unknownSet = (at: string) => new Tampered("light.02", "The header's validators are not those that are trusted.", at);
const trustEnded = () => new Refused("light.03", "The trusted header is older than the trust period.");
const fromFuture = (at: string) => new Refused("light.04", "The header is dated in the future.", at);
const notNewer = (at: string) => new Refused("light.05", "The header is not newer than the trusted one.", at);
const otherChain = () => new WrongLedger("light.06", "The header is of another chain.");
const forked = (at: string) => new Tampered("light.07", "Two signed headers of one height differ: someone has signed a fork.", at);
/** For answers that are about another height than was asked. */
export const otherHeight = (at: string) => new Tampered("light.08", "The answer is for another block than the header.", at);
/** For validators whom a header does not name. */
export const otherSet = (at: string) => new Tampered("light.09", "These are not the validators that the header names.", at);

const noCrossing = (at: string) => new Tampered("light.15", "This does not show that another chain follows.", at);
const ended = (at: string) => new Tampered("light.18", "The header comes after the last block of its chain.", at);

/** Follows one chain from a header or a validator set that its user trusts. */
export class LightClient {
  #chain: string;
  readonly #periodS: number;
  #trusted: readonly Validator[];
  #next: Uint8Array | undefined;
  #time: number;
  #height: number;
  #name: Uint8Array | undefined;
  #ends: number | undefined;

  /** `validators`: the set trusted at `trustedAt` (seconds) to sign the block after `height`. */
  constructor(chain: string, validators: readonly Validator[], trustedAt: number, periodS = TRUST_PERIOD_S, height = 0) {
    this.#chain = chain;
    this.#periodS = periodS;
    this.#trusted = validators;
    this.#time = trustedAt;
    this.#height = height;
  }

  /** A client that trusts one header because somebody trusted has told its hash, `name`. */
  static fromHeader(chain: string, block: LightBlock, name: Uint8Array, periodS = TRUST_PERIOD_S): LightClient {
    const { header } = block;
    if (header.chain !== chain) throw otherChain();
    if (!equal(hashOf(header), name)) throw otherHeight(place(header));
    checkSigned(block);
    const client = new LightClient(chain, block.validators, header.time, periodS);
    client.#trust(block);
    return client;
  }

  /** Another client that trusts what this one does now. */
  copy(): LightClient {
    const made = new LightClient(this.#chain, this.#trusted, this.#time, this.#periodS, this.#height);
    made.#next = this.#next;
    made.#name = this.#name;
    made.#ends = this.#ends;
    return made;
  }

  /** Another client, which knows that the chain has ended with this height. */
  until(last: number): LightClient {
    const made = this.copy();
    made.#ends = last;
    return made;
  }

  /** The chain whose headers it believes. */
  get chain(): string {
    return this.#chain;
  }

  /** Height of the newest verified header. */
  get height(): number {
    return this.#height;
  }

  /** The header, if it is to be believed; what is trusted stays as it was. `now` in seconds. Throws light.NN. */
  check(block: LightBlock, now: number): BlockHeader {
    const { header } = block;
    if (header.chain !== this.#chain) throw otherChain();
    if (this.#ends !== undefined && header.height > this.#ends) throw ended(place(header));
    if (now - this.#time > this.#periodS) throw trustEnded();
    if (header.height === this.#height && this.#name !== undefined) {
      if (!equal(hashOf(header), this.#name)) this.#checkFork(block);
      return header;
    }
    if (header.height <= this.#height || header.time < this.#time) throw notNewer(place(header));
    if (header.time > now + MAX_DRIFT_S) throw fromFuture(place(header));
    const votes = checkSigned(block);
    if (!equal(header.validators, this.#next ?? setName(header, this.#trusted))) {
      const adjacent = header.height === this.#height + 1;
      if (adjacent || !votes.moreThan(1n, this.#trusted)) throw unknownSet(place(header));
    }
    return header;
  }

  /** Believe a header, and from now on trust what it names. Throws light.NN. */
  verify(block: LightBlock, now: number): BlockHeader {
    const header = this.check(block, now);
    if (header.height > this.#height) this.#trust(block);
    return header;
  }

  /** Go over to the chain that follows. Nothing has changed when it throws light.NN or proof.01. */
  cross(crossing: Crossing, now: number): BlockHeader {
    const header = this.check(crossing.block, now);
    const value = checkAnswer(header, crossing.answer);
    if (value === undefined || !equal(crossing.answer.key, SUCCESSION) || isComet(header)) throw noCrossing(place(header));
    const said = succession(value);
    if (said?.height !== header.height) throw noCrossing(place(header));
    if (!equal(comet.setHash(crossing.validators), header.next_validators)) throw otherSet(place(header));
    this.#trust({ ...crossing.block, validators: crossing.validators });
    this.#chain = said.chain;
    this.#name = this.#ends = undefined;
    return header;
  }

  /**
   * Believe `target`, by way of headers in between where the set has changed too much (bisection). `steps`: to which
   * each header that was believed on the way is added.
   */
  async advance(target: LightBlock, fetch: Fetch, now: number, steps: LightBlock[] = []): Promise<BlockHeader> {
    const pending = [target];
    for (;;) {
      const block = pending.at(-1)!;
      try {
        const header = this.verify(block, now);
        steps.push(block);
        pending.pop();
        if (pending.length === 0) return header;
      } catch (error) {
        const { height } = block.header;
        if (!(error instanceof Tampered && error.code === "light.02") || height <= this.#height + 1) throw error;
        const middle = Math.floor((this.#height + height) / 2);
        const found = await fetch(middle);
        if (found.header.height !== middle) throw otherHeight(`height ${middle}`);
        pending.push(found);
      }
    }
  }

  /** Another header of the trusted height: a fork where those who could sign there have signed it, else a lie. */
  #checkFork(block: LightBlock): never {
    const votes = checkSigned(block);
    throw votes.moreThan(1n, this.#trusted) ? forked(place(block.header)) : unknownSet(place(block.header));
  }

  #trust(block: LightBlock): void {
    this.#trusted = block.validators;
    this.#next = block.header.next_validators;
    this.#time = block.header.time;
    this.#height = block.header.height;
    this.#name = hashOf(block.header);
  }
}

/** `ledger.succession.Succession`, undefined where it is none. */
function succession(value: Uint8Array): { chain: string; height: number } | undefined {
  const said = decode<unknown>(value);
  if (typeof said !== "object" || said === null || Object.keys(said).length !== 2) return undefined;
  const { chain, height } = said as { chain?: unknown; height?: unknown };
  return typeof chain === "string" && typeof height === "number" ? { chain, height } : undefined;
}

/** Whether a header is CometBFT's. */
export function isComet(header: BlockHeader): header is CometHeader {
  return "parts" in header;
}

/** What a header is named by. */
export function hashOf(header: BlockHeader): Uint8Array {
  return isComet(header) ? comet.headerHash(header) : sha256(concatBytes(HEADER_DOMAIN, encode(header)));
}

/** The height of the state whose root a header holds: with CometBFT that of the block before. */
export function proves(header: BlockHeader): number {
  return isComet(header) ? header.height - 1 : header.height;
}

/** What a header of this engine calls these validators. */
export function setName(header: BlockHeader, validators: readonly Validator[]): Uint8Array {
  if (isComet(header)) return comet.setHash(validators);
  const sorted = validators.toSorted((one, two) => (bytesToHex(one.key) < bytesToHex(two.key) ? -1 : 1));
  return taggedHash("caremesh/v1/validators", encode(sorted));
}

/** Who has signed a header; a vote is only verified when it is needed. */
class Votes {
  readonly #header: BlockHeader;
  readonly #waiting: HeaderSignature[];
  readonly #name: Uint8Array;
  readonly #signers = new Set<string>();

  constructor(block: LightBlock) {
    const known = new Set(block.validators.map(({ key }) => bytesToHex(key)));
    this.#header = block.header;
    this.#waiting = block.signatures.filter((entry) => known.has(bytesToHex(entry.key)));
    this.#name = hashOf(block.header);
  }

  /** Whether this one is among those whose vote was looked at and good. */
  has(key: Uint8Array): boolean {
    return this.#signers.has(bytesToHex(key));
  }

  /** Whether signers have more than so many thirds of a set's power. A validator listed twice counts once. */
  moreThan(thirds: bigint, validators: readonly Validator[]): boolean {
    const powers = new Map(validators.map(({ key, power }) => [bytesToHex(key), BigInt(power)]));
    const total = validators.reduce((sum, { power }) => sum + BigInt(power), 0n);
    let power = [...this.#signers].reduce((sum, key) => sum + (powers.get(key) ?? 0n), 0n);
    while (3n * power <= thirds * total) {
      const entry = this.#waiting.shift();
      if (entry === undefined) return false;
      const key = bytesToHex(entry.key);
      if (this.#signers.has(key) || !this.#isSigned(entry)) continue;
      this.#signers.add(key);
      power += powers.get(key) ?? 0n;
    }
    return true;
  }

  /** Bad signatures count nothing, and neither do votes as the other engine has them. */
  #isSigned(entry: HeaderSignature): boolean {
    const header = this.#header;
    if (isComet(header) !== (entry.at !== undefined)) return false;
    const message = isComet(header)
      ? comet.signingInput(header, entry.at!, this.#name)
      : concatBytes(HEADER_DOMAIN, encode(header));
    try {
      return ed25519.verify(entry.signature, message, entry.key.subarray(MULTICODEC_BYTES));
    } catch {
      return false; // a key or a signature that is no such thing
    }
  }
}

/** The keys of those in its set who have signed a header. */
export function signersOf(block: LightBlock): Uint8Array[] {
  const votes = new Votes(block);
  votes.moreThan(3n, block.validators); // nobody has more than all: every vote is looked at
  return block.validators.filter(({ key }) => votes.has(key)).map(({ key }) => key);
}

/** The votes for a header that enough of its own set have signed. Throws light.01, light.09. */
function checkSigned(block: LightBlock): Votes {
  const { header, validators } = block;
  if (!equal(setName(header, validators), header.validators)) throw otherSet(place(header));
  const votes = new Votes(block);
  if (!votes.moreThan(2n, validators)) throw notSigned(place(header));
  return votes;
}

function place(header: BlockHeader): string {
  return `height ${header.height}`;
}
