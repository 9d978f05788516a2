/** Chance that a seed repeats. */

export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Uniform over [0, 1). */
  readonly chance = (): number => {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return this.#state / 4294967296;
  };

  /** The list in random order. */
  shuffled<T>(list: readonly T[]): T[] {
    const keyed = list.map((value) => ({ value, key: this.chance() }));
    return keyed.sort((a, b) => a.key - b.key).map(({ value }) => value);
  }
}
