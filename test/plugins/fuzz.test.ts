/**
 * Malformed input of every kind (spec section 2, "Errors"): the answer is always one JSON document or nothing, an error has a
 * code and a message and is never an internal one, nothing hangs, and nothing happens that was not asked for.
 * FUZZ_SEED repeats a run; the seed is printed.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plugins } from '../../plugins/plugins.ts';
import { runPlugin } from '../../src/cni/skel.ts';
import { nodeDocument, type Scratch } from '../support/good-conf.ts';
import { evilStrings, type Input, Malformer } from '../support/malformed.ts';
import { judge, malformedInput, pluginNames } from '../support/malformed-plugin-input.ts';
import { binDir, Host, inside } from '../support/netns.ts';
import { recordingMachine } from '../support/recording-machine.ts';

const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 1_000_000);
const inProcess = 10_000;
const asProcess = 300;

let host: Host;
let place: Scratch & { pod: string; root: string };
let evil: string[];

beforeAll(() => {
  console.log(`FUZZ_SEED=${seed}`);
  host = new Host('z');
  const root = mkdtempSync(join(tmpdir(), 'culvert-fuzz-'));
  place = { pod: host.pod(), root, dataDir: join(root, 'leases'), nodeFile: join(host.dir, 'node.json') };
  writeFileSync(place.nodeFile, JSON.stringify(nodeDocument(place.dataDir)));
  evil = evilStrings(join(place.root, 'pwned'));
});

afterAll(() => {
  host.remove();
  rmSync(place.root, { recursive: true, force: true });
});

/** Every file with an address for a name. */
function leases(): string[] {
  if (!existsSync(place.dataDir)) return [];
  const files = readdirSync(place.dataDir, { recursive: true, encoding: 'utf8' });
  return files.filter((f) => /\/[0-9a-f]*[.:][0-9a-f.:]+$/.test(f));
}

/** The error with everything that is needed to repeat the case. */
function told(n: number, plugin: string, input: Input, error: unknown): Error {
  const head = `case ${n} of ${plugin}, FUZZ_SEED=${seed}: ${(error as Error).message}`;
  return new Error(`${head}\n${JSON.stringify(input.env)}\n${input.stdin.slice(0, 3000)}`, { cause: error });
}

async function withinSeconds<T>(promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error('hangs')), 10_000);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** One execution in this process; answers the error's code. */
async function executed(make: Malformer, plugin: string, input: Input): Promise<number | undefined> {
  const record: string[] = [];
  const machine = recordingMachine(record, () => make.pick(['error', 'nothing']));
  let stdout = '';
  const write = (text: string) => {
    stdout += text;
  };
  const io = { env: input.env, readStdin: () => input.stdin, stdout: write, stderr() {} };
  const code = judge(await withinSeconds(runPlugin(plugins.get(plugin)!, machine, io)), stdout);
  const slipped = evil.find((text) => record.some((r) => r.includes(text)));
  if (slipped !== undefined) throw new Error(`${JSON.stringify(slipped)} reached ${JSON.stringify(record)}`);
  if (code !== undefined && leases().length > 0) throw new Error(`leases left: ${leases().join(' ')}`);
  return code;
}

/** What an execution could have left on the machine. The bridge itself is meant to stay. */
function remains(): string[] {
  const links = JSON.parse(host.exec('ip -j link')) as { ifname: string }[];
  const rules = host.exec('nft list ruleset');
  return [
    ...links.map((l) => l.ifname).filter((name) => name.startsWith('veth') || name.includes('pwned')),
    ...(rules.match(/10\.1\.2\.[1-9]\d*|fd00::[1-9a-f]|comment.*c1|pwned/g) ?? []),
    ...leases(),
    ...readdirSync(place.root).filter((file) => file !== 'leases'),
  ];
}

