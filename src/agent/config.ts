/** The agent's configuration file: every key with its default and what it may be. conf/agent.yaml explains them. */

import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, isAbsolute, resolve } from 'node:path';
import { z } from 'zod';
import { check, parseYaml, unknownKeys } from '../cluster/document.ts';
import { betweenSites, namespacePattern, wantOneOf } from '../cluster/schema.ts';
import { isObject } from '../decode.ts';
import { ConfigError } from '../errors.ts';
import { parseAddress } from '../net/address.ts';
import { type ClusterTraffic, type ClusterView, trafficModes, wayModes } from '../plan/cluster.ts';
import type { AutoSettings, WireGuardKeys } from '../plan/settings.ts';
import { bgpSchema } from './bgp-config.ts';

/** Where an agent answers, if nothing else is said. */
export const defaultPort = 9467;

const wantMtu = '"auto" or a whole number from 1280 to 65535';
const wantListen = 'an address and a port such as "127.0.0.1:9467" or "[::1]:9467"';
const wantPath = 'a path that begins with "/"';
const wantKeyFile = 'a path that begins with "/", without blanks and quotes';
const wantNamespace = 'the name of a Kubernetes namespace';
const wantInstall = 'true, false or "replace"';
const wantSeconds = 'a whole number of seconds from 1 to 3600';

const oneOf = <const T extends readonly string[]>(...values: T) =>
  z.enum(values, wantOneOf(values)).default(values[0]!);
const yesOrNo = (value: boolean) => z.boolean('true or false').default(value);
const integer = (min: number, max: number, want = `a whole number from ${min} to ${max}`) =>
  z.int(want).min(min, want).max(max, want);
const path = (value: string) => z.string(wantPath).refine(isAbsolute, wantPath).default(value);

const wantCandidates = `a list of ${wayModes.map((m) => `"${m}"`).join(', ')}, each at most once`;
const candidatesSchema = z
  .array(z.enum(wayModes, wantCandidates), wantCandidates)
  .min(1, wantCandidates)
  .refine((list) => new Set(list).size === list.length, wantCandidates)
  .default(() => [...wayModes]);

/** Host and port of a `listen` text. */
export function parseListen(text: string): { host: string; port: number } | undefined {
  const parts = /^(?:\[([^\]]+)\]|([^:[\]]*)):([0-9]{1,5})$/.exec(text);
  if (!parts) return undefined;
  const host = parts[1] ?? parts[2]!;
  const port = Number(parts[3]);
  return parseAddress(host) && port <= 65535 ? { host, port } : undefined;
}

