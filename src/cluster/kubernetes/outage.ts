/** For how long the API server has not answered, in words. */

import { ConfigError } from '../../errors.ts';
import { type Api, ApiError } from './api.ts';

/** A refused connection to a name with several addresses is an error without a message of its own. */
const said = (error: Error): string =>
  error.message || (error as AggregateError).errors?.map((e: Error) => e.message).join(', ') || error.name;

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
