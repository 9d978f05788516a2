/**
 * The ConfigMap that says how pods' packets travel in the whole cluster. People write `mode`, `betweenSites` and `sameSubnet`: what they
 * want. `traffic` is what is in force, as in a cluster file, and is written step by step by who brings that about; without it every
 * agent's own configuration says. It is written by compare-and-swap: who has not seen the last version writes nothing.
 */

import { ConfigError } from '../../errors.ts';
import type { ClusterTraffic, Traffic } from '../../plan/cluster.ts';
import { parseYaml, unknownKey } from '../document.ts';
import { decodeTraffic } from '../view.ts';
import { type Api, ApiError } from './api.ts';
import { type Followed, type Follower, follow, type KubeObject } from './follow.ts';
import { Outage } from './outage.ts';

export const trafficMapName = 'culvert-traffic';

/** What is looked at of the ConfigMap. */
export interface MapObject extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

/** What it says. */
export interface SaidByMap {
  readonly traffic: ClusterTraffic | undefined;
  readonly wanted: Traffic | undefined;
  readonly takenBack: { readonly wanted: Traffic; readonly because: string } | undefined;
}

const wishKeys = ['mode', 'betweenSites', 'sameSubnet'] as const;
const keys: readonly string[] = [...wishKeys, 'traffic', 'takenBack'];

/** Remarks on keys that nobody reads; `path` begins theirs. */
export const remarksOn = ({ data = {} }: MapObject, path: string): string[] =>
  Object.keys(data).flatMap((key) => (keys.includes(key) ? [] : [unknownKey(`${path}.${key}`, key, keys)]));

/** The keys of the ConfigMap by which this is wanted; nothing is wanted any more by none. */
export const wishData = (wanted: Traffic | undefined): Record<string, string | null> =>
  Object.fromEntries(wishKeys.map((key) => [key, wanted?.[key] ?? null]));

function readWish(data: Readonly<Record<string, string>>, path: string): Traffic | undefined {
  const said = wishKeys.filter((key) => data[key] !== undefined);
  if (said.length === 0) return undefined;
  return decodeTraffic(Object.fromEntries(said.map((key) => [key, data[key]])), path);
}

/** Agents write it; whoever else did is not believed. */
function readTakenBack(text: string | undefined): SaidByMap['takenBack'] {
  try {
    const { wanted, because } = JSON.parse(text ?? '') as { wanted?: unknown; because?: unknown };
    return { wanted: decodeTraffic(wanted, 'wanted'), because: String(because) };
  } catch {
    return undefined;
  }
}

/** Of a ConfigMap's data; `path` begins the paths of ConfigError, which it throws. */
export function readMap({ data = {} }: MapObject, path: string): SaidByMap {
  const text = data['traffic'];
  const at = `${path}.traffic`;
  return {
    traffic: text === undefined ? undefined : decodeTraffic(parseYaml(text, at), at),
    wanted: readWish(data, path),
    takenBack: readTakenBack(data['takenBack']),
  };
}

const nothing: SaidByMap = { traffic: undefined, wanted: undefined, takenBack: undefined };

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
  #right: SaidByMap | undefined;
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

  /** What it last rightly said. */
  get said(): SaidByMap {
    return this.#right ?? nothing;
  }

  /** What is odd but harmless. */
  get notes(): string[] {
    return this.#object ? remarksOn(this.#object, `${this.title} data`) : [];
  }

  /** What it said at an earlier time, until the API server says. */
  recall(traffic: ClusterTraffic | undefined): void {
    this.#right ??= { ...nothing, traffic };
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
      this.#right = object ? readMap(object, `${this.title} data`) : nothing;
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

  /** Writes keys (null: takes them out), if it still is as last seen; answers whether it was. */
  async write(changes: Readonly<Record<string, string | null>>): Promise<boolean> {
    const seen = this.#object;
    const name = trafficMapName;
    const { resourceVersion } = seen?.metadata ?? {};
    const data = seen ? changes : Object.fromEntries(Object.entries(changes).filter(([, text]) => text !== null));
    const body = { metadata: { name, resourceVersion }, data };
    try {
      const written = seen
        ? this.#api.object<MapObject>(`${this.#folder}/${name}`, { method: 'PATCH', body })
        : this.#api.object<MapObject>(this.#folder, { method: 'POST', body });
      this.put(name, await written);
      return true;
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) return false;
      throw error;
    }
  }
}
