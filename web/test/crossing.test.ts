/** From one chain of a ledger to the next: the vectors that Python comes to as well. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { hexToBytes } from "../src/crypto/bytes.ts";
import { CareMeshError } from "../src/errors.ts";
import { decodeLightBlock } from "../src/ledger/block.ts";
import { decodeCrossing } from "../src/ledger/crossing.ts";
import { type Crossing, LightClient } from "../src/ledger/light.ts";

const said = JSON.parse(readFileSync(new URL("../../vectors/comet/crossing.json", import.meta.url), "utf8"));
const crossing = (given: { crossing: string }): Crossing => decodeCrossing(hexToBytes(given.crossing));

function founders(): LightClient {
  const keys = said.keys.map((key: string) => ({ key: hexToBytes(key), power: 1 }));
  return new LightClient(said.name, keys, said.trusted_at, 2 ** 40);
}

function clientOf(under: string): LightClient {
  if (under === "old") return founders().until(said.last);
  const client = founders();
  client.cross(crossing(said.crossings[0]), said.now);
  return client.copy();
}

function codeOf(attempt: () => void): string {
  try {
    attempt();
  } catch (error) {
    if (error instanceof CareMeshError) return error.code;
    throw error;
  }
  return "";
}

for (const given of said.crossings) {
  test(`a crossing: ${given.name}`, () => {
    const client = founders();
    assert.equal(codeOf(() => client.cross(crossing(given), said.now)), given.code);
    assert.equal(client.chain, given.code === "" ? said.chain : said.name);
    assert.equal(client.height, given.code === "" ? said.last : 0);
  });
}

for (const given of said.headers) {
  test(`a header: ${given.name}`, () => {
    const block = decodeLightBlock(hexToBytes(given.block));
    assert.equal(codeOf(() => clientOf(given.under).check(block, said.now)), given.code);
  });
}

test("what is no crossing is not read as one", () => {
  const whole = hexToBytes(said.crossings[0].crossing);
  assert.equal(codeOf(() => decodeCrossing(whole.subarray(1))), "codec.01");
  assert.equal(codeOf(() => decodeCrossing(hexToBytes("a0"))), "codec.03");
});
