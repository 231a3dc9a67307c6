/** Light blocks as they are kept and travel: canonical DAG-CBOR, the same bytes as those of `caremesh.ledger.light.LightBlock`. */
import { decode, encode } from "@ipld/dag-cbor";

import { equal } from "../crypto/bytes.ts";
import { BadInput } from "../errors.ts";
import type { BlockId, Instant, PartSet, Validator } from "./comet.ts";
import type { BlockHeader, HeaderSignature, LightBlock } from "./light.ts";
import { Shapes } from "./shapes.ts";

const KEY_BYTES = 34;
const SIGNATURE_BYTES = 64;
const MAX_NUMBER = 2 ** 53;
const MAX_SECONDS = 2 ** 40;
const OWN = ["chain", "height", "time", "previous", "txs", "app_hash", "validators", "next_validators"];
const COMET = [
  ...["block_version", "app_version", "chain", "height", "time", "nanos", "previous", "last_commit", "txs", "validators"],
  ...["next_validators", "params", "app_hash", "results", "evidence", "proposer", "round", "parts"],
];

/** Reads values out of decoded CBOR. */
export const shapes = new Shapes((at) => new BadInput("codec.03", "This value does not have the shape that its format demands.", at));

/** For bytes that are not those of the value that they hold. */
export const twoSpellings = () => new BadInput("codec.04", "This value is not spelled in its one canonical way.");

/** A light block as plain values for CBOR. */
export function plainLightBlock(block: LightBlock): unknown {
  return { signed: { header: encode(block.header), signatures: block.signatures }, validators: block.validators };
}

/** The one spelling of a light block. */
export function encodeLightBlock(block: LightBlock): Uint8Array {
  return encode(plainLightBlock(block));
}

/** A light block from its one spelling, unverified. Throws codec.01, codec.03, codec.04. */
export function decodeLightBlock(data: Uint8Array): LightBlock {
  const block = shapeLightBlock(read(data));
  if (!equal(encodeLightBlock(block), data)) throw twoSpellings();
  return block;
}

/** A light block out of decoded CBOR; whoever calls compares the spelling. Throws codec.01, codec.03. */
export function shapeLightBlock(value: unknown): LightBlock {
  const said = shapes.map(value, "", ["signed", "validators"]);
  const signed = shapes.map(said.signed, "signed", ["header", "signatures"]);
  return {
    header: headerOf(read(shapes.bytes(signed.header, 1, 2 ** 20, "signed.header"))),
    signatures: shapes.list(signed.signatures, "signed.signatures").map(signatureOf),
    validators: shapes.list(said.validators, "validators").map(validatorOf),
  };
}

function headerOf(value: unknown): BlockHeader {
  const isComet = "parts" in shapes.map(value, "header");
  const said = shapes.map(value, "header", isComet ? COMET : OWN);
  const hash = (field: string, least = 0) => shapes.bytes(said[field], least, 32, `header.${field}`);
  const count = (field: string, least = 0, end = MAX_NUMBER) => shapes.whole(said[field], least, end, `header.${field}`);
  const both = {
    chain: shapes.text(said.chain, isComet ? /^[\s\S]{1,50}$/u : /^/, "header.chain"),
    time: count("time", 0, MAX_SECONDS),
    validators: hash("validators", 32),
    next_validators: hash("next_validators", 32),
  };
  if (!isComet)
    return {
      ...both,
      height: count("height"),
      previous: hash("previous", 32),
      txs: hash("txs", 32),
      app_hash: hash("app_hash", 32),
    };
  return {
    ...both,
    block_version: count("block_version"),
    app_version: count("app_version"),
    height: count("height", 1),
    nanos: count("nanos", 0, 1e9),
    previous: blockId(said.previous),
    last_commit: hash("last_commit"),
    txs: hash("txs"),
    params: hash("params"),
    app_hash: shapes.bytes(said.app_hash, 0, 64, "header.app_hash"),
    results: hash("results"),
    evidence: hash("evidence"),
    proposer: shapes.bytes(said.proposer, 20, 20, "header.proposer"),
    round: count("round", 0, 2 ** 31),
    parts: partSet(said.parts),
  };
}

function partSet(value: unknown): PartSet {
  const said = shapes.map(value, "parts", ["total", "hash"]);
  return {
    total: shapes.whole(said.total, 0, 2 ** 32, "parts.total"),
    hash: shapes.bytes(said.hash, 0, 32, "parts.hash"),
  };
}

function blockId(value: unknown): BlockId {
  const said = shapes.map(value, "previous", ["hash", "parts"]);
  return { hash: shapes.bytes(said.hash, 0, 32, "previous.hash"), parts: partSet(said.parts) };
}

/** A validator out of decoded CBOR. Throws codec.03. */
export function validatorOf(value: unknown): Validator {
  const said = shapes.map(value, "validators", ["key", "power"]);
  return {
    key: shapes.bytes(said.key, KEY_BYTES, KEY_BYTES, "validators.key"),
    power: shapes.whole(said.power, 0, MAX_NUMBER, "validators.power"),
  };
}

function signatureOf(value: unknown): HeaderSignature {
  const said = shapes.map(value, "signatures", ["key", "signature", "at"]);
  const found = {
    key: shapes.bytes(said.key, KEY_BYTES, KEY_BYTES, "signatures.key"),
    signature: shapes.bytes(said.signature, SIGNATURE_BYTES, SIGNATURE_BYTES, "signatures.signature"),
  };
  return "at" in said ? { ...found, at: instantOf(said.at) } : found;
}

function instantOf(value: unknown): Instant {
  const said = shapes.map(value, "at", ["seconds", "nanos"]);
  return {
    seconds: shapes.whole(said.seconds, 0, MAX_SECONDS, "at.seconds"),
    nanos: shapes.whole(said.nanos, 0, 1e9, "at.nanos"),
  };
}

/** Values of DAG-CBOR. Throws codec.01. */
export function read(data: Uint8Array): unknown {
  try {
    return decode(data);
  } catch {
    throw new BadInput("codec.01", "These bytes are not canonical DAG-CBOR.");
  }
}
