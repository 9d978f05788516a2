/** conf/kubernetes by itself: names that refer to each other do, and the agent finds what its configuration says where it is mounted. */

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { decodeConfig, parseListen } from '../../src/agent/config.ts';
import { trafficMapName } from '../../src/cluster/kubernetes/traffic-map.ts';
import { unknownFields } from '../support/api-schema.ts';
import { manifestFile, manifests, only, podSpec } from '../support/manifests.ts';

const namespace = 'culvert-system';
const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as {
  version: string;
};

function agentConfig() {
  const { 'agent.yaml': text } = only('ConfigMap', 'culvert')['data'] as Record<string, string>;
  const notes: string[] = [];
  return { config: decodeConfig(parse(text!), notes), notes };
}

describe('the manifests', () => {
  it('are one of each, in the order in which they can be made', () => {
    expect(
      manifests().map((m) => `${m.apiVersion} ${m.kind} ${m.metadata.namespace ?? '-'}/${m.metadata.name}`),
    ).toEqual([
      'v1 Namespace -/culvert-system',
      'v1 ServiceAccount culvert-system/culvert',
      'rbac.authorization.k8s.io/v1 ClusterRole -/culvert',
      'rbac.authorization.k8s.io/v1 ClusterRoleBinding -/culvert',
      'rbac.authorization.k8s.io/v1 Role default/culvert-events',
      'rbac.authorization.k8s.io/v1 RoleBinding default/culvert-events',
      'rbac.authorization.k8s.io/v1 Role culvert-system/culvert-traffic',
      'rbac.authorization.k8s.io/v1 RoleBinding culvert-system/culvert-traffic',
      'v1 ConfigMap culvert-system/culvert-traffic',
      'v1 ConfigMap culvert-system/culvert',
      'apps/v1 DaemonSet culvert-system/culvert',
    ]);
  });

  it("have no field that the API of the client library's release does not know", () => {
    for (const object of manifests()) {
      expect(object.apiVersion).toMatch(/^(.*\/)?v1$/);
      expect(unknownFields(object)).toEqual([]);
    }
  });

  it('are found wrong by that check where they are', () => {
    const spec = podSpec();
    const container = { ...spec.containers[0]!, livenesProbe: {}, args: 'agent' };
    const pod = { apiVersion: 'v1', kind: 'Pod', spec: { ...spec, hostNetwork: 'yes', containers: [container] } };
    expect(unknownFields(pod)).toEqual([
      'Pod.spec.hostNetwork: got "yes", want boolean',
      'Pod.spec.containers[0].args: no list',
      'Pod.spec.containers[0].livenesProbe: V1Container has no such field',
    ]);
    expect(unknownFields({ apiVersion: 'v1', kind: 'PodSecurityPolicy' })).toEqual([
      'PodSecurityPolicy: the API has no V1PodSecurityPolicy',
    ]);
  });

  it('allow what the agent asks for and nothing else', () => {
    expect(only('ClusterRole')['rules']).toEqual([
      { apiGroups: [''], resources: ['nodes'], verbs: ['list', 'watch', 'patch'] },
    ]);
    expect(only('Role', 'culvert-events')['rules']).toEqual([
      { apiGroups: [''], resources: ['events'], verbs: ['create', 'patch'] },
    ]);
    expect(only('Role', trafficMapName)['rules']).toEqual([
      {
        apiGroups: [''],
        resources: ['configmaps'],
        resourceNames: [trafficMapName],
        verbs: ['list', 'watch', 'patch'],
      },
    ]);
    expect(only('ConfigMap', trafficMapName)['data']).toBeUndefined();
  });

  it.each([
    ['ClusterRole', 'culvert'],
    ['Role', 'culvert-events'],
    ['Role', trafficMapName],
  ])('bind %s %s to the account of the pods', (kind, role) => {
    const binding = only(`${kind}Binding`, role);
    expect(binding.metadata.namespace).toBe(only(kind, role).metadata.namespace);
    expect(binding['roleRef']).toEqual({ apiGroup: 'rbac.authorization.k8s.io', kind, name: role });
    const { name } = only('ServiceAccount').metadata;
    expect(binding['subjects']).toEqual([{ kind: 'ServiceAccount', name, namespace }]);
    expect(podSpec().serviceAccountName).toBe(name);
  });

  it('select the pods that they make', () => {
    const spec = only('DaemonSet')['spec'] as {
      selector: { matchLabels: object };
      template: { metadata: { labels: object } };
    };
    expect(spec.template.metadata.labels).toEqual(spec.selector.matchLabels);
  });

  it('run the image of this version with few rights', () => {
    const [container, ...others] = podSpec().containers;
    expect(others).toEqual([]);
    expect(container!.image).toBe(`localhost/culvert:${version}`);
    expect(container!.securityContext).toMatchObject({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'NET_RAW', 'NET_BIND_SERVICE'] },
    });
    expect(container!.securityContext.privileged).toBeUndefined();
    expect(container!.resources.limits).toBeUndefined();
  });

  it('mount every volume, and every path of the configuration for writing', () => {
    const { volumes, containers } = podSpec();
    const mounts = containers[0]!.volumeMounts;
    expect(mounts.map((m) => m.name).sort()).toEqual(volumes.map((v) => v.name).sort());
    const { config } = agentConfig();
    const writable = mounts.filter((m) => !m.readOnly).map((m) => m.mountPath);
    const { sysctls, ...folders } = config.paths;
    expect(writable.sort()).toEqual([...Object.values(folders), `${sysctls}/net`].sort());
    // on the node they are where the runtime and the plugin look
    const places = new Map(volumes.map((v) => [v.name, v.hostPath?.path]));
    for (const { name, mountPath } of mounts) {
      if (name !== 'config') expect(mountPath.replace(/^\/host/, '')).toBe(places.get(name));
    }
    expect(volumes.find((v) => v.configMap)?.configMap?.name).toBe('culvert');
  });

  it('have a configuration that the agent takes, and ask it where it answers', () => {
    const { config, notes } = agentConfig();
    expect(notes).toEqual([]);
    expect(config).toMatchObject({ cluster: { source: 'kubernetes' }, install: true });
    const { livenessProbe, readinessProbe } = podSpec().containers[0]!;
    const { host, port } = parseListen(config.listen)!;
    expect(host).toBe('::');
    expect(livenessProbe.httpGet).toEqual({ host: '127.0.0.1', port, path: '/healthz' });
    expect(readinessProbe.httpGet).toEqual({ host: '127.0.0.1', port, path: '/readyz' });
    expect(podSpec().containers[0]!.ports).toEqual([{ name: 'http', containerPort: port }]);
  });

  it('tell the C library what the systemd unit tells it', () => {
    const unit = readFileSync(join(dirname(manifestFile), '../culvert-agent.service'), 'utf8');
    const lines = [...unit.matchAll(/^Environment=(.*)$/gm)].map((m) => m[1]);
    const known = podSpec().containers[0]!.env.filter(({ name }) => name === 'GLIBC_TUNABLES');
    expect(lines).toEqual(known.map(({ name, value }) => `${name}=${value}`));
    expect(lines).toHaveLength(1);
  });

  it('are all that the kustomization lists, but for what needs the Prometheus operator', () => {
    const folder = dirname(manifestFile);
    const { resources } = parse(readFileSync(join(folder, 'kustomization.yaml'), 'utf8')) as { resources: string[] };
    expect([...resources, 'kustomization.yaml', 'podmonitor.yaml'].sort()).toEqual(readdirSync(folder).sort());
  });

  it('have a PodMonitor that finds the pods and their port', () => {
    const monitor = parse(readFileSync(join(dirname(manifestFile), 'podmonitor.yaml'), 'utf8')) as {
      metadata: { namespace: string };
      spec: { selector: object; podMetricsEndpoints: { port: string }[] };
    };
    expect(monitor.metadata.namespace).toBe(namespace);
    expect(monitor.spec.selector).toEqual((only('DaemonSet')['spec'] as { selector: object }).selector);
    expect(monitor.spec.podMetricsEndpoints.map((e) => e.port)).toEqual([podSpec().containers[0]!.ports[0]!.name]);
  });
});
