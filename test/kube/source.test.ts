/** Agents whose cluster is Node objects, against a real API server and etcd; the Nodes are made by hand, so no kubelet is needed. */

import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Agent, read, until } from '../support/agents.ts';
import { Host } from '../support/netns.ts';
import { KubeLab } from './lab/lab.ts';

const token = 'a-token-of-the-lab';
const user = 'system:serviceaccount:culvert:culvert';
const tokenLine = (text: string): string => `${text},"${user}","uid"\n`;
const lab = new KubeLab(tokenLine(token));

/** What docs/kubernetes.md says that an agent has to be allowed. */
const rules = [
  { apiGroups: [''], resources: ['nodes'], verbs: ['list', 'watch', 'patch'] },
  { apiGroups: [''], resources: ['events'], verbs: ['create', 'patch'] },
  { apiGroups: [''], resources: ['configmaps'], resourceNames: ['culvert-traffic'], verbs: ['list', 'watch', 'patch'] },
];
const role = {
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRole',
  metadata: { name: 'culvert' },
  rules,
};
const binding = {
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRoleBinding',
  metadata: { name: 'culvert' },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'culvert' },
  subjects: [{ kind: 'User', name: user }],
};

interface NodeOptions {
  podCIDRs?: string[];
  address?: string;
  annotations?: Record<string, string>;
}

/** A Node with what matters of what kubelet and the controller manager write into it; its address stands in an annotation. */
function makeNode(name: string, { podCIDRs, address, annotations }: NodeOptions): void {
  const metadata = { name, annotations: { ...(address && { 'culvert/addresses': address }), ...annotations } };
  lab.apply({ apiVersion: 'v1', kind: 'Node', metadata, spec: podCIDRs ? { podCIDR: podCIDRs[0], podCIDRs } : {} });
}

const keyOf = (name: string): string | undefined =>
  lab.get<{ metadata: { annotations?: Record<string, string> } }>(`node ${name}`).metadata.annotations?.[
    'culvert/public-key'
  ];

let host: Host;
let agent: Agent;

const routes = (): string => host.exec('ip -4 route show proto 67');
const ready = (): { ready: boolean; problems: string[] } => {
  try {
    return JSON.parse(agent.get('/readyz')) as { ready: boolean; problems: string[] };
  } catch {
    return { ready: false, problems: ['no answer'] };
  }
};
const problems = (): string => ready().problems.join('\n');

async function restart(): Promise<void> {
  lab.do('stop', 'apiserver');
  await lab.startApiServer();
}

function writeKubeconfig(): string {
  const file = join(host.dir, 'kubeconfig');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'lab',
        cluster: { server: 'https://192.168.77.1:6443', 'certificate-authority': `${lab.dir}/run/ca.crt` },
      },
    ],
    users: [{ name: 'agent', user: { tokenFile: join(host.dir, 'token') } }],
    contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'agent' } }],
    'current-context': 'lab',
  };
  writeFileSync(file, JSON.stringify(config));
  return file;
}

beforeAll(() => {
  lab.up(0);
  lab.apply(role);
  lab.apply(binding);
});
afterAll(() => lab.down());

beforeEach(() => {
  host = new Host('kube');
  lab.join(host.name, 'eth0', ['192.168.77.11/24', 'fd77::11/64']);
  agent = new Agent(host, 'n1');
  writeFileSync(join(host.dir, 'token'), token);
  const cluster = { source: 'kubernetes', kubeconfig: writeKubeconfig(), namespace: 'default' };
  agent.configure({ cluster, resyncSeconds: 5 }, '');
});
afterEach(async () => {
  await agent.stop();
  host.remove();
  await lab.startApiServer();
  lab.kubectl('delete nodes --all --wait=false');
  lab.kubectl('delete events --all --wait=false');
  lab.kubectl('delete configmap culvert-traffic --ignore-not-found');
});

const sayTraffic = (traffic: string): void =>
  lab.apply({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'culvert-traffic' }, data: { traffic } });
const isRouted = (): boolean => routes().includes('10.244.2.0/24 via 192.168.77.12 dev eth0');

const own = { podCIDRs: ['10.244.1.0/24'], address: '192.168.77.11' };
const other = { podCIDRs: ['10.244.2.0/24'], address: '192.168.77.12' };

