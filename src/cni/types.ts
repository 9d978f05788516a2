/** The CNI protocol's documents, with the specification's field names (spec 1.1.0, sections 1, 2 and 5). */

import type { JsonObject } from '../decode.ts';
import type { Address } from '../net/address.ts';
import type { Prefix } from '../net/prefix.ts';
import type { Route } from '../net/route.ts';

export type { Route } from '../net/route.ts';

export type Command = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION';

/** An interface that an attachment made, in the container (`sandbox` set) or on the host. */
export interface Interface {
  name: string;
  mac?: string;
  mtu?: number;
  /** The network namespace as CNI_NETNS named it; absent for the host. */
  sandbox?: string;
  socketPath?: string;
  pciID?: string;
}

/** An address that an attachment was given. */
export interface IpConfig {
  address: Prefix;
  gateway?: Address;
  /** Index into the result's `interfaces`. */
  interface?: number;
}

export interface Dns {
  nameservers?: string[];
  domain?: string;
  search?: string[];
  options?: string[];
}

/** The result of ADD, in memory always of the newest shape; older shapes exist only at the edge (version.ts). */
export interface Result {
  interfaces: Interface[];
  ips: IpConfig[];
  routes: Route[];
  dns: Dns;
}

/** One of the attachments that a GC must keep. */
export interface ValidAttachment {
  containerId: string;
  ifname: string;
}

/** One execution: the environment and standard input, validated. */
export interface Request {
  command: Exclude<Command, 'VERSION'>;
  /** Empty for GC and STATUS. */
  containerId: string;
  /** Path of the container's network namespace; empty where the runtime gave none (DEL of a dead container, GC, STATUS). */
  netns: string;
  ifname: string;
  /** CNI_ARGS as it stands. */
  args: string;
  /** The directories of CNI_PATH. */
  path: string[];
  cniVersion: string;
  /** The network's name. */
  name: string;
  /** The configuration, as decoded from standard input. */
  conf: JsonObject;
  /** Standard input as it stands, for delegated plugins. */
  stdin: string;
  /** The environment, for delegated plugins. */
  env: Readonly<Record<string, string | undefined>>;
}
