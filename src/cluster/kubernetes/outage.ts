/** For how long the API server has not answered, in words. */

import { ConfigError } from '../../errors.ts';
import { type Api, ApiError, said } from './api.ts';

export class Outage {
  readonly #api: Api;
  #since: string | undefined;
  /** Nothing while it answers. */
  text: string | undefined;

  constructor(api: Api) {
    this.#api = api;
  }

  /** Answers whether that is news. */
  begun(error: Error): boolean {
    const was = this.text;
    this.#since ??= new Date().toISOString();
    const what = error instanceof ApiError ? 'refuses our requests' : 'does not answer';
    this.text =
      error instanceof ConfigError
        ? error.message
        : `the API server ${this.#api.server} ${what} since ${this.#since}: ${said(error)}`;
    return this.text !== was;
  }

  /** Answers whether that is news. */
  ended(): boolean {
    const was = this.text;
    this.#since = undefined;
    this.text = undefined;
    return was !== undefined;
  }
}
