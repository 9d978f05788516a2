/** `culvert mode`: how pods' packets travel in a cluster, shown and changed while they flow. */

import { parseArgs } from 'node:util';
import { wantOneOf } from '../cluster/schema.ts';
import { type Command, exitCode, UsageError, wholeNumber } from '../command.ts';
import { formatTraffic } from '../plan/change.ts';
import { modesBetweenSites, type Traffic, trafficModes } from '../plan/cluster.ts';
import { defaultConfigFile } from './agent.ts';
import { askNode } from './ask.ts';
import { defaultPort, parseListen, readConfig } from './config.ts';
import {
  type Answer,
  askAll,
  ChangeError,
  type ChangeParts,
  changeTraffic,
  currentTraffic,
  type TrafficPlace,
} from './mode-change.ts';
import { placeOf } from './source.ts';
import { fileTraffic, kubernetesTraffic, type OpenPlace } from './traffic-place.ts';
import { unlikeMtus } from './unlike.ts';

const options = {
  config: { type: 'string', default: defaultConfigFile },
  file: { type: 'string' },
  kubeconfig: { type: 'string' },
  port: { type: 'string' },
  'between-sites': { type: 'string' },
  'same-subnet': { type: 'string' },
  publish: { type: 'string' },
  timeout: { type: 'string', default: '30' },
  'no-probe': { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
} as const;

type Options = ReturnType<typeof parseArgs<{ options: typeof options }>>['values'];

function oneOf<T extends string>(option: string, value: string | undefined, values: readonly T[]): T | undefined {
  if (value === undefined || values.includes(value as T)) return value as T | undefined;
  throw new UsageError(`${option}: got "${value}", want ${wantOneOf(values)}`);
}

/** Where this cluster's traffic is said and the agents' port, given or as this node's agent has them. */
async function open({ config, file, kubeconfig, port, publish }: Options): Promise<{ place: OpenPlace; port: number }> {
  const given = port === undefined ? undefined : wholeNumber('--port', port, 65_535);
  if (file !== undefined && kubeconfig !== undefined) throw new UsageError('--file and --kubeconfig: want one of them');
  if (file !== undefined) return { place: fileTraffic(file, publish), port: given ?? defaultPort };
  const own = kubeconfig === undefined ? readConfig(config) : undefined;
  const isFile = own?.cluster.source === 'file';
  if (!isFile && publish !== undefined) {
    throw new UsageError(`--publish: got "${publish}", want none where the cluster is Nodes`);
  }
  return {
    place: isFile
      ? fileTraffic(own.cluster.file, publish)
      : await kubernetesTraffic(placeOf(own?.cluster ?? { kubeconfig })),
    port: given ?? (own ? parseListen(own.listen)!.port : defaultPort),
  };
}

const driveWith = (place: TrafficPlace, port: number, given: Options): ChangeParts => ({
  place,
  ask: (node) => askNode(node, port),
  say: (line) => void process.stdout.write(`${line}\n`),
  timeoutMs: wholeNumber('--timeout', given.timeout, 86_400) * 1000,
  probe: !given['no-probe'],
  settleMs: 1000,
});

async function set(mode: string | undefined, given: Options): Promise<number> {
  if (mode === undefined) throw new UsageError(`mode set: which? one of ${trafficModes.join(', ')}`);
  const asked = {
    mode: oneOf('mode set', mode, trafficModes)!,
    betweenSites: oneOf('--between-sites', given['between-sites'], modesBetweenSites),
    sameSubnet: oneOf('--same-subnet', given['same-subnet'], ['tunnel', 'direct'] as const),
  };
  const { place, port } = await open(given);
  await using _ = place;
  const parts = driveWith(place, port, given);
  try {
    const now = await currentTraffic(parts);
    // during a change the mode alone says which of the two is meant
    const like: Traffic = now.alsoAccept && now.mode !== asked.mode ? now.alsoAccept : now;
    const target: Traffic = {
      mode: asked.mode,
      betweenSites: asked.betweenSites ?? like.betweenSites,
      sameSubnet: asked.sameSubnet ?? like.sameSubnet,
    };
    const lacks = await changeTraffic(target, parts);
    return lacks.length === 0 ? exitCode.fine : exitCode.problems;
  } catch (error) {
    if (!(error instanceof ChangeError)) throw error;
    process.stderr.write(`culvert mode: ${error.message}\n`);
    return exitCode.problems;
  }
}

function lineOf(answer: Answer, digest: string): string {
  if (typeof answer === 'string') return answer;
  const { traffic, mtu, cluster, notAccepted, unanswered } = answer;
  return [
    formatTraffic(traffic),
    `MTU ${mtu}`,
    traffic.alsoAccept && `accepts ${formatTraffic(traffic.alsoAccept)} too`,
    cluster !== digest && 'has not taken up what is said now',
    ...notAccepted,
    unanswered.length > 0 && `no answer from ${unanswered.slice(0, 3).join(', ')}`,
  ]
    .filter((part) => part)
    .join('; ');
}

async function show(given: Options): Promise<number> {
  const { place, port } = await open(given);
  await using _ = place;
  const { ask, say } = driveWith(place, port, given);
  const view = place.read();
  const digest = view.digest!;
  const answers = await askAll(view.nodes, ask);
  const isFine = answers.every((a) => typeof a !== 'string' && a.cluster === digest);
  if (given.json) {
    const nodes = view.nodes.map(({ name }, i) => {
      const answer = answers[i]!;
      return typeof answer === 'string' ? { node: name, silent: answer } : answer;
    });
    say(JSON.stringify({ traffic: view.traffic, cluster: digest, nodes }));
  } else {
    const { traffic } = view;
    say(`${place.title}: ${traffic ? formatTraffic(traffic) : 'as each node says itself'}`);
    if (traffic?.alsoAccept) say(`  a change is under way: ${formatTraffic(traffic.alsoAccept)} is accepted too`);
    for (const remark of place.remarks()) say(`  ${remark}`);
    for (const [i, { name }] of view.nodes.entries()) say(`${name}: ${lineOf(answers[i]!, digest)}`);
    for (const remark of unlikeMtus(answers.filter((a) => typeof a !== 'string'))) say(remark);
  }
  return isFine ? exitCode.fine : exitCode.problems;
}

async function run(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
  const [verb, mode, ...rest] = positionals;
  if (rest.length > 0) throw new UsageError(`unexpected argument "${rest[0]}"`);
  if (verb === 'set') return set(mode, values);
  if (verb !== 'show') throw new UsageError(`got "${verb ?? ''}", want "show" or "set"`);
  if (mode !== undefined) throw new UsageError(`unexpected argument "${mode}"`);
  return show(values);
}

export const modeCommand: Command = {
  name: 'mode',
  summary: 'show the mode of a cluster, or change it while packets flow',
  help: `usage: culvert mode show [--file FILE | --kubeconfig FILE] [--port PORT] [--json]
       culvert mode set MODE [--between-sites MODE] [--same-subnet tunnel|direct] [OPTION ...]

set changes the key traffic of the cluster file, in Kubernetes that of the ConfigMap culvert-traffic, and so all nodes, in steps that every
node's agent confirms: all accept both ways; then each route is replaced; then the old way goes. A step that is not confirmed in time
is taken back. What was interrupted goes on with the same command, or back with the mode of before. MODE is one of
${trafficModes.join(', ')}.

  --config FILE   this node's configuration, which names the cluster and the agents' port (default ${defaultConfigFile})
  --file FILE     the cluster file itself; then --config is not read
  --kubeconfig FILE
                  how to reach the API server where the cluster is its Nodes; then --config is not read
  --port PORT     where agents answer, on the nodes' addresses (default: as listen of --config, or 9467)
  --publish CMD   shell command that takes the file to the nodes ($CULVERT_CLUSTER_FILE), after every step; none: it is shared
  --timeout S     seconds for every node to confirm a step (default 30)
  --no-probe      do not wait for nodes to reach each other the new way
  --json          show as JSON

Exit codes: 0 every node is there, 1 taken back, not begun, or not every node agrees, 2 wrong usage, 3 could not look.`,
  run,
};
