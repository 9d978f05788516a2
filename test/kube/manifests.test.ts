/** The manifests and the image on real kubelets: from nothing to a network, other modes and a new DaemonSet under traffic, and off the nodes again. */

import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { type Pinging, pinging } from '../../src/lab/pinging.ts';
import { until } from '../support/agents.ts';
import { labManifests, podSpec } from '../support/manifests.ts';
import { run } from '../support/netns.ts';
import { buildOther } from '../support/other-build.ts';
import { netnsOf, pidOf, pidsWith } from '../support/processes.ts';
import { lacking } from '../support/suite.ts';
import { KubeLab } from './lab/lab.ts';

const root = join(import.meta.dirname, '../..');
const lab = new KubeLab();
const nodes = [1, 2].map((i) => `${lab.name}${i}`);

const [first, second] = nodes as [string, string];
/** What is on the nodes before there is anything of ours. */
let before: string[][];

beforeAll(async () => {
  run([join(root, 'scripts/image')]);
  lab.up(nodes.length);
  for (const node of nodes) lab.on(node, `ctr -n k8s.io images import ${join(root, 'dist/culvert-image.tar')}`);
  await until('kubelets have begun', () => nodes.every(isSettled), 60_000);
  before = nodes.map(shown);
}, 400_000);
afterAll(() => lab.down());

const readyNodes = (): number =>
  lab
    .kubectl('get nodes --no-headers')
    .split('\n')
    .filter((line) => / Ready /.test(line)).length;

/** By this the processes of a pod are found from outside its node. */
const markOf = (name: string): string => `the pod ${name} of ${lab.name}`;

function runPod(name: string, nodeName: string): void {
  const command = ['sh', '-c', `sleep 1d; : ${markOf(name)}`];
  const container = { name: 'c', image: 'local.test/box:1', imagePullPolicy: 'Never', command };
  const spec = { nodeName, terminationGracePeriodSeconds: 0, containers: [container] };
  lab.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec });
}

/** What an uninstall has to leave as it was; kubelet's rules count packets. */
const shown = (node: string): string[] =>
  ['ip -d link', 'ip route show table all', 'ip rule', 'nft list ruleset', 'sysctl -a -r ^net.ipv[46]'].flatMap(
    (line) =>
      lab
        .on(node, line)
        .stdout.replaceAll(/counter packets \d+ bytes \d+/g, 'counter')
        .split('\n'),
  );

/** Kubelet has laid its own rules. */
const isSettled = (node: string): boolean => lab.on(node, 'nft list ruleset').stdout.includes('KUBE-FIREWALL');

/** A pod's network namespace, as this machine sees it. */
const netnsOfPod = (name: string): string => netnsOf(pidOf('cmdline', markOf(name)));

/** Only the agent of the DaemonSet has the variable. */
const agentOn = (node: string): number | undefined => pidsWith('environ', `NODE_NAME=${node}\0`)[0];

const podOn = (node: string): string => `on-${node}`;
const addressOf = (node: string): string => lab.kubectl(`get pod ${podOn(node)} -o jsonpath={.status.podIP}`);

/** 200 pings a second from each of the two pods to the other, which are answered. */
async function pingBoth(): Promise<Pinging[]> {
  const ways = [
    [first, second],
    [second, first],
  ] as const;
  const flows = ways.map(([from, to]) => pinging(netnsOfPod(podOn(from)), addressOf(to), 5));
  onTestFinished(async () => void (await Promise.all(flows.map((flow) => flow.stop()))));
  await answered(flows);
  return flows;
}

const answered = async (flows: readonly Pinging[]): Promise<void> =>
  void (await Promise.all(flows.map((flow) => flow.answers(100))));

/** They still are answered, and all have been. */
async function expectNoneLost(flows: readonly Pinging[]): Promise<void> {
  await answered(flows);
  for (const flow of flows) expect(await flow.stop()).toMatchObject({ lost: 0 });
}

const system = (...args: string[]): string => lab.do('kubectl', '-n', 'culvert-system', ...args);
const wantMode = (mode: string): string =>
  system('patch', 'configmap', 'culvert-traffic', '--type=merge', '-p', JSON.stringify({ data: { mode } }));
const inForce = (): string => system('get', 'configmap', 'culvert-traffic', '-o', 'jsonpath={.data.traffic}');
const alone = (mode: string): string => JSON.stringify({ mode, sameSubnet: 'tunnel' });
const reach = (mode: string) => until(inForce, () => inForce() === alone(mode), 120_000);
const isTunnelled = (): boolean[] =>
  nodes.map((node) => lab.on(node, 'ip route show proto 67').stdout.includes('dev culvert-vxlan'));
