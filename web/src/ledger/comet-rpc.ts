/** Light blocks out of what a CometBFT node answers at /commit and /validators: as `caremesh.consensus.comet_rpc`. */
import { hexToBytes } from "../crypto/bytes.ts";
import { BadInput, Refused, Tampered } from "../errors.ts";
import { type BlockId, type CometHeader, type Instant, type PartSet, type Validator, addressOf, headerHash } from "./comet.ts";
import { type HeaderSignature, type LightBlock, otherHeight, otherSet } from "./light.ts";
import { Shapes } from "./shapes.ts";

const MAX_ANSWER_BYTES = 16 * 2 ** 20;
const MAX_NUMBER = 2 ** 53;
const MAX_SECONDS = 2 ** 40;
const NUMBER = /^(0|[1-9][0-9]{0,15})$/;
const HASH = /^([0-9A-F]{64})?$/;
const ADDRESS = /^([0-9A-F]{40})?$/;
const APP_HASH = /^([0-9A-F]{2}){0,64}$/;
const TIME = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?Z$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const ED25519 = Uint8Array.of(0xed, 0x01);

const notAnAnswer = (at: string) =>
  new BadInput("light.10", "This is not what a CometBFT node answers at /commit and /validators.", at);
const shapes = new Shapes(notAnAnswer);

/** Of the answer at /commit and all pages of /validators of one height; unverified. Throws light.08 to light.12. */
export function lightBlock(commit: string, pages: readonly string[]): LightBlock {
  const signed = shapes.map(result(commit).signed_header, "signed_header");
  const said = shapes.map(signed.commit, "commit");
  const header = headerOf(signed);
  const at = `height ${header.height}`;
  const named = blockId(said.block_id, "commit.block_id").hash;
  if (number(said.height, "commit.height") !== header.height || !same(named, headerHash(header)))
    throw new Tampered("light.11", "These votes are for another block than the header.", at);
  const validators = pages.flatMap((page) => validatorsOf(result(page), header.height));
  const totals = pages.map((page) => number(result(page).total, "total"));
  const keys = new Set(validators.map(({ key }) => key.join()));
  if (keys.size !== validators.length || totals.some((total) => total !== validators.length)) throw otherSet(at);
  const votes = shapes.list(said.signatures, "commit.signatures");
  if (votes.length !== validators.length) throw otherSet(at);
  const signatures = votes.map((vote, place) => voteOf(validators[place]!, vote, `signatures[${place}]`));
  return { header, signatures: signatures.filter((entry) => entry !== undefined), validators };
}

function headerOf(signed: Record<string, unknown>): CometHeader {
  const said = shapes.map(signed.header, "header");
  const commit = shapes.map(signed.commit, "commit");
  const version = shapes.map(said.version, "header.version");
  const time = instant(shapes.text(said.time, /^.{0,40}$/, "header.time"));
  if (time === undefined) throw notAnAnswer("header.time");
  const hash = (field: string) => hexToBytes(shapes.text(said[field], HASH, `header.${field}`));
  const header: CometHeader = {
    block_version: number(version.block ?? "0", "header.version.block"),
    app_version: number(version.app ?? "0", "header.version.app"),
    chain: shapes.text(said.chain_id, /^[\s\S]{1,50}$/u, "header.chain_id"),
    height: number(said.height, "header.height"),
    time: time.seconds,
    nanos: time.nanos,
    previous: blockId(said.last_block_id, "header.last_block_id"),
    last_commit: hash("last_commit_hash"),
    txs: hash("data_hash"),
    validators: hash("validators_hash"),
    next_validators: hash("next_validators_hash"),
    params: hash("consensus_hash"),
    app_hash: hexToBytes(shapes.text(said.app_hash, APP_HASH, "header.app_hash")),
    results: hash("last_results_hash"),
    evidence: hash("evidence_hash"),
    proposer: hexToBytes(shapes.text(said.proposer_address, ADDRESS, "header.proposer_address")),
    round: shapes.whole(commit.round, 0, 2 ** 31, "commit.round"),
    parts: blockId(commit.block_id, "commit.block_id").parts,
  };
  for (const field of ["height", "validators", "next_validators", "proposer"] as const)
    if (header[field] === 0 || (header[field] as Uint8Array).length === 0) throw notAnAnswer(`header.${field}`);
  return header;
}

