/** How long a header of CometBFT takes here: what a node answers in, milliseconds of each run out. */
import { readFileSync } from "node:fs";

import { lightBlock } from "../src/ledger/comet-rpc.ts";
import { hashOf, LightClient } from "../src/ledger/light.ts";

const given = JSON.parse(readFileSync(0, "utf8"));
const trusted = lightBlock(given.trusted.commit, [given.trusted.validators]);
const taken: number[] = [];
let believed = 0;
for (let run = 0; run < given.runs + given.warm; run++) {
  const client = LightClient.fromHeader(given.chain, trusted, hashOf(trusted.header));
  const started = performance.now();
  const header = client.verify(lightBlock(given.target.commit, [given.target.validators]), given.now);
  if (run >= given.warm) taken.push(performance.now() - started);
  believed = header.height;
}
process.stdout.write(JSON.stringify({ believed, taken }));
