/** The vectors that the Python side made and checks too: this implementation comes to the same. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, test } from "node:test";

import { bytesToHex, equal, hexToBytes, uint32, utf8ToBytes } from "../src/crypto/bytes.ts";
import { hpkeOpen, hpkePublic, hpkeSeal, openAead, sealAead } from "../src/crypto/envelope.ts";
import { derive, sha256, SigningKey, streamOf, taggedHash } from "../src/crypto/keys.ts";
import { openOriginal, openWith, ReadingKey, sealHash } from "../src/crypto/reencryption.ts";
import { CareMeshError } from "../src/errors.ts";
import { paddedLength, ready } from "../src/sealing/frames.ts";
import { openSegment, readDescriptor } from "../src/sealing/segment.ts";
import { phraseOf, RelationshipKeys, seedOf } from "../src/wallet/derive.ts";

const read = (name: string) => JSON.parse(readFileSync(new URL(`../../vectors/${name}.json`, import.meta.url), "utf8"));
const hex = hexToBytes;
const same = (found: Uint8Array, wanted: string) => assert.equal(bytesToHex(found), wanted);
const refuses = (code: string, attempt: () => unknown) =>
  assert.throws(attempt, (error) => error instanceof CareMeshError && error.code === code);

before(ready);

test("hashes", () => {
  const rows = read("crypto/hashes");
  for (const row of rows.vectors ?? rows) {
    same(taggedHash(row.domain, ...row.parts.map(hex)), row.hash);
  }
});

test("signing keys and derived keys", () => {
  const rows = read("crypto/keys");
  for (const row of rows.vectors ?? rows) {
    const key = new SigningKey(hex(row.seed));
    same(key.publicKey, row.public);
    same(key.sign(hex(row.message)), row.signature);
    same(streamOf(key.publicKey), row.stream);
    same(derive(hex(row.seed), "record", uint32(1)), row.derived);
  }
});

test("every key of a person", async () => {
  const { vectors } = read("wallet/derivation");
  assert.ok(vectors.length >= 3);
  for (const row of vectors) {
    const relationship = new RelationshipKeys(hex(row.seed), row.member, row.relationship_counter);
    same(relationship.channelSigning().publicKey, row.channel_signing_public);
    same(relationship.channelSeed(), row.channel_hpke_private);
    same(sha256(await hpkePublic(relationship.channelSeed())), row.channel_hpke_public_sha256);
    const stream = relationship.stream(row.category, row.stream_counter);
    same(stream.id, row.stream);
    same(stream.signing(row.rotation).publicKey, row.signing_public);
    same(stream.reading(row.epoch).publicKey, row.reading_public);
  }
});

test("phrases", () => {
  const { vectors } = read("wallet/phrase");
  for (const row of vectors) {
    assert.equal(phraseOf(hex(row.seed)), row.phrase);
    same(seedOf(`  ${row.phrase.toUpperCase().replaceAll(" ", "\n")} `), row.seed);
  }
  refuses("wallet.01", () => seedOf("abandon"));
  refuses("wallet.02", () => seedOf(vectors[0].phrase.replace(/\w+/, "abandonn")));
  refuses("wallet.03", () => seedOf(vectors[0].phrase.replace(/\w+$/, "zoo")));
});

test("envelopes", async () => {
  const { aead: box, hpke } = read("crypto/envelopes");
  same(sealAead(hex(box.key), hex(box.plaintext), hex(box.aad)), box.ciphertext);
  const open = (ciphertext: Uint8Array, aad: Uint8Array, nonce?: Uint8Array) =>
    openAead(hex(box.key), ciphertext, aad, () => "x", nonce);
  const nonce = new Uint8Array(12).fill(1);
  same(await open(hex(box.ciphertext), hex(box.aad)), box.plaintext);
  const other = sealAead(hex(box.key), hex(box.plaintext), hex(box.aad), nonce);
  same(await open(other, hex(box.aad), nonce), box.plaintext);
  const refused = { code: "envelope.02", place: "x" };
  await assert.rejects(open(hex(box.ciphertext), utf8ToBytes("elsewhere")), refused);
  await assert.rejects(open(other, hex(box.aad)), refused);
  await assert.rejects(open(new Uint8Array(15), hex(box.aad)), refused);
  same(await hpkeOpen(hex(hpke.private), hex(hpke.sealed), hex(hpke.info), hex(hpke.aad)), hpke.plaintext);
  await assert.rejects(hpkeOpen(hex(hpke.private), hex(hpke.sealed), hex(hpke.info), utf8ToBytes("other")), {
    code: "envelope.06",
  });
  const message = utf8ToBytes("there and back");
  const sealed = await hpkeSeal(await hpkePublic(hex(hpke.private)), message, hex(hpke.info), hex(hpke.aad));
  assert.deepEqual(await hpkeOpen(hex(hpke.private), sealed, hex(hpke.info), hex(hpke.aad)), message);
});

test("re-encryption", () => {
  const row = read("crypto/reencryption");
  const seal = { capsule: hex(row.capsule), ciphertext: hex(row.ciphertext) };
  const receiving = new ReadingKey(hex(row.receiving_secret));
  const delegating = new ReadingKey(hex(row.delegating_secret));
  const keys = { verifying: hex(row.verifying), delegating: delegating.publicKey };
  same(sealHash(seal), row.seal_hash);
  same(openOriginal(delegating, seal), row.secret);
  const parts = row.reencryptions.map((bytes: string, at: number) => ({ place: `custodian ${at}`, bytes: hex(bytes) }));
  same(openWith(receiving, seal, parts.slice(0, row.threshold), keys), row.secret);
  same(openWith(receiving, seal, parts.slice(-row.threshold), keys), row.secret);
  refuses("reencryption.08", () => openWith(receiving, seal, parts.slice(0, row.threshold - 1), keys));
  const lie = parts[0].bytes.with(200, parts[0].bytes[200] ^ 1);
  refuses("reencryption.07", () => openWith(receiving, seal, [{ place: "liar", bytes: lie }, parts[1]], keys));
});

test("a sealed segment, and every byte of it", async () => {
  const row = read("sealing/segment");
  const blocks = new Map(Object.entries<string>(row.blocks).map(([cid, bytes]) => [cid, hex(bytes)]));
  const open = (descriptor = hex(row.descriptor), from = blocks) =>
    openSegment(hex(row.segment_key), descriptor, (cid) => from.get(cid)!);
  const opened = await open();
  assert.equal(opened.length, row.records.length);
  for (const [at, record] of opened.entries()) {
    same(sha256(record.data), row.records[at].sha256);
    assert.equal(record.resourceType, row.records[at].resource_type);
    assert.equal(record.id, row.records[at].id);
    assert.equal(record.mediaType, row.records[at].media_type);
  }
  const descriptor = hex(row.descriptor);
  const table = readDescriptor(descriptor);
  let noticed = 0;
  for (let at = 0; at < descriptor.length; at++) {
    const changed = descriptor.with(at, descriptor[at]! ^ 1);
    try {
      await open(changed);
    } catch {
      noticed += 1;
      continue;
    }
    // Seal and source are vouched for by the ledger, which names the descriptor by its CID.
    const found = readDescriptor(changed);
    assert.ok(!equal(found.seal, table.seal) || found.source !== table.source, `descriptor byte ${at}`);
  }
  assert.ok(noticed > 200);
  for (const [cid, block] of blocks) {
    const broken = new Map(blocks).set(cid, block.with(0, block[0]! ^ 1));
    await assert.rejects(open(descriptor, broken), { code: "sealing.07" });
  }
  const wrongKey = openSegment(new Uint8Array(32), descriptor, (cid) => blocks.get(cid)!);
  await assert.rejects(wrongKey, { code: "sealing.05" });
});

test("Padmé lengths", () => {
  for (let length = 0; length < 5000; length++) {
    const padded = paddedLength(length);
    assert.ok(padded >= length && (length < 9 || padded <= length * 1.12));
  }
  assert.ok(equal(uint32(paddedLength(9)), uint32(10)));
});