function validatorsOf(page: Record<string, unknown>, height: number): Validator[] {
  if (number(page.block_height, "block_height") !== height) throw otherHeight(`height ${height}`);
  return shapes.list(page.validators, "validators").map((value, place) => {
    const at = `validators[${place}]`;
    const said = shapes.map(value, at);
    const given = shapes.map(said.pub_key, `${at}.pub_key`);
    if (shapes.text(given.type, /^/, `${at}.pub_key.type`) !== "tendermint/PubKeyEd25519")
      throw new Refused("light.12", "A validator's key is not an Ed25519 key.", at);
    const raw = base64(given.value, `${at}.pub_key.value`);
    if (raw.length !== 32) throw notAnAnswer(`${at}.pub_key.value`);
    const key = Uint8Array.of(...ED25519, ...raw);
    if (shapes.text(said.address, ADDRESS, `${at}.address`) !== addressOf(key)) throw otherSet(at);
    return { key, power: number(said.voting_power, `${at}.voting_power`) };
  });
}

/** A vote for the block, by the validator at its place in the set; others count nothing. */
function voteOf(signer: Validator, value: unknown, place: string): HeaderSignature | undefined {
  const vote = shapes.map(value, place);
  const flag = shapes.whole(vote.block_id_flag, 1, 4, `${place}.block_id_flag`);
  const address = shapes.text(vote.validator_address, ADDRESS, `${place}.validator_address`);
  const dated = shapes.text(vote.timestamp, /^[\s\S]{0,40}$/u, `${place}.timestamp`);
  if (vote.signature !== null && typeof vote.signature !== "string") throw notAnAnswer(`${place}.signature`);
  if (flag !== 2) return undefined;
  if (address !== addressOf(signer.key)) throw otherSet(place);
  const [signature, at] = [base64(vote.signature, `${place}.signature`), instant(dated)];
  return signature.length === 64 && at !== undefined ? { key: signer.key, signature, at } : undefined;
}

function result(answer: string): Record<string, unknown> {
  if (answer.length > MAX_ANSWER_BYTES) throw notAnAnswer("length");
  let value: unknown;
  try {
    value = JSON.parse(answer);
  } catch {
    throw notAnAnswer("");
  }
  return shapes.map(shapes.map(value, "").result, "result");
}

function number(value: unknown, place: string): number {
  return shapes.whole(Number(shapes.text(value, NUMBER, place)), 0, MAX_NUMBER, place);
}

function blockId(value: unknown, place: string): BlockId {
  const said = shapes.map(value, place);
  const parts = shapes.map(said.parts, `${place}.parts`);
  const hash = (given: unknown, at: string) => hexToBytes(shapes.text(given, HASH, at));
  const found: PartSet = {
    total: shapes.whole(parts.total, 0, 2 ** 32, `${place}.parts.total`),
    hash: hash(parts.hash, `${place}.parts.hash`),
  };
  return { hash: hash(said.hash, `${place}.hash`), parts: found };
}

function base64(value: unknown, place: string): Uint8Array {
  const text = shapes.text(value, BASE64, place);
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** A time of RFC 3339 in UTC since 1970, undefined for any other. */
function instant(text: string): Instant | undefined {
  const found = TIME.exec(text);
  if (found === null) return undefined;
  const [year, month, day, hour, minute, second] = found.slice(1, 7).map(Number) as [number, number, number, number, number, number];
  const at = new Date(0);
  at.setUTCFullYear(year, month - 1, day);
  at.setUTCHours(hour, minute, second);
  const again = [at.getUTCFullYear(), at.getUTCMonth() + 1, at.getUTCDate(), at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()];
  if (again.join() !== [year, month, day, hour, minute, second].join()) return undefined;
  const seconds = at.getTime() / 1_000;
  return seconds >= 0 && seconds < MAX_SECONDS ? { seconds, nanos: Number((found[7] ?? "").padEnd(9, "0")) } : undefined;
}

function same(one: Uint8Array, two: Uint8Array): boolean {
  return one.length === two.length && one.every((byte, at) => byte === two[at]);
}