describe('an agent with cluster.source kubernetes', () => {
  it('follows Nodes that come, change and go, IPv4 and IPv6, and tells its own public key', async () => {
    const address = '192.168.77.12, fd77::12';
    makeNode('n1', {
      podCIDRs: ['10.244.1.0/24', 'fd00:244:1::/64'],
      address: '192.168.77.11, fd77::11',
      annotations: { mine: 'stays' },
    });
    makeNode('n2', { ...other, address });
    agent.start();
    await agent.ready();
    expect(routes()).toContain('10.244.2.0/24');
    await until('the key is told', () => keyOf('n1') === agent.publicKey);
    lab.kubectl('annotate node n1 --overwrite culvert/public-key=wrong');
    await until('the key is put right', () => keyOf('n1') === agent.publicKey);
    const { annotations } = lab.get<{ metadata: { annotations: object } }>('node n1').metadata;
    expect(annotations).toMatchObject({ mine: 'stays' });

    lab.kubectl('delete node n2');
    await until('the route goes', () => routes() === '');
    makeNode('n2', { podCIDRs: ['10.244.9.0/24', 'fd00:244:2::/64'], address });
    await until('its other route comes', () => routes().includes('10.244.9.0/24'));
    await until('the IPv6 route comes', () => host.exec('ip -6 route show proto 67').includes('fd00:244:2::/64'));
    lab.kubectl('annotate node n2 --overwrite culvert/addresses=192.168.77.13');
    await until('the address changes', () => host.exec('bridge fdb show dev culvert-vxlan').includes('192.168.77.13'));
    expect(ready()).toEqual({ ready: true, reasons: [], problems: [] });
  });

  it('without a podCIDR says so in /readyz, to plugins and in an Event, with what to set; and is ready once there is one', async () => {
    makeNode('n1', { address: own.address });
    agent.start();
    const want = 'start kube-controller-manager with --allocate-node-cidrs=true --cluster-cidr=CIDR';
    await until(problems, () => problems().includes(`Node "n1": got no podCIDR, want one: ${want}`));
    expect(ready().ready).toBe(false);
    const nodeFile = join(host.dir, 'run/node.json');
    const conf = { cniVersion: '1.1.0', name: 'culvert', type: 'culvert', nodeFile };
    const status = host.call({ plugin: 'culvert', command: 'STATUS', conf });
    expect(status.json).toMatchObject({ code: 50, msg: expect.stringContaining(want) });
    const events = () => lab.get<{ items: { reason: string; message: string }[] }>('events').items;
    await until('the Event', () => events().some((e) => e.reason === 'NoPodCIDR' && e.message.includes(want)));
    expect(lab.kubectl('describe node n1')).toContain(want);

    lab.kubectl('patch node n1 -p {"spec":{"podCIDR":"10.244.1.0/24"}}');
    await agent.ready();
    expect(host.call({ plugin: 'culvert', command: 'STATUS', conf }).status).toBe(0);
  });

  it('tells of what is wrong with its node by one Event of a reason, which the next agent counts on', async () => {
    makeNode('n1', own);
    mkdirSync(join(host.dir, 'cni'), { recursive: true });
    writeFileSync(join(host.dir, 'cni/05-other.conflist'), '{}');
    host.exec('nft -f -', 'table ip other { chain forward { type filter hook forward priority 0; policy drop; }; }');
    agent.start();
    await agent.ready();
    const told = () => lab.get<{ items: { reason: string; count: number }[] }>('events').items;
    const counts = () =>
      told()
        .map((e) => `${e.reason} ${e.count}`)
        .sort();
    const isTold = (count: number) => counts().join() === `ForeignConflist ${count},ForwardDropped ${count}`;
    await until('both Events', () => isTold(1), 60_000);
    expect(lab.kubectl('describe node n1')).toMatch(/Warning +ForwardDropped .* culvert +chain ip other forward drops/);
    await agent.stop();
    agent.start();
    await until('both are counted', () => isTold(2), 60_000);
  });

  it('leaves out a Node that is wrong or clashes, names it, and goes on following the others', async () => {
    makeNode('n1', own);
    makeNode('n2', { ...other, annotations: { 'culvert/as': 'many' } });
    agent.start();
    await agent.ready();
    await until(problems, () => problems().includes('Node "n2" is left out: as: got "many"'));
    makeNode('n3', { podCIDRs: ['10.244.3.0/24'], address: '192.168.77.13' });
    await until('n3 is taken in', () => routes().includes('10.244.3.0/24'));
    lab.kubectl('annotate node n2 culvert/as-');
    lab.kubectl('annotate node n2 --overwrite culvert/addresses=192.168.77.13');
    await until(problems, () => problems().includes('address 192.168.77.13'));
    lab.kubectl('annotate node n2 --overwrite culvert/addresses=192.168.77.12');
    await until('n2 is taken in', () => routes().includes('10.244.2.0/24'));
    await until(problems, () => problems() === '');
  });

  it('starts without the API server as it last saw the cluster, says since when, and takes up what changed', async () => {
    makeNode('n1', own);
    makeNode('n2', other);
    sayTraffic('mode: routed');
    agent.start();
    await agent.ready();
    await until(routes, isRouted);
    const before = routes();
    await until('the cluster is kept', () => {
      const file = join(host.dir, 'state/cluster.json');
      return existsSync(file) && read(file).includes('10.244.2.0/24') && read(file).includes('routed');
    });
    lab.do('stop', 'apiserver');
    const since =
      /^the API server https:\/\/192\.168\.77\.1:6443 does not answer since \d{4}-.*Z: connect ECONNREFUSED/;
    await until(problems, () => since.test(problems()));
    expect(agent.get('/metrics')).toContain('culvert_cluster_source_ok 0');
    await agent.stop();
    host.exec('ip route flush proto 67'); // as after a reboot
    agent.start();
    await agent.ready();
    expect(routes()).toBe(before);
    await until(problems, () => since.test(problems()));
    expect(agent.plan()).toMatchObject({ status: 0, stdout: '' });

    await lab.startApiServer();
    lab.kubectl('delete node n2');
    await until('the route goes', () => routes() === '', 15_000);
    await until(problems, () => problems() === '');
  });

  it('takes the traffic of the ConfigMap above its own and keeps the last right one', async () => {
    makeNode('n1', own);
    makeNode('n2', other);
    sayTraffic('mode: ospf');
    agent.start();
    const wrong = 'ConfigMap default/culvert-traffic data.traffic.mode: got "ospf", want one of "vxlan"';
    await until(problems, () => problems().includes(wrong));
    expect(ready().ready).toBe(false); // nothing was right before

    sayTraffic('mode: routed');
    await agent.ready();
    await until(routes, isRouted);
    sayTraffic('{ mode: vxlan, sameSubnet: both }');
    await until(problems, () => problems().includes('data.traffic.sameSubnet: got "both"'));
    expect(problems()).toContain('what was last right of this cluster stays in force');
    expect(isRouted()).toBe(true);

    lab.kubectl('delete configmap culvert-traffic');
    await until(routes, () => /^10\.244\.2\.0\/24 .*dev culvert-vxlan/m.test(routes()), 60_000);
    await until(problems, () => problems() === '', 60_000);
  });

  it('that may not read the ConfigMap says so, and follows Nodes all the same', async () => {
    lab.apply({ ...role, rules: rules.slice(0, 2) });
    try {
      makeNode('n1', own);
      agent.start();
      await agent.ready();
      await until(problems, () =>
        /refuses our requests since .*configmaps "culvert-traffic" is forbidden/.test(problems()),
      );
      makeNode('n2', other);
      await until(routes, () => routes().includes('10.244.2.0/24'));
    } finally {
      lab.apply(role);
    }
    await until(problems, () => problems() === '', 60_000);
  });

  it('notices what it missed while it was cut off and the server forgot where it was', async () => {
    makeNode('n1', own);
    makeNode('n2', other);
    agent.start();
    await agent.ready();
    host.exec('ip link set eth0 down');
    lab.kubectl('delete node n2');
    makeNode('n3', { podCIDRs: ['10.244.3.0/24'], address: '192.168.77.13' });
    await restart();
    host.exec('ip link set eth0 up');
    await until(routes, () => routes().includes('10.244.3.0/24') && !routes().includes('10.244.2.0/24'), 30_000);
  });

  it('that is refused says so, and goes on with the next token in its file', async () => {
    makeNode('n1', own);
    agent.start();
    await agent.ready();
    writeFileSync(join(lab.dir, 'run/tokens.csv'), tokenLine('another-token'));
    await restart();
    await until(problems, () => /refuses our requests since .*: HTTP 401/.test(problems()), 60_000);
    writeFileSync(join(host.dir, 'token'), 'another-token\n');
    await until(problems, () => problems() === '', 60_000);
  });
});