const setMode = (mode: string): string => system('exec', 'daemonset/culvert', '--', 'culvert', 'mode', 'set', mode);

/** What kubectl makes of our plugin. */
const culvert = (...args: string[]): { status: number; lines: string[] } => {
  const { status, stdout, stderr } = lab.try(['kubectl', 'culvert', ...args]);
  return { status, lines: (stdout + stderr).trimEnd().split('\n') };
};

it('makes nodes ready and connects their pods', async () => {
  for (const object of labManifests()) lab.apply(object);
  await until('the nodes are ready', () => readyNodes() === nodes.length, 60_000);
  const row = (node: string): RegExp =>
    new RegExp(`^${node} +Ready +ready +vxlan +1450 +0/253 +ok +10[.]244[.]\\d+[.]0/24,fd00:244:[0-9:]+/64$`);
  const isFine = (lines: readonly string[]): boolean =>
    /^NODE +STATUS +AGENT +MODE +MTU +PODS +SOURCE +POD-CIDRS$/.test(lines[0]!) &&
    nodes.every((node, i) => row(node).test(lines[i + 1]!)) &&
    lines.at(-1) === '2 nodes: 2 ready, no problems; 0 of 506 pod addresses leased';
  await until(
    () => `kubectl culvert finds all well: ${culvert().lines.join('\n')}`,
    () => isFine(culvert().lines),
    60_000,
  );
  expect(culvert().status).toBe(0);
  // nobody listens there
  const unheard = culvert('problems', nodes[1]!, '--port', '1');
  expect(unheard).toEqual({
    status: 1,
    lines: [
      expect.stringMatching(`^${nodes[1]}: the agent does not answer through the API server: .*refused`),
      '',
      '1 node: 0 ready, 1 with problems',
    ],
  });

  for (const node of nodes) runPod(podOn(node), node);
  lab.kubectl('wait --for=condition=Ready pod --all --timeout=90s');
  system('rollout', 'status', 'daemonset/culvert', '--timeout=120s');
}, 300_000);

it('has in its image whatever the agent starts', () => {
  const programs = 'arping bird birdc bridge ethtool ip nft nsenter ping setpriv sh tc unshare wg';
  const found = system('exec', 'daemonset/culvert', '--', 'sh', '-c', `for p in ${programs}; do command -v $p; done`);
  expect(
    found
      .trim()
      .split('\n')
      .map((file) => basename(file))
      .join(' '),
  ).toBe(programs);
});

it('changes its mode live, by command and by an edit of the ConfigMap, also when who drives that is killed: 0 packets lost', async () => {
  const flows = await pingBoth();
  expect(setMode('routed')).toMatch(/^accept: vxlan .*^switch: routed .*^done: routed alone/ms);
  expect(inForce()).toBe(alone('routed'));
  expect(isTunnelled()).toEqual([false, false]);
  wantMode('vxlan');
  await reach('vxlan');
  expect(isTunnelled()).toEqual([true, true]);

  wantMode('routed');
  await until('the change is on its way', () => inForce().includes('alsoAccept'), 60_000);
  const killed = agentOn(first)!;
  process.kill(killed, 'SIGKILL');
  await until('its agent is another', () => ![undefined, killed].includes(agentOn(first)), 60_000);
  await reach('routed');
  expect(setMode('vxlan')).toContain('done: vxlan alone');
  await expectNoneLost(flows);
}, 300_000);

// where the kernel has WireGuard there is nothing to take back
if (lacking('wireguard')) {
  it('takes back a mode that a node cannot have, says so by an Event, and loses no packet', async () => {
    const flows = await pingBoth();
    wantMode('wireguard');
    const takenBack = (): string => system('get', 'configmap', 'culvert-traffic', '-o', 'jsonpath={.data.takenBack}');
    await until(takenBack, () => takenBack() !== '', 120_000);
    expect(takenBack()).toContain('This kernel has no links of type wireguard');
    expect(inForce()).toBe(alone('vxlan'));
    const told = (): string => lab.kubectl(`describe node ${first}`);
    await until('an Event', () => told().includes('ModeTakenBack'), 60_000);
    wantMode('vxlan');
    await until('kubectl culvert finds all well', () => culvert().status === 0, 60_000);
    await expectNoneLost(flows);
  }, 300_000);
}

