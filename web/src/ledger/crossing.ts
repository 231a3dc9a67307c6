/** A crossing as it travels: canonical DAG-CBOR, the same bytes as those of `caremesh.ledger.light.Crossing`. */
import { encode } from "@ipld/dag-cbor";

import { equal } from "../crypto/bytes.ts";
import { plainLightBlock, read, shapeLightBlock, shapes, twoSpellings, validatorOf } from "./block.ts";
import type { Crossing } from "./light.ts";
import { decodeAnswer } from "./proof.ts";

/** A crossing from its one spelling, unverified. Throws codec.01, codec.03, codec.04. */
export function decodeCrossing(data: Uint8Array): Crossing {
  const said = shapes.map(read(data), "", ["block", "answer", "validators"]);
  const crossing = {
    block: shapeLightBlock(said.block),
    answer: decodeAnswer(encode(said.answer)),
    validators: shapes.list(said.validators, "validators").map(validatorOf),
  };
  if (!equal(encode({ ...crossing, block: plainLightBlock(crossing.block) }), data)) throw twoSpellings();
  return crossing;
}
