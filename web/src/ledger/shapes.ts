/** Untrusted values into known shapes; what does not fit throws what `refuse` makes of its place. */
export class Shapes {
  readonly #refuse: (place: string) => Error;

  constructor(refuse: (place: string) => Error) {
    this.#refuse = refuse;
  }

  /** A map; `keys`: these and no others. */
  map(value: unknown, place: string, keys?: readonly string[]): Record<string, unknown> {
    if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array)
      throw this.#refuse(place);
    const found = value as Record<string, unknown>;
    if (keys !== undefined && Object.keys(found).some((key) => !keys.includes(key))) throw this.#refuse(place);
    return found;
  }

  list(value: unknown, place: string): unknown[] {
    if (!Array.isArray(value)) throw this.#refuse(place);
    return value;
  }

  /** A text that a pattern describes whole. */
  text(value: unknown, pattern: RegExp, place: string): string {
    if (typeof value !== "string" || !pattern.test(value)) throw this.#refuse(place);
    return value;
  }

  /** A whole number from `least` to below `end`. */
  whole(value: unknown, least: number, end: number, place: string): number {
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least || value >= end)
      throw this.#refuse(place);
    return value;
  }

  /** Bytes, of so many at least and at most. */
  bytes(value: unknown, least: number, most: number, place: string): Uint8Array {
    if (!(value instanceof Uint8Array) || value.length < least || value.length > most) throw this.#refuse(place);
    return value;
  }
}
