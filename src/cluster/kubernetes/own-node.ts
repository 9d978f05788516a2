/** What an agent writes to the API server: its public key on its own Node, and Events for people. Only what differs, one at a time. */

import { type Api, ApiError } from './api.ts';
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

  /** A warning on the Node, as `kubectl describe node` shows it. One of a reason; later ones take its place. */
  async warn(reason: string, message: string): Promise<void> {
    const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
    const name = `${this.#name}.culvert.${reason.toLowerCase()}`;
    const path = '/api/v1/namespaces/default/events';
    const body = { message, lastTimestamp: now };
    try {
      await this.#api.object(path, {
        method: 'POST',
        body: {
          ...body,
          metadata: { name, namespace: 'default' },
          type: 'Warning',
          reason,
          firstTimestamp: now,
          count: 1,
          // kubelet and kubectl know the Events of a Node by its name in place of its uid
          involvedObject: { apiVersion: 'v1', kind: 'Node', name: this.#name, uid: this.#name },
          source: { component: 'culvert', host: this.#name },
        },
      });
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 409) throw error;
      await this.#api.object(`${path}/${name}`, { method: 'PATCH', body });
    }
  }
}