export const configSchema = z.object(
  {
    node: z.string('the name of this node in the cluster').min(1, 'the name of this node in the cluster').optional(),
    cluster: z
      .object(
        {
          source: oneOf('file', 'kubernetes'),
          file: z.string('a path').min(1, 'a path').default('/etc/culvert/cluster.yaml'),
          kubeconfig: z.string(wantPath).refine(isAbsolute, wantPath).optional(),
          namespace: z.string(wantNamespace).regex(namespacePattern, wantNamespace).optional(),
        },
        'an object with source, file, kubeconfig and namespace',
      )
      .prefault({}),
    mode: oneOf(...trafficModes),
    betweenSites,
    sameSubnet: oneOf('tunnel', 'direct'),
    behindRouter: oneOf('refuse', 'gateway'),
    attach: oneOf('ptp', 'bridge'),
    mtu: z.union([z.literal('auto'), integer(1280, 65535, wantMtu)], wantMtu).default('auto'),
    pathMtu: z
      .object(
        { enabled: yesOrNo(true), everySeconds: integer(1, 86_400).default(60) },
        'an object with enabled and everySeconds',
      )
      .prefault({}),
    masquerade: yesOrNo(true),
    flowtable: z.union([z.boolean(), z.literal('auto')], 'true, false or "auto"').default(false),
    checksumOffload: z.union([z.boolean(), z.literal('auto')], 'true, false or "auto"').default('auto'),
    vxlan: z
      .object(
        { id: integer(1, 16_777_215).default(1), port: integer(1, 65_535).default(4789) },
        'an object with id and port',
      )
      .prefault({}),
    wireguard: z
      .object(
        {
          port: integer(1, 65_535).default(51820),
          keepaliveSeconds: integer(0, 65_535).default(0),
          presharedKeyFile: z
            .string(wantKeyFile)
            .regex(/^\/[^\s'"\\]*$/, wantKeyFile)
            .optional(),
        },
        'an object with port, keepaliveSeconds and presharedKeyFile',
      )
      .prefault({}),
    bgp: bgpSchema,
    auto: z
      .object(
        { candidates: candidatesSchema, everySeconds: integer(1, 60).default(1) },
        'an object with candidates and everySeconds',
      )
      .prefault({}),
    listen: z
      .string(wantListen)
      .refine((text) => parseListen(text) !== undefined, wantListen)
      .default(`127.0.0.1:${defaultPort}`),
    resyncSeconds: integer(1, 3600, wantSeconds).default(30),
    sweep: z
      .object(
        {
          enabled: yesOrNo(true),
          everySeconds: integer(1, 86_400).default(300),
          graceSeconds: integer(1, 86_400).default(60),
          fullPercent: integer(1, 100).default(80),
        },
        'an object with enabled, everySeconds, graceSeconds and fullPercent',
      )
      .prefault({}),
    install: z.union([z.boolean(), z.literal('replace')], wantInstall).default(false),
    serve: yesOrNo(false),
    paths: z
      .object(
        {
          run: path('/run/culvert'),
          state: path('/var/lib/culvert'),
          cniBin: path('/opt/cni/bin'),
          cniConf: path('/etc/cni/net.d'),
          leases: path('/var/lib/cni/networks'),
          sysctls: path('/proc/sys'),
        },
        'an object with run, state, cniBin, cniConf, leases and sysctls',
      )
      .prefault({}),
    log: oneOf('info', 'debug'),
  },
  'an object',
);

type ConfigFile = z.infer<typeof configSchema>;

export type AgentConfig = Omit<ConfigFile, 'node' | 'wireguard' | 'auto'> & {
  node: string;
  /** With what has been chosen so far, once it is known (ways.ts). */
  auto: AutoSettings & Pick<ConfigFile['auto'], 'everySeconds'>;
  /** With the node's keys once they were looked for (keys.ts). */
  wireguard: ConfigFile['wireguard'] & { keys?: WireGuardKeys };
};

/** The configuration with what the cluster says for all nodes. */
export type NodeConfig = AgentConfig & Pick<ClusterTraffic, 'alsoAccept'>;

/** What the cluster says of traffic goes above what the node's own file does. */
export const withTraffic = (config: AgentConfig, { traffic }: ClusterView): NodeConfig =>
  traffic ? { ...config, betweenSites: undefined, ...traffic } : config;

/** A document as configuration; throws ConfigError. `notes` takes remarks on unknown keys. */
export function decodeConfig(value: unknown, notes: string[] = []): AgentConfig {
  const document = value ?? {}; // an empty file is all defaults
  const config = check(configSchema, document);
  if (isObject(document)) notes.push(...unknownKeys(configSchema, document));
  // a DaemonSet's pods share one file: each is told its node by the downward API
  return { ...config, node: config.node ?? (process.env['NODE_NAME'] || hostname()) };
}

/** The configuration of a file; the cluster file's path counts from its folder. Throws ConfigError. */
export function readConfig(file: string, notes: string[] = []): AgentConfig {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const got = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : (error as Error).message;
    throw new ConfigError([{ path: file, got, want: 'a readable configuration file' }]);
  }
  const config = decodeConfig(parseYaml(text, file), notes);
  return { ...config, cluster: { ...config.cluster, file: resolve(dirname(file), config.cluster.file) } };
}
