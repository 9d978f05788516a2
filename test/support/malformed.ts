/** Malformed input for plugins, made from good input by seeded chance: the same seed gives the same cases. */

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** What nothing that starts programs or writes files may ever see as it stands. `pwned` is the file such a slip would make. */
export const evilStrings = (pwned: string): string[] => [
  `../../../../${pwned}`,
  `; touch ${pwned}`,
  `$(touch ${pwned})`,
  `\`touch ${pwned}\``,
  `a\nlink add pwned type bridge\n`,
  `a"; add table inet pwned; "`,
  `a' -- sh -c 'touch ${pwned}'`,
  'nul\u0000byte',
  '\u202eright to left',
  'x'.repeat(5000),
  '--batch=/etc/passwd',
  '%s%n%x',
  'é\ud800lone',
];

const odd: Json[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  1e308,
  -1e308,
  2 ** 53,
  4294967296,
  '',
  ' ',
  '0',
  [],
  {},
  [[]],
  [null],
  [{}],
];

const texts: Json[] = [
  '10.1.2.0/24',
  '10.1.2.0/33',
  '10.1.2.3/24',
  '0.0.0.0/0',
  '::/0',
  'fd00::/129',
  '255.255.255.255',
  '02:00:00:00:00:01',
  'host-local',
  'bridge',
  '9.9.9',
  '0.1.0',
];

const keys = [
  'ipam',
  'subnet',
  'ranges',
  'routes',
  'mtu',
  'vlanTrunk',
  'prevResult',
  'args',
  'runtimeConfig',
  'dns',
  'mac',
  'ips',
];

export interface Input {
  env: Record<string, string>;
  stdin: string;
}

/** mulberry32: small, seeded, good enough to choose with. */
function chance(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export class Malformer {
  readonly #next: () => number;
  readonly #evil: readonly string[];

  constructor(seed: number, evil: readonly string[]) {
    this.#next = chance(seed);
    this.#evil = evil;
  }

  #below(n: number): number {
    return Math.floor(this.#next() * n);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.#below(list.length)]!;
  }

  #value(): Json {
    const kind = this.#below(10);
    if (kind < 4) return this.pick(this.#evil);
    if (kind < 7) return structuredClone(this.pick(odd));
    if (kind < 9) return this.pick(texts);
    return this.#below(2) ? this.#nested(200) : Array.from({ length: 300 }, (_, i) => i);
  }

  #nested(depth: number): Json {
    let value: Json = 'deep';
    for (let i = 0; i < depth; i++) value = i % 2 ? [value] : { x: value };
    return value;
  }

  /** Every object and list of a document, itself included. */
  #containers(value: Json): (Json[] | { [key: string]: Json })[] {
    if (value === null || typeof value !== 'object') return [];
    return [value, ...Object.values(value).flatMap((v) => this.#containers(v))];
  }

  #mutateOnce(document: Json): void {
    const container = this.pick(this.#containers(document)) as { [key: string]: Json };
    const present = Object.keys(container);
    const key =
      present.length > 0 && this.#below(5) > 0 ? this.pick(present) : this.pick([...keys, ...this.#evil, '__proto__']);
    const old = Object.hasOwn(container, key) ? container[key]! : null;
    const set = (value: Json) =>
      Object.defineProperty(container, key, { value, enumerable: true, configurable: true, writable: true });
    switch (this.#below(6)) {
      case 0:
        delete container[key];
        break;
      case 1:
        set([old]);
        break;
      case 2:
        if (!Array.isArray(container)) container[key.toUpperCase()] = this.#value();
        break;
      default:
        set(this.#value());
    }
  }

  /** The document with one to three things wrong, or the text of it broken. */
  text(good: object): string {
    const document = structuredClone(good) as Json;
    for (let i = this.#below(3); i >= 0; i--) this.#mutateOnce(document);
    const text = JSON.stringify(document);
    if (this.#below(4) > 0) return text;
    const at = this.#below(text.length);
    const junk = this.pick(['{', '}', '"', ',', '\u0000', '\ufeff', '[[[[', '\\u12', '1e999', '/*', ...this.#evil]);
    return this.pick([
      text.slice(0, at),
      text.slice(0, at) + junk + text.slice(at),
      junk,
      text + text,
      text.slice(at) + text.slice(0, at),
    ]);
  }

  /** Variables with none, one or two of them wrong. */
  variables(good: Record<string, string>): Record<string, string> {
    const env = { ...good };
    for (let i = this.#below(6) - 3; i > 0; i--) {
      const name = this.pick(Object.keys(good));
      if (this.#below(4) === 0) delete env[name];
      else env[name] = this.pick([...this.#evil, '', ' ', '..', 'IP=1.2.3.4', 'IP=;;;', 'MAC=x;=;', 'K='.repeat(500)]);
    }
    return env;
  }
}
