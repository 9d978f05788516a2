/**
 * Reads a list's answer item by item while it arrives: the Nodes of 5,000 are 50 MB of text and several times that as objects,
 * of which a few hundred bytes each are wanted.
 */

const [quote, backslash, comma, openBrace, closeBrace, openBracket, closeBracket] = [...Buffer.from('"\\,{}[]')];

/** Cuts {"metadata":…,"items":[…]} into its items and what is around them. */
class Cutter {
  #depth = 0;
  #isText = false;
  #isEscaped = false;
  #isInItems = false;
  #item: Buffer[] = [];
  readonly #around: Buffer[] = [];
  readonly #onItem: (item: unknown) => void;

  constructor(onItem: (item: unknown) => void) {
    this.#onItem = onItem;
  }

  push(chunk: Buffer): void {
    let start = 0;
    const keep = (end: number): void => {
      if (end > start)
        (this.#isInItems && this.#depth > 2 ? this.#item : this.#around).push(chunk.subarray(start, end));
      start = end;
    };
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i];
      if (this.#isText) {
        if (this.#isEscaped) this.#isEscaped = false;
        else if (byte === backslash) this.#isEscaped = true;
        else if (byte === quote) this.#isText = false;
      } else if (byte === quote) {
        this.#isText = true;
      } else if (byte === openBrace || byte === openBracket) {
        if (this.#isInItems && this.#depth === 2) keep(i);
        if (++this.#depth === 2 && byte === openBracket) this.#isInItems = true;
        else continue;
        keep(i + 1);
      } else if (byte === closeBrace || byte === closeBracket) {
        if (this.#isInItems && this.#depth === 3) {
          keep(i + 1);
          this.#flush();
        }
        if (--this.#depth === 1) this.#isInItems = false;
      } else if (byte === comma && this.#isInItems && this.#depth === 2) {
        keep(i);
        start = i + 1;
      }
    }
    keep(chunk.length);
  }

  #flush(): void {
    this.#onItem(JSON.parse(Buffer.concat(this.#item).toString()));
    this.#item = [];
  }

  /** What is around the items; throws SyntaxError when the text has ended early. */
  end(): unknown {
    return JSON.parse(Buffer.concat(this.#around).toString());
  }
}

/** Hands every item on and answers the list's resourceVersion. Throws when the answer is no list or was cut off. */
export async function readList(answer: AsyncIterable<Buffer>, onItem: (item: unknown) => void): Promise<string> {
  const cutter = new Cutter(onItem);
  for await (const chunk of answer) cutter.push(chunk);
  const { metadata } = cutter.end() as { metadata?: { resourceVersion?: string } };
  return metadata?.resourceVersion ?? '';
}
