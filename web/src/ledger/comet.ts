/** CometBFT's headers: their hash, the name of a set, and what a validator signs: as `caremesh.ledger.comet`. */
import { bytesToHex, concatBytes, utf8ToBytes } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/keys.ts";

/** A time to the nanosecond. */
export type Instant = { seconds: number; nanos: number };
/** In how many parts a block travelled, and their root. */
export type PartSet = { total: number; hash: Uint8Array };
/** A block by the hash of its header, and its parts. */
export type BlockId = { hash: Uint8Array; parts: PartSet };
/** A key (Multikey, 34 bytes) that signs headers, and its voting power. */
export type Validator = { key: Uint8Array; power: number };

/** A header with what its votes say besides: `round` and `parts` of the block. The names are those of its CBOR. */
export type CometHeader = {
  block_version: number;
  app_version: number;
  chain: string;
  height: number;
  time: number;
  nanos: number;
  previous: BlockId;
  last_commit: Uint8Array;
  txs: Uint8Array;
  validators: Uint8Array;
  next_validators: Uint8Array;
  params: Uint8Array;
  app_hash: Uint8Array;
  results: Uint8Array;
  evidence: Uint8Array;
  proposer: Uint8Array;
  round: number;
  parts: PartSet;
};

const MULTICODEC_BYTES = 2;
const ADDRESS_BYTES = 20;
const PRECOMMIT = 2;
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const NONE = new Uint8Array();

/** What the header is named by, and what validators sign. */
export function headerHash(header: CometHeader): Uint8Array {
  const fields = [
    concatBytes(uint(1, header.block_version), uint(2, header.app_version)),
    bytes(1, utf8ToBytes(header.chain)),
    uint(1, header.height),
    timestamp({ seconds: header.time, nanos: header.nanos }),
    blockId(header.previous),
    ...[header.last_commit, header.txs, header.validators, header.next_validators, header.params].map(first),
    ...[header.app_hash, header.results, header.evidence, header.proposer].map(first),
  ];
  return root(fields);
}

/** What a validator has signed that voted at a time for this header, whose hash is `name`. */
export function signingInput(header: CometHeader, at: Instant, name: Uint8Array): Uint8Array {
  const vote = concatBytes(
    uint(1, PRECOMMIT),
    fixed64(2, header.height),
    fixed64(3, header.round),
    message(4, blockId({ hash: name, parts: header.parts })),
    message(5, timestamp(at)),
    bytes(6, utf8ToBytes(header.chain)),
  );
  return concatBytes(varint(vote.length), vote);
}

/** What a header calls these validators, in their order. */
export function setHash(validators: readonly Validator[]): Uint8Array {
  return root(
    validators.map(({ key, power }) => concatBytes(message(1, bytes(1, key.subarray(MULTICODEC_BYTES))), uint(2, power))),
  );
}

/** What CometBFT calls the validator with this key, in the spelling of its JSON. */
export function addressOf(key: Uint8Array): string {
  return bytesToHex(sha256(key.subarray(MULTICODEC_BYTES)).subarray(0, ADDRESS_BYTES)).toUpperCase();
}

/** The root of RFC 6962, section 2.1, over some leaves. */
function root(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 0) return sha256(NONE);
  if (leaves.length === 1) return sha256(concatBytes(Uint8Array.of(0), leaves[0]!));
  let half = 1;
  while (half * 2 < leaves.length) half *= 2;
  return sha256(concatBytes(Uint8Array.of(1), root(leaves.slice(0, half)), root(leaves.slice(half))));
}

/** Parts are written even when they are empty. */
function blockId(id: BlockId): Uint8Array {
  return concatBytes(bytes(1, id.hash), message(2, concatBytes(uint(1, id.parts.total), bytes(2, id.parts.hash))));
}

function timestamp(at: Instant): Uint8Array {
  return concatBytes(uint(1, at.seconds), uint(2, at.nanos));
}

/** A number from 0 on, seven bits a byte, the lowest first. */
function varint(number: number): Uint8Array {
  const found: number[] = [];
  let rest = number;
  while (rest > 0x7f) {
    found.push((rest % 0x80) + 0x80);
    rest = Math.floor(rest / 0x80);
  }
  return Uint8Array.from([...found, rest]);
}

/** A field with a number from 0 on; nothing for 0, as proto3 has it. */
function uint(field: number, number: number): Uint8Array {
  return number === 0 ? NONE : concatBytes(varint(field * 8 + VARINT), varint(number));
}

function fixed64(field: number, number: number): Uint8Array {
  if (number === 0) return NONE;
  const found = new Uint8Array(9);
  found[0] = field * 8 + FIXED64;
  new DataView(found.buffer).setBigUint64(1, BigInt(number), true);
  return found;
}

/** A field with bytes; nothing where they are empty, as proto3 has it. */
function bytes(field: number, value: Uint8Array): Uint8Array {
  return value.length === 0 ? NONE : message(field, value);
}

function first(value: Uint8Array): Uint8Array {
  return bytes(1, value);
}

/** A field with a message, written even when it is empty. */
function message(field: number, value: Uint8Array): Uint8Array {
  return concatBytes(varint(field * 8 + BYTES), varint(value.length), value);
}
