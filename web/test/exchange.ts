/** The other half of a test in Python: opens what Python made, and makes what Python opens. JSON in, JSON out. */
import { readFileSync } from "node:fs";

import { bytesToHex, hexToBytes as hex, utf8ToBytes } from "../src/crypto/bytes.ts";
import { hpkeOpen, hpkePublic, hpkeSeal } from "../src/crypto/envelope.ts";
import { checkFragment, makeFragments, openWith, ReadingKey, reencrypt } from "../src/crypto/reencryption.ts";
import { ready } from "../src/sealing/frames.ts";
import { openSegment, sealSegment } from "../src/sealing/segment.ts";
import { RelationshipKeys } from "../src/wallet/derive.ts";

interface Record_ {
  media_type: string;
  resource_type: string;
  id: string;
  version: string;
  last_updated: string;
  data: string;
}

await ready();
const given = JSON.parse(readFileSync(0, "utf8"));
const stream = new RelationshipKeys(hex(given.seed), given.member).stream("laboratory");
const reading = stream.reading(0);
const receiving = new ReadingKey(hex(given.receiving_secret));

// What Python made: opened by its custodians' re-encryptions, as a recipient would.
const seal = { capsule: hex(given.seal.capsule), ciphertext: hex(given.seal.ciphertext) };
const parts = given.reencryptions.map((bytes: string, at: number) => ({ place: `custodian ${at}`, bytes: hex(bytes) }));
const keys = { verifying: hex(given.verifying), delegating: reading.publicKey };
for (const fragment of given.fragments) checkFragment(hex(fragment), { ...keys, receiving: receiving.publicKey });
const segmentKey = openWith(receiving, seal, parts, keys);
const opened = await openSegment(segmentKey, hex(given.descriptor), (cid) => hex(given.blocks[cid]));
const heard = await hpkeOpen(hex(given.hpke.private), hex(given.hpke.sealed), hex(given.hpke.info), new Uint8Array());

// What Python opens.
const records = given.records.map((record: Record_) => ({
  mediaType: record.media_type,
  resourceType: record.resource_type,
  id: record.id,
  version: record.version,
  lastUpdated: record.last_updated,
  data: hex(record.data),
}));
const sealed = sealSegment(stream.id, given.member, reading.publicKey, records);
const made = makeFragments(reading, receiving.publicKey, 2, 3);
const first = made.fragments[0]!;
const said = await hpkeSeal(await hpkePublic(hex(given.hpke.private)), utf8ToBytes("from the browser"), hex(given.hpke.info), new Uint8Array());

process.stdout.write(
  JSON.stringify({
    stream: bytesToHex(stream.id),
    opened: opened.map((record) => bytesToHex(record.data)),
    heard: bytesToHex(heard),
    descriptor: bytesToHex(sealed.descriptor),
    blocks: Object.fromEntries([...sealed.blocks].map(([cid, block]) => [cid, bytesToHex(block)])),
    seal: { capsule: bytesToHex(sealed.seal.capsule), ciphertext: bytesToHex(sealed.seal.ciphertext) },
    verifying: bytesToHex(made.verifying),
    fragments: made.fragments.map(bytesToHex),
    reencryption: bytesToHex(
      reencrypt(sealed.seal, first, { verifying: made.verifying, delegating: reading.publicKey, receiving: receiving.publicKey }),
    ),
    sealed: bytesToHex(said),
  }),
);
