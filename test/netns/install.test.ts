/** The agent's care of the node: executables, network configurations of others, and taking everything away again. */

import { spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatMark, readMark } from '../../src/agent/install/mark.ts';
import { Agent, until } from '../support/agents.ts';
import { binDir, Host } from '../support/netns.ts';

const executable = join(binDir, 'culvert');
const own = readMark(executable)!;
const markBytes = formatMark(own).length;
const other = { version: '0.0.9', build: '00000000deadbeef' };

let host: Host;
let agent: Agent;
beforeEach(() => {
  host = new Host('inst');
  for (const line of ['add name eth0 type veth peer name up0', 'set up0 up', 'set eth0 up'])
    host.exec(`ip link ${line}`);
  host.exec('ip addr add 192.168.1.11/24 dev eth0');
  host.exec('ip addr add fd01::11/64 dev eth0 nodad');
  agent = new Agent(host, 'n1');
  const nodes = [1, 2].map((i) => ({
    name: `n${i}`,
    addresses: [`192.168.1.1${i}`, `fd01::1${i}`],
    podCIDRs: [`10.244.${i}.0/24`, `fd00:244:${i}::/64`],
  }));
  writeFileSync(join(host.dir, 'cluster.yaml'), JSON.stringify({ nodes }));
});
afterEach(async () => {
  await agent.stop();
  host.remove();
});

const bin = (...name: string[]): string => join(host.dir, 'bin', ...name);
const cni = (...name: string[]): string => join(host.dir, 'cni', ...name);

function configure(config: object = {}): void {
  const paths = { run: 'run', state: 'state', cniBin: 'bin', cniConf: 'cni', leases: 'leases' };
  const whole = Object.fromEntries(Object.entries(paths).map(([key, name]) => [key, join(host.dir, name)]));
  agent.configure({ install: true, resyncSeconds: 2, paths: whole, ...config }, join(host.dir, 'cluster.yaml'));
}

const culvert = (...args: string[]) => host.try([executable, ...args, '--config', agent.configFile].join(' '));

/** An executable of ours of another build. */
function writeOther(file: string): void {
  writeFileSync(file, `#!/bin/sh\n${formatMark(other)}`);
  chmodSync(file, 0o755);
}

describe('an agent told to install', () => {
  it('installs before the runtime hears of the network, and again whatever is deleted', async () => {
    configure();
    agent.start();
    await agent.ready();
    const messages = agent.lines.map((l) => `${l.msg} ${l['file'] ?? ''}`);
    expect(messages.findIndex((m) => m.startsWith('installed'))).toBeLessThan(
      messages.findIndex((m) => m.endsWith('10-culvert.conflist')),
    );
    expect(readMark(bin('culvert'))).toEqual(own);
    expect(readlinkSync(bin('loopback'))).toBe('culvert');
    rmSync(bin('culvert'));
    rmSync(bin('loopback'));
    await until('both are back', () => existsSync(bin('loopback')) && readMark(bin('culvert')) !== undefined, 20_000);
    rmSync(bin(), { recursive: true });
    await until('the folder is back', () => existsSync(bin('vrf')) && readMark(bin('culvert')) !== undefined, 20_000);
    rmSync(cni('10-culvert.conflist'));
    await until('the network configuration is back', () => existsSync(cni('10-culvert.conflist')));
  });

  it("does not touch another program's files, and says what stands in the way", async () => {
    mkdirSync(bin());
    for (const name of ['culvert', 'bridge']) writeFileSync(bin(name), '#!/bin/sh\n');
    configure();
    agent.start();
    await until(
      () => `it says so: ${agent.output}`,
      () => agent.lines.some((l) => l.msg.includes("culvert is another program's and stays")),
    );
    expect(existsSync(cni('10-culvert.conflist'))).toBe(false);
    const { ready, reasons, problems } = JSON.parse(agent.get('/readyz')) as Record<string, unknown>;
    expect(ready).toBe(false);
    expect(reasons).toContain('the plugin executables are not installed yet');
    expect(problems).toContainEqual(
      `${bin('culvert')} is another program's and stays: move it away, or set install: replace`,
    );
    renameSync(bin('culvert'), bin('theirs'));
    await agent.ready();
    expect(readMark(bin('bridge'))).toBeUndefined();
    expect(agent.lines.find((l) => l.msg === "other programs' files stay")).toMatchObject({ names: ['bridge'] });
  });

  it('replaces another build at its start; a later one stays and is named', async () => {
    mkdirSync(bin());
    writeOther(bin('culvert'));
    configure();
    agent.start();
    await agent.ready();
    expect(readMark(bin('culvert'))).toEqual(own);
    writeOther(bin('new'));
    renameSync(bin('new'), bin('culvert'));
    await until('it is named', () => agent.lines.some((l) => l.msg.includes('restart the agent')));
    expect(readMark(bin('culvert'))).toEqual(other);
  });

  it('warns of other network configurations, whichever a runtime will take', async () => {
    mkdirSync(cni());
    writeFileSync(cni('87-podman.conflist'), '{}');
    configure();
    agent.start();
    await agent.ready();
    expect(agent.lines.filter((l) => l.level === 'warn').map((l) => l.msg)).toEqual([
      `a runtime uses ${cni('10-culvert.conflist')}, the first by name; without it 87-podman.conflist: remove it`,
    ]);
    writeFileSync(cni('05-other.conf'), '{}');
    await until('the first is named', () => agent.get('/readyz').includes('05-other.conf comes before ours by name'));
    rmSync(cni('05-other.conf'));
    await until('all is well', () => agent.get('/readyz').includes('"problems":[]'));
  });
});

describe('culvert install', () => {
  it('says what it would do, does it, and then has nothing to do', () => {
    configure();
    expect(culvert('install', '--dry-run')).toMatchObject({ status: 1 });
    expect(existsSync(bin())).toBe(false);
    const done = culvert('install');
    expect(done).toMatchObject({ status: 0, stderr: '' });
    expect(done.stdout).toContain(`copy ${bin('culvert')}\n`);
    const again = culvert('install', '--json');
    expect(again.status).toBe(0);
    expect(JSON.parse(again.stdout)).toMatchObject({ folder: bin(), ...own, steps: [], kept: [] });
    expect(readdirSync(bin()).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('takes the place of a build that is being executed', async () => {
    mkdirSync(bin());
    copyFileSync(executable, bin('culvert'));
    truncateSync(bin('culvert'), statSync(executable).size - markBytes);
    writeFileSync(bin('culvert'), formatMark(other), { flag: 'a' });
    const env = { ...process.env, CNI_COMMAND: 'VERSION' };
    const running = spawn(bin('culvert'), { env, stdio: ['pipe', 'pipe', 'inherit'] }); // waits for its input
    const answer = new Promise<string>((resolve) => running.stdout.once('data', (text: Buffer) => resolve(`${text}`)));
    configure();
    expect(culvert('install')).toMatchObject({ status: 0 });
    expect(readMark(bin('culvert'))).toEqual(own);
    running.stdin.end('{"cniVersion":"1.1.0"}');
    expect(await answer).toContain('supportedVersions');
  });

  it("keeps another program's files unless told otherwise", () => {
    mkdirSync(bin());
    for (const name of ['culvert', 'bridge']) writeFileSync(bin(name), '#!/bin/sh\n');
    configure();
    const kept = culvert('install');
    expect(kept.status).toBe(1);
    expect(kept.stdout).toContain(`kept ${bin('culvert')}, another program's; --replace takes its place`);
    expect(culvert('install', '--replace')).toMatchObject({ status: 0 });
    expect(readMark(bin('bridge'))).toEqual(own);
  });
});