describe('malformed input', () => {
  it(`${inProcess} times: an error object or a result, and no evil string reaches a program`, async () => {
    const make = new Malformer(seed, evil);
    const codes = new Map<string, number>();
    for (let n = 0; n < inProcess; n++) {
      const plugin = make.pick(pluginNames);
      const input = malformedInput(make, plugin, place);
      try {
        const code = String((await executed(make, plugin, input)) ?? 'fine');
        codes.set(code, (codes.get(code) ?? 0) + 1);
      } catch (error) {
        throw told(n, plugin, input, error);
      }
      rmSync(place.dataDir, { recursive: true, force: true });
    }
    console.log('codes', Object.fromEntries(codes));
    for (const code of ['fine', '4', '6', '7']) expect(codes.get(code)).toBeGreaterThan(inProcess / 100);
    expect(readdirSync(place.root)).toEqual([]);
  }, 600_000);

  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  const ipam = (keys: string) => `"ipam":{"type":"host-local","dataDir":"LEASES",${keys}}`;
  const many = (item: (i: number) => string) => Array.from({ length: 60_000 }, (_, i) => item(i)).join(',');

  it.for([
    ['ten megabytes of text for a name', `"bridge":"${'x'.repeat(10_000_000)}"`],
    ['ten megabytes of text for a MAC', `"runtimeConfig":{"mac":"${'a:'.repeat(5_000_000)}"}`],
    ['ten megabytes of digits', `"mtu":${'9'.repeat(10_000_000)}`],
    ['100,000 lists in each other for a number', `"mtu":${deep}`],
    ['100,000 lists in each other for ranges', ipam(`"ranges":${deep}`)],
    ['100,000 lists in each other for prevResult', `"prevResult":${deep}`],
    ['100,000 lists in each other for an unknown key', `"x":${deep}`],
    [
      '60,000 routes',
      ipam(`"subnet":"10.0.0.0/8","routes":[${many((i) => `{"dst":"10.${i >> 8}.${i & 255}.0/24","gw":"x"}`)}]`),
    ],
    ['60,000 ranges', ipam(`"ranges":[[${many((i) => `{"subnet":"10.${i >> 8}.${i & 255}.0/24"}`)}]]`)],
    ['60,000 overlapping ranges', ipam(`"ranges":[[${many(() => '{"subnet":"10.0.0.0/8"}')}]]`)],
    ['60,000 unknown keys', many((i) => `"k${i}":${i}`)],
    ['60,000 VLANs', `"vlanTrunk":[${many(() => '{"minID":1,"maxID":4094}')}]`],
    [
      '60,000 valid attachments, one wrong',
      `"cni.dev/valid-attachments":[${many((i) => `{"containerID":"${i}","ifname":"e"}`)},5]`,
    ],
  ] as const)('of size: %s', async ([, keys]) => {
    for (const plugin of pluginNames) {
      for (const command of ['ADD', 'CHECK', 'DEL', 'GC']) {
        const make = new Malformer(seed, evil);
        const env = {
          CNI_COMMAND: command,
          CNI_CONTAINERID: 'c1',
          CNI_NETNS: place.pod,
          CNI_IFNAME: 'eth0',
          CNI_PATH: binDir,
        };
        const paths = JSON.stringify({ dataDir: place.dataDir, nodeFile: place.nodeFile }).slice(1, -1);
        const own = keys.replace('LEASES', place.dataDir);
        const stdin = `{"cniVersion":"1.1.0","name":"net","type":"${plugin}",${paths},${own}}`;
        await executed(make, plugin, { env, stdin }).catch((error: Error) => {
          throw new Error(`${command} of ${plugin}: ${error.message.slice(0, 500)}`);
        });
        rmSync(place.dataDir, { recursive: true, force: true });
      }
    }
  });

  it(`${asProcess} times through the executable: what fails leaves nothing on the machine`, () => {
    const make = new Malformer(
      seed + 1,
      evil.filter((text) => !/\0|\ud800/.test(text)),
    );
    const run = (plugin: string, input: Input) => {
      const script = 'mount -t tmpfs tmpfs /var/lib && exec "$0"';
      const argv = [...inside(host.netns, 'unshare -m sh -c'), script, join(binDir, plugin)];
      const env = { PATH: process.env['PATH'] ?? '', ...input.env };
      const r = spawnSync(argv[0]!, argv.slice(1), { input: input.stdin, env, encoding: 'utf8', timeout: 20_000 });
      return judge(r.status, r.stdout);
    };
    mkdirSync(place.dataDir, { recursive: true });
    for (let n = 0; n < asProcess; n++) {
      const plugin = make.pick(pluginNames);
      const input = malformedInput(make, plugin, place);
      try {
        const code = run(plugin, input);
        if (code === undefined && input.env['CNI_COMMAND'] === 'ADD') {
          run(plugin, { ...input, env: { ...input.env, CNI_COMMAND: 'DEL' } });
        }
        expect(remains()).toEqual([]);
      } catch (error) {
        throw told(n, plugin, input, error);
      }
    }
  }, 600_000);
});
