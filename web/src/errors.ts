/** Errors as the Python side has them: a stable code, a sentence, the place; never personal data. */
export class CareMeshError extends Error {
  readonly code: string;
  readonly place: string;

  constructor(code: string, sentence: string, place = "") {
    super(`${code}: ${sentence}${place ? ` (${place})` : ""}`);
    this.name = new.target.name;
    this.code = code;
    this.place = place;
  }
}

/** What was given is not what it must be. */
export class BadInput extends CareMeshError {}

/** Bytes are not those that a hash, a signature or a key vouches for. */
export class Tampered extends CareMeshError {}

/** A rule says no. */
export class Refused extends CareMeshError {}

/** This belongs to another ledger. */
export class WrongLedger extends CareMeshError {}
