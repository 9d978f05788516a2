/** What an agent writes to its own Node: its public key. Only what differs, one write at a time. */

import type { Api } from './api.ts';
import { annotations } from './node.ts';

const retryMs = 10_000;

export class OwnNode {
  readonly #api: Api;
  readonly #name: string;
  readonly #publicKey: string;
  #known: string | undefined;
  #isWriting = false;
  /** Why the key could not be written. */
  problem: string | undefined;
  readonly #changed: () => void;

  constructor(api: Api, name: string, publicKey: string, changed: () => void) {
    this.#api = api;
    this.#name = name;
    this.#publicKey = publicKey;
    this.#changed = changed;
  }

  /** The Node as last seen has this key. */
  saw(publicKey: string | undefined): void {
    this.#known = publicKey;
    void this.#publish();
  }

  async #publish(): Promise<void> {
    if (this.#known === this.#publicKey || this.#isWriting) return;
    this.#isWriting = true;
    const was = this.problem;
    try {
      const body = { metadata: { annotations: { [annotations.publicKey]: this.#publicKey } } };
      await this.#api.object(`/api/v1/nodes/${this.#name}`, { method: 'PATCH', body });
      this.#known = this.#publicKey;
      this.problem = undefined;
    } catch (error) {
      this.problem = `cannot write the annotation ${annotations.publicKey} of Node "${this.#name}": ${(error as Error).message}; allow "patch" on "nodes"`;
      setTimeout(() => void this.#publish(), retryMs).unref();
    }
    this.#isWriting = false;
    if (this.problem !== was) this.#changed();
  }
}
