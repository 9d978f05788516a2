/**
 * The ConfigMap that says how pods' packets travel in the whole cluster: its `traffic` is that of a cluster file. Without it every
 * agent's own configuration says. It is written by compare-and-swap: who has not seen the last version writes nothing.
 */

import { ConfigError } from '../../errors.ts';
import type { ClusterTraffic } from '../../plan/cluster.ts';
import { parseYaml } from '../document.ts';
import { decodeTraffic } from '../view.ts';
import { type Api, ApiError } from './api.ts';
import { type Followed, type Follower, follow, type KubeObject } from './follow.ts';
import { Outage } from './outage.ts';

export const trafficMapName = 'culvert-traffic';

/** What is looked at of the ConfigMap. */
export interface MapObject extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

/** Of a ConfigMap's data; `path` begins the paths of ConfigError, which it throws. */
export function readTraffic({ data }: MapObject, path: string): ClusterTraffic | undefined {
  const text = data?.['traffic'];
  return text === undefined ? undefined : decodeTraffic(parseYaml(text, `${path}.traffic`), `${path}.traffic`);
}

/** Versions are numbers that grow (etcd's): the answer to a write may be there before the events of earlier ones. */
const versionOf = (object: MapObject | undefined): number => Number(object?.metadata.resourceVersion ?? 0);

export class TrafficMap implements Follower<MapObject> {
  /** What it is, for people. */
  readonly title: string;
  /** Why the API server tells nothing of it. */
  readonly outage: Outage;
  readonly #api: Api;
  readonly #folder: string;
  readonly #changed: () => void;
  /** As last seen. */
  #object: MapObject | undefined;
  /** What was last right of it; nothing before the first answer. */
  #right: { traffic: ClusterTraffic | undefined } | undefined;
  /** What is wrong with it now. */
  error: ConfigError | undefined;

  constructor(api: Api, namespace: string, changed: () => void) {
    this.#api = api;
    this.#folder = `/api/v1/namespaces/${namespace}/configmaps`;
    this.#changed = changed;
    this.title = `ConfigMap ${namespace}/${trafficMapName}`;
    this.outage = new Outage(api);
  }

  /** Whether it is known what it says. */
  get isKnown(): boolean {
    return this.#right !== undefined;
  }

  /** What it last rightly said; nothing: nobody has said. */
  get traffic(): ClusterTraffic | undefined {
    return this.#right?.traffic;
  }

  /** What it said at an earlier time, until the API server says. */
  recall(traffic: ClusterTraffic | undefined): void {
    this.#right ??= { traffic };
  }

  follow(signal: AbortSignal): void {
    const fieldSelector = `metadata.name=${trafficMapName}`;
    const what: Followed<MapObject, MapObject> = { path: this.#folder, fieldSelector, keep: (object) => object };
    void follow(this.#api, what, this, signal);
  }

  #saw(object: MapObject | undefined): void {
    this.#object = object;
    this.error = undefined;
    try {
      this.#right = { traffic: object && readTraffic(object, `${this.title} data`) };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      this.error = error;
    }
    this.#changed();
  }

  replace(all: ReadonlyMap<string, MapObject>): void {
    this.#saw(all.get(trafficMapName));
  }

  put(_name: string, object: MapObject): void {
    if (versionOf(object) > versionOf(this.#object)) this.#saw(object);
  }

  drop(): void {
    this.#saw(undefined);
  }

  answered(): void {
    if (this.outage.ended()) this.#changed();
  }

  failed(error: Error): void {
    // an account of a time when there was no such ConfigMap: nodes have to be followed all the same
    if (error instanceof ApiError && error.status === 403) this.recall(undefined);
    if (this.outage.begun(error)) this.#changed();
  }

  /** Writes it, if it still is as last seen; answers whether it was. */
  async write(traffic: ClusterTraffic): Promise<boolean> {
    const data = { traffic: JSON.stringify(traffic) };
    const seen = this.#object;
    const metadata = { name: trafficMapName, ...(seen && { resourceVersion: seen.metadata.resourceVersion }) };
    const path = seen ? `${this.#folder}/${trafficMapName}` : this.#folder;
    try {
      this.put(
        trafficMapName,
        await this.#api.object(path, { method: seen ? 'PATCH' : 'POST', body: { metadata, data } }),
      );
      return true;
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) return false;
      throw error;
    }
  }
}
