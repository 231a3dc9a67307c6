/** How long opening a segment takes here: JSON in (what a recipient is sent), milliseconds of each run out. */
import { readFileSync } from "node:fs";

import { hexToBytes as hex } from "../src/crypto/bytes.ts";
import { openWith, ReadingKey } from "../src/crypto/reencryption.ts";
import { ready } from "../src/sealing/frames.ts";
import { openSegment } from "../src/sealing/segment.ts";

await ready();
const given = JSON.parse(readFileSync(0, "utf8"));
const receiving = new ReadingKey(hex(given.receiving_secret));
const seal = { capsule: hex(given.seal.capsule), ciphertext: hex(given.seal.ciphertext) };
const parts = given.reencryptions.map((bytes: string, at: number) => ({ place: `custodian ${at}`, bytes: hex(bytes) }));
const keys = { verifying: hex(given.verifying), delegating: hex(given.delegating) };
const descriptor = hex(given.descriptor);
const blocks = new Map(Object.entries(given.blocks as { [cid: string]: string }).map(([cid, block]) => [cid, hex(block)]));
const text = new TextDecoder();
const taken: number[] = [];
let opened = 0;
for (let run = 0; run < given.runs + given.warm; run++) {
  const started = performance.now();
  const records = await openSegment(openWith(receiving, seal, parts, keys), descriptor, (cid) => blocks.get(cid)!);
  opened = records.map((record) => JSON.parse(text.decode(record.data))).length;
  if (run >= given.warm) taken.push(performance.now() - started);
}
process.stdout.write(JSON.stringify({ opened, taken }));
