/** Log lines: one JSON object each, on standard output. */

export type Level = 'debug' | 'info' | 'warn' | 'error';

export type Log = (level: Level, msg: string, fields?: Readonly<Record<string, unknown>>) => void;

/** `debug` lines only when asked for. */
export function createLog(debug: boolean, write: (line: string) => void): Log {
  return (level, msg, fields = {}) => {
    if (level === 'debug' && !debug) return;
    write(`${JSON.stringify({ time: new Date().toISOString(), level, msg, ...fields })}\n`);
  };
}

/** Says a thing once: again only when it changed, and when it is over. */
export class Once {
  #said = new Set<string>();

  /** `now` is all that stands at present; what is new goes to `appeared`, what no longer stands to `gone`. */
  update(now: Iterable<string>, appeared: (text: string) => void, gone: (text: string) => void): void {
    const next = new Set(now);
    for (const text of next) if (!this.#said.has(text)) appeared(text);
    for (const text of this.#said) if (!next.has(text)) gone(text);
    this.#said = next;
  }
}
