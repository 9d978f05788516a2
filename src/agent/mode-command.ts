/** `culvert mode`: how pods' packets travel in a cluster whose nodes are in a file, shown and changed while they flow. */

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import { parseArgs, promisify } from 'node:util';
import { withTrafficText } from '../cluster/edit.ts';
import { FileSource } from '../cluster/file.ts';
import { wantOneOf } from '../cluster/schema.ts';
import { type Command, exitCode, UsageError } from '../command.ts';
import { formatTraffic } from '../plan/change.ts';
import {
  type ClusterNode,
  type ClusterTraffic,
  type Mode,
  modes,
  modesBetweenSites,
  type Traffic,
} from '../plan/cluster.ts';
import { replaceFile } from '../store/files.ts';
import { defaultConfigFile } from './agent.ts';
import { parseListen, readConfig } from './config.ts';
import { type Answer, askAll, ChangeError, type ChangeParts, changeTraffic, currentTraffic } from './mode-change.ts';
import { clusterFile } from './source.ts';
import type { NodeStatus } from './status.ts';

const options = {
  config: { type: 'string', default: defaultConfigFile },
  file: { type: 'string' },
  port: { type: 'string' },
  'between-sites': { type: 'string' },
  'same-subnet': { type: 'string' },
  publish: { type: 'string' },
  timeout: { type: 'string', default: '30' },
  'no-probe': { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
} as const;

type Options = ReturnType<typeof parseArgs<{ options: typeof options }>>['values'];

const answerTimeoutMs = 2000;

/** /status of an agent at an address. */
function statusAt(host: string, port: number): Promise<Answer> {
  const { promise, resolve } = Promise.withResolvers<Answer>();
  const fail = (reason: string): void => resolve(`does not answer at ${host} port ${port}: ${reason}`);
  const request = get({ host, port, path: '/status', timeout: answerTimeoutMs, agent: false }, (response) => {
    let body = '';
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => {
      body += chunk;
    });
    response.on('error', (error) => fail(error.message));
    response.on('end', () => {
      try {
        const value = JSON.parse(body) as NodeStatus;
        if (response.statusCode === 200) resolve(value);
        else resolve(`is not ready: ${value.problems.join('; ')}`);
      } catch {
        fail(`HTTP ${response.statusCode}; is that a culvert agent of this version?`);
      }
    });
  });
  request.on('timeout', () => request.destroy(new Error(`nothing within ${answerTimeoutMs} ms`)));
  request.on('error', (error: NodeJS.ErrnoException) =>
    fail(
      error.code === 'ECONNREFUSED' ? 'refused; its agent is down, or set listen: "[::]:9467" there' : error.message,
    ),
  );
  return promise;
}

/** A node by the first of its addresses that answers. */
async function askNode(node: ClusterNode, port: number): Promise<Answer> {
  let last: Answer = '';
  for (const { text } of node.addresses) {
    last = await statusAt(text, port);
    if (typeof last !== 'string') return last.node === node.name ? last : `${text} answers as "${last.node}"`;
  }
  return last;
}

function oneOf<T extends string>(option: string, value: string | undefined, values: readonly T[]): T | undefined {
  if (value === undefined || values.includes(value as T)) return value as T | undefined;
  throw new UsageError(`${option}: got "${value}", want ${wantOneOf(values)}`);
}

function numberOf(option: string, value: string, max: number): number {
  const number = Number(value);
  if (/^\d+$/.test(value) && number >= 1 && number <= max) return number;
  throw new UsageError(`${option}: got "${value}", want a whole number from 1 to ${max}`);
}

/** The file and the agents' port, given or as this node's agent has them. */
function place({ config, file, port }: Options, isToChange: boolean): { file: string; port: number } {
  const given = port === undefined ? undefined : numberOf('--port', port, 65_535);
  if (file !== undefined) return { file, port: given ?? 9467 };
  const own = readConfig(config);
  if (isToChange && own.cluster.source !== 'file') {
    throw new UsageError(`mode set: ${config} has cluster.source ${own.cluster.source}, want "file"`);
  }
  return { file: clusterFile(own), port: given ?? parseListen(own.listen)!.port };
}

