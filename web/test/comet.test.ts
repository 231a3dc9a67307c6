/** Headers that real CometBFT validators have signed, bent ones, and our own: the vectors that Python comes to as well. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { bytesToHex, hexToBytes } from "../src/crypto/bytes.ts";
import { sha256 } from "../src/crypto/keys.ts";
import { CareMeshError } from "../src/errors.ts";
import { decodeLightBlock, encodeLightBlock } from "../src/ledger/block.ts";
import { lightBlock } from "../src/ledger/comet-rpc.ts";
import { compare, decodeFork, encodeFork, Forked, verifyFork } from "../src/ledger/forks.ts";
import { checkAnswer, decodeAnswer } from "../src/ledger/proof.ts";
import { hashOf, type LightBlock, LightClient, proves, setName } from "../src/ledger/light.ts";

const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../vectors/comet/${name}.json`, import.meta.url), "utf8"));
const chain = read("chain");
const { cases } = read("cases");
const heights = Object.keys(chain.blocks).map(Number);
const last = Math.max(...heights);

function block(height: number): { signed_header: any; validators: any[] } {
  const { signed_header } = chain.blocks[height];
  return structuredClone({ signed_header, validators: chain.validators[signed_header.header.validators_hash] });
}

function answers(given: { signed_header: any; validators: any[] }, height: number): [string, string] {
  const page = { block_height: `${height}`, validators: given.validators, total: `${given.validators.length}` };
  return [JSON.stringify({ result: { signed_header: given.signed_header } }), JSON.stringify({ result: page })];
}

function asLightBlock(given: { signed_header: any; validators: any[] }, height: number): LightBlock {
  const [commit, page] = answers(given, height);
  return lightBlock(commit, [page]);
}

const recorded = (height: number) => asLightBlock(block(height), height);
const after = recorded(last).header.time + 1;

function founders(): LightClient {
  const first = recorded(1);
  return new LightClient(chain.chain, first.validators, first.header.time);
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

test("hashes and canonical bytes of every recorded block", () => {
  assert.ok(heights.length >= 20);
  for (const height of heights) {
    const { signed_header } = block(height);
    const found = recorded(height);
    assert.equal(bytesToHex(hashOf(found.header)).toUpperCase(), signed_header.commit.block_id.hash);
    assert.equal(bytesToHex(setName(found.header, found.validators)).toUpperCase(), signed_header.header.validators_hash);
    assert.equal(bytesToHex(sha256(encodeLightBlock(found))), chain.light_blocks[height]);
    assert.deepEqual(decodeLightBlock(encodeLightBlock(found)), found);
    assert.equal(proves(found.header), height - 1);
  }
});

test("every header follows from the founders, one by one and by bisection", async () => {
  const oneByOne = founders();
  for (const height of heights) assert.equal(oneByOne.verify(recorded(height), after).height, height);
  const client = founders();
  assert.equal(codeOf(() => client.check(recorded(last), after)), "light.02");
  const asked: number[] = [];
  const fetch = async (height: number) => {
    asked.push(height);
    return recorded(height);
  };
  assert.equal((await client.advance(recorded(last), fetch, after)).height, last);
  assert.ok(asked.length >= 1 && asked.length < last / 2);
  await assert.rejects(founders().advance(recorded(last), async () => recorded(2), after), { code: "light.08" });
});

test("every case comes to what it should", () => {
  assert.ok(cases.length > 90);
  for (const each of cases) {
    const given: any = block(each.target);
    for (const [path, value] of each.edits) {
      const place = path.slice(0, -1).reduce((found: any, step: string | number) => found[step], given);
      place[path.at(-1)] = structuredClone(value);
    }
    const found = codeOf(() => {
      const trusted = recorded(each.trusted);
      const client = LightClient.fromHeader(each.chain ?? chain.chain, trusted, hashOf(trusted.header));
      const header = client.verify(asLightBlock(given, each.target), each.now);
      assert.equal(header.height, each.target);
      assert.equal(client.height, each.target);
    });
    assert.equal(found, each.expect, each.name);
  }
});

test("headers of the embedded engine", () => {
  const own = read("own");
  const validators = own.validators.map((each: any) => ({ key: hexToBytes(each.key), power: each.power }));
  for (const each of own.blocks) {
    const shown = decodeLightBlock(hexToBytes(each.light_block));
    assert.equal(bytesToHex(hashOf(shown.header)), each.hash);
    assert.equal(bytesToHex(encodeLightBlock(shown)), each.light_block);
    assert.equal(proves(shown.header), shown.header.height);
    const client = new LightClient(own.chain, validators, own.trusted_at);
    assert.equal(codeOf(() => client.verify(shown, own.now)), each.expect, each.name);
  }
});

test("trust starts from a header that somebody has named, and a trusted one shown again changes nothing", () => {
  const first = recorded(1);
  const name = hashOf(first.header);
  assert.equal(codeOf(() => LightClient.fromHeader("other", first, name)), "light.06");
  assert.equal(codeOf(() => LightClient.fromHeader(chain.chain, first, new Uint8Array(32))), "light.08");
  const strangers = { ...first, validators: recorded(last).validators };
  assert.equal(codeOf(() => LightClient.fromHeader(chain.chain, strangers, name)), "light.09");
  const client = LightClient.fromHeader(chain.chain, first, name);
  client.verify(strangers, after);
  assert.equal(codeOf(() => client.verify(recorded(last), after)), "light.02");
  const late = new LightClient(chain.chain, recorded(4).validators, after, undefined, 3);
  assert.equal(codeOf(() => late.verify(recorded(3), after)), "light.05");
});

test("a changed byte is refused or does no harm", () => {
  const target = 3;
  const [commit, page] = answers(block(target), target);
  const signed = bytesToHex(hashOf(recorded(target).header));
  const first = recorded(1);
  const client = LightClient.fromHeader(chain.chain, first, hashOf(first.header));
  let refused = 0;
  const flip = (text: string, at: number) =>
    text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1);
  for (const [which, text] of [commit, page].entries()) {
    for (let at = which; at < text.length; at += 23) {
      const bent = flip(text, at);
      const code = codeOf(() => {
        const header = client.check(lightBlock(which ? commit : bent, [which ? bent : page]), after);
        assert.equal(bytesToHex(hashOf(header)), signed);
      });
      refused += code ? 1 : 0;
    }
  }
  assert.ok(refused > 50);
});

test("bytes that are no light block", () => {
  const bytes = encodeLightBlock(recorded(1));
  assert.equal(codeOf(() => decodeLightBlock(bytes.subarray(1))), "codec.01");
  for (let at = 0; at < bytes.length; at += 5) {
    const bent = bytes.with(at, bytes[at]! ^ 1);
    const code = codeOf(() => assert.deepEqual(encodeLightBlock(decodeLightBlock(bent)), bent));
    assert.match(code, /^(codec\.0[134])?$/);
  }
});

test("forks are shown offline from the founders alone", () => {
  const own = read("own");
  const four = own.validators.map((each: any) => ({ key: hexToBytes(each.key), power: each.power }));
  const { forks } = read("forks");
  assert.ok(forks.length >= 7);
  for (const row of forks) {
    const fork = decodeFork(hexToBytes(row.fork));
    assert.equal(bytesToHex(encodeFork(fork)), row.fork);
    const isOwn = fork.chain === own.chain;
    const root = isOwn ? new LightClient(own.chain, four, own.trusted_at) : founders();
    assert.equal(codeOf(() => verifyFork(fork, root, row.now)), row.expect, row.name);
    if (row.expect) continue;
    const shown = verifyFork(fork, root, row.now);
    assert.deepEqual(shown.differs, isOwn ? ["next_validators"] : ["app_hash"]);
    assert.deepEqual([shown.twice.length, shown.sameRound], [isOwn ? 2 : 4, true]);
    assert.deepEqual([shown.power, shown.total], isOwn ? [2n, 4n] : [40n, 40n]);
    assert.equal(root.height, 0);
  }
  for (const bytes of [new Uint8Array(), hexToBytes(forks[0].fork).subarray(1), hexToBytes("a0")])
    assert.equal(codeOf(() => decodeFork(bytes)), "light.14");
});

test("a fork is found by asking a second node", async () => {
  const [row] = read("forks").forks;
  const fork = decodeFork(hexToBytes(row.fork));
  const [one, other] = [fork.one.at(-1)!, fork.other.at(-1)!];
  const node = (did: string, block: LightBlock) => ({ did, lightBlock: async () => block });
  const away = { did: "away", lightBlock: () => Promise.reject(new CareMeshError("x.01", "No.")) };
  const strangers = { ...one, header: { ...one.header, validators: recorded(last).header.validators } };
  const lying = node("lying", { ...strangers, validators: recorded(last).validators });
  const found = await compare(founders(), node("a", one), one, [away, node("b", one), lying, node("c", recorded(2))], row.now);
  assert.deepEqual(found, {
    agreed: ["b"],
    silent: [["away", "x.01"]],
    lied: [["lying", "light.01"], ["c", "light.08"]],
  });
  await assert.rejects(compare(founders(), node("a", one), one, [node("b", other)], row.now), (error) => {
    assert.ok(error instanceof Forked && error.code === "light.07" && error.fork !== undefined);
    assert.equal(verifyFork(error.fork, founders(), row.now).twice.length, 4);
    return true;
  });
  const late = row.now + 15 * 86_400;
  await assert.rejects(compare(founders(), node("a", one), one, [node("b", other)], late), { code: "light.03" });
});

test("answers are proven under a header of either engine", () => {
  const { height, proofs } = read("proofs");
  const comet = recorded(last).header;
  const own = decodeLightBlock(hexToBytes(read("own").blocks[0].light_block)).header;
  assert.ok(proofs.length > 40);
  for (const row of proofs) {
    const answer = decodeAnswer(hexToBytes(row.answer));
    const root = hexToBytes(row.app_hash);
    for (const header of [{ ...comet, height: height + 1, app_hash: root }, { ...own, height, app_hash: root }]) {
      const code = codeOf(() => {
        const value = checkAnswer(header, answer);
        assert.equal(value === undefined ? null : bytesToHex(value), row.value);
      });
      assert.equal(code, row.expect);
    }
  }
  assert.equal(codeOf(() => decodeAnswer(hexToBytes("a0"))), "codec.03");
  assert.equal(codeOf(() => decodeAnswer(new Uint8Array())), "codec.01");
});
