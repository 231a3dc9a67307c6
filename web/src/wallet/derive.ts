/** Every key of a person, derived from one seed: as `caremesh.wallet.derive` and `caremesh.wallet.phrase`. */
import { entropyToMnemonic, mnemonicToEntropy } from "@scure/bip39";
import { wordlist } from "@scure/bip39/wordlists/english.js";

import { uint32 } from "../crypto/bytes.ts";
import { derive, SigningKey, streamOf } from "../crypto/keys.ts";
import { ReadingKey } from "../crypto/reencryption.ts";
import { BadInput } from "../errors.ts";

/** The 24 words of a seed of 32 bytes. */
export function phraseOf(seed: Uint8Array): string {
  return entropyToMnemonic(seed, wordlist);
}

/** The seed of 24 words. Throws BadInput wallet.01, wallet.02 (with the positions), wallet.03. */
export function seedOf(phrase: string): Uint8Array {
  const words = phrase.normalize("NFKD").toLowerCase().trim().split(/\s+/);
  if (words.length !== 24) throw new BadInput("wallet.01", "A recovery phrase has 24 words.", `${words.length} given`);
  const wrong = words.flatMap((word, at) => (wordlist.includes(word) ? [] : [`word ${at + 1}`]));
  if (wrong.length) throw new BadInput("wallet.02", "The phrase has words that are misspelt.", wrong.join("; "));
  try {
    return mnemonicToEntropy(words.join(" "), wordlist);
  } catch {
    throw new BadInput("wallet.03", "These words are not a phrase: one is another than it was, or their order.");
  }
}

/** A person's keys towards one member. */
export class RelationshipKeys {
  readonly #secret: Uint8Array;

  constructor(seed: Uint8Array, member: string, counter = 0) {
    this.#secret = derive(seed, "caremesh/v1/relationship", member, uint32(counter));
  }

  /** What signs on the channel with the member. */
  channelSigning(): SigningKey {
    return new SigningKey(derive(this.#secret, "channel", "signing"));
  }

  /** The seed of the channel's HPKE key. */
  channelSeed(): Uint8Array {
    return derive(this.#secret, "channel", "hpke");
  }

  /** The keys of one stream. */
  stream(category: string, counter = 0): StreamKeys {
    return new StreamKeys(derive(this.#secret, "stream", category, uint32(counter)));
  }
}

/** The keys of one stream. */
export class StreamKeys {
  readonly #secret: Uint8Array;

  constructor(secret: Uint8Array) {
    this.#secret = secret;
  }

  /** What the stream signs with after so many rotations. */
  signing(rotation = 0): SigningKey {
    return new SigningKey(derive(this.#secret, "signing", uint32(rotation)));
  }

  /** What seals of this epoch are made to. */
  reading(epoch = 0): ReadingKey {
    return new ReadingKey(derive(this.#secret, "reading", uint32(epoch)));
  }

  /** All that the ledger ever sees of the stream. */
  get id(): Uint8Array {
    return streamOf(this.signing(0).publicKey);
  }
}