interface DaemonSet {
  readonly metadata: { readonly generation: number };
  readonly status: Readonly<Record<'observedGeneration' | 'updatedNumberScheduled' | 'numberAvailable', number>>;
}

/** `culvert serve` on a node, "PID its command line". */
const serving = (node: string): string => lab.on(node, 'pgrep -af ^culvert.serve').stdout.trim();

it('has plugins served on every node, by one process that the first pod started', () => {
  for (const node of nodes) {
    expect(serving(node)).toMatch(/^\d+ culvert serve --while-wanted$/);
    const env = 'CNI_COMMAND=VERSION CNI_PATH=/opt/cni/bin';
    const traced = lab.on(node, `env ${env} strace -f -qq -e trace=execve /opt/cni/bin/loopback`);
    expect(traced.stdout).toContain('supportedVersions');
    expect(traced.stderr.match(/execve\(/g), traced.stderr).toHaveLength(1);
  }
});

it('has its agents replaced without losing a packet', async () => {
  const flows = await pingBoth();
  system('rollout', 'restart', 'daemonset/culvert');
  system('rollout', 'status', 'daemonset/culvert', '--timeout=120s');
  await expectNoneLost(flows);
}, 300_000);

it('is upgraded to another build while plugins are served and pods come and go: no packet is lost', async () => {
  using other = buildOther();
  for (const node of nodes) lab.on(node, `ctr -n k8s.io images import ${other.archive}`);
  const before = nodes.map(serving);
  const flows = await pingBoth();
  system('set', 'image', 'daemonset/culvert', `${podSpec().containers[0]!.name}=${other.image}`);
  const isRolledOut = (): boolean => {
    const { metadata, status } = JSON.parse(system('get', 'daemonset', 'culvert', '-o', 'json')) as DaemonSet;
    const counts = [status.observedGeneration, status.updatedNumberScheduled, status.numberAvailable];
    return counts.join() === [metadata.generation, nodes.length, nodes.length].join();
  };
  const comeAndGo = (node: string): void => {
    runPod('short-lived', node);
    lab.kubectl('wait --for=condition=Ready pod/short-lived --timeout=60s');
    lab.kubectl('delete pod short-lived --wait=true');
  };
  let pods = 0;
  const deadline = performance.now() + 180_000;
  while (!isRolledOut() && performance.now() < deadline) comeAndGo(nodes[pods++ % nodes.length]!);
  expect(isRolledOut()).toBe(true);
  expect(pods).toBeGreaterThan(0);
  for (const [i, node] of nodes.entries()) {
    expect(lab.on(node, 'tail -c 64 /opt/cni/bin/culvert').stdout).toContain(`culvert ${other.version} `);
    comeAndGo(node);
    expect(serving(node)).toMatch(/^\d+ culvert serve --while-wanted$/);
    expect(serving(node)).not.toBe(before[i]);
  }
  const leased = (): string => culvert().lines.at(-1)!;
  await until(leased, () => leased() === '2 nodes: 2 ready, no problems; 2 of 506 pod addresses leased', 30_000);
  await expectNoneLost(flows);
}, 400_000);

it('leaves nodes as they were', async () => {
  // refused as long as there are an agent and a pod
  expect(lab.on(first, '/opt/cni/bin/culvert uninstall').stdout).toMatch(/an agent answers.*\n.*1 pod is attached/);
  lab.kubectl('delete pod --all --wait=true');
  system('delete', 'daemonset', 'culvert', '--wait=true');
  await until('the agents are gone', () => !system('get', 'pods', '-o', 'name').includes('pod'), 120_000);
  expect(culvert('problems')).toMatchObject({
    status: 1,
    lines: [
      `${nodes.join(', ')}: no agent: no pod of the DaemonSet in namespace culvert-system is there`,
      '',
      '2 nodes: 0 ready, 2 with problems',
    ],
  });
  for (const node of nodes) {
    expect(lab.on(node, '/opt/cni/bin/culvert uninstall')).toMatchObject({ status: 0, stderr: '' });
    expect(lab.on(node, 'ls /opt/cni/bin /etc/cni/net.d').stdout).not.toMatch(/culvert/);
    await until('nobody serves plugins any more', () => serving(node) === '', 10_000);
    expect(lab.on(node, 'ls /run').stdout).not.toMatch(/culvert/);
  }
  expect(nodes.map(shown)).toEqual(before);
}, 300_000);