function partsOf(given: Options, isToChange: boolean): ChangeParts {
  const { file, port } = place(given, isToChange);
  const source = new FileSource(file);
  return {
    read: () => source.read(),
    async write(traffic: ClusterTraffic) {
      replaceFile(file, withTrafficText(readFileSync(file, 'utf8'), traffic, file));
      if (given.publish !== undefined) {
        await promisify(execFile)('sh', ['-c', given.publish], { env: { ...process.env, CULVERT_CLUSTER_FILE: file } });
      }
    },
    ask: (node) => askNode(node, port),
    say: (line) => void process.stdout.write(`${line}\n`),
    timeoutMs: numberOf('--timeout', given.timeout, 86_400) * 1000,
    probe: !given['no-probe'],
    settleMs: 1000,
  };
}

async function set(mode: string | undefined, given: Options): Promise<number> {
  if (mode === undefined) throw new UsageError(`mode set: which? one of ${modes.join(', ')}`);
  const parts = partsOf(given, true);
  const asked = {
    mode: oneOf<Mode>('mode set', mode, modes)!,
    betweenSites: oneOf('--between-sites', given['between-sites'], modesBetweenSites),
    sameSubnet: oneOf('--same-subnet', given['same-subnet'], ['tunnel', 'direct'] as const),
  };
  try {
    const now = await currentTraffic(parts);
    // during a change the mode alone says which of the two is meant
    const like: Traffic = now.alsoAccept && now.mode !== asked.mode ? now.alsoAccept : now;
    const target: Traffic = {
      mode: asked.mode,
      betweenSites: asked.betweenSites ?? like.betweenSites,
      sameSubnet: asked.sameSubnet ?? like.sameSubnet,
    };
    return (await changeTraffic(target, parts)) ? exitCode.fine : exitCode.problems;
  } catch (error) {
    if (!(error instanceof ChangeError)) throw error;
    process.stderr.write(`culvert mode: ${error.message}\n`);
    return exitCode.problems;
  }
}

function lineOf(answer: Answer, digest: string): string {
  if (typeof answer === 'string') return answer;
  const { traffic, cluster, notAccepted, unanswered } = answer;
  return [
    formatTraffic(traffic),
    traffic.alsoAccept && `accepts ${formatTraffic(traffic.alsoAccept)} too`,
    cluster !== digest && 'has another cluster file',
    ...notAccepted,
    unanswered.length > 0 && `no answer from ${unanswered.slice(0, 3).join(', ')}`,
  ]
    .filter((part) => part)
    .join('; ');
}

async function show(given: Options): Promise<number> {
  const { read, ask, say } = partsOf(given, false);
  const view = read();
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
    say(`cluster file: ${traffic ? formatTraffic(traffic) : 'as each node says itself'}`);
    if (traffic?.alsoAccept) say(`  a change is under way: ${formatTraffic(traffic.alsoAccept)} is accepted too`);
    for (const [i, { name }] of view.nodes.entries()) say(`${name}: ${lineOf(answers[i]!, digest)}`);
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
  help: `usage: culvert mode show [--file FILE] [--port PORT] [--json]
       culvert mode set MODE [--between-sites MODE] [--same-subnet tunnel|direct] [OPTION ...]

set changes the key traffic of the cluster file, and so all nodes, in steps that every node's agent confirms: all accept both ways;
then each route is replaced; then the old way goes. A step that is not confirmed in time is taken back. What was interrupted
goes on with the same command, or back with the mode of before. MODE is one of ${modes.join(', ')}.

  --config FILE   this node's configuration, which names the cluster file and the agents' port (default ${defaultConfigFile})
  --file FILE     the cluster file itself; then --config is not read
  --port PORT     where agents answer, on the nodes' addresses (default: as listen of --config, or 9467)
  --publish CMD   shell command that takes the file to the nodes ($CULVERT_CLUSTER_FILE), after every step; none: it is shared
  --timeout S     seconds for every node to confirm a step (default 30)
  --no-probe      do not wait for nodes to reach each other the new way
  --json          show as JSON

Exit codes: 0 every node is there, 1 taken back, not begun, or not every node agrees, 2 wrong usage, 3 could not look.`,
  run,
};
