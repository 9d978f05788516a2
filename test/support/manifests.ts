/** The manifests of conf/kubernetes as objects. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';

export const manifestFile = join(import.meta.dirname, '../../conf/kubernetes/culvert.yaml');

export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string> };
  [key: string]: unknown;
}

export interface Container {
  name: string;
  image: string;
  args: string[];
  env: { name: string; value?: string; valueFrom?: { fieldRef: { fieldPath: string } } }[];
  ports: { name: string; containerPort: number }[];
  securityContext: {
    allowPrivilegeEscalation: boolean;
    readOnlyRootFilesystem: boolean;
    privileged?: boolean;
    capabilities: { drop: string[]; add: string[] };
  };
  livenessProbe: { httpGet: { host: string; port: number; path: string }; failureThreshold: number };
  readinessProbe: { httpGet: { host: string; port: number; path: string } };
  resources: { limits?: object; requests: object };
  volumeMounts: { name: string; mountPath: string; readOnly?: boolean }[];
}

export interface PodSpec {
  serviceAccountName: string;
  hostNetwork: boolean;
  priorityClassName: string;
  tolerations: object[];
  containers: Container[];
  volumes: { name: string; hostPath?: { path: string; type: string }; configMap?: { name: string } }[];
}

export const manifests = (): Manifest[] =>
  parseAllDocuments(readFileSync(manifestFile, 'utf8')).map((document) => {
    if (document.errors[0]) throw document.errors[0];
    return document.toJS() as Manifest;
  });

/** The one of its kind, or of its kind and name. */
export function only(kind: string, name?: string): Manifest {
  const found = manifests().filter((m) => m.kind === kind && (name === undefined || m.metadata.name === name));
  if (found.length !== 1) throw new Error(`${found.length} objects of kind ${kind}`);
  return found[0]!;
}

/** What the DaemonSet's pods are. */
export const podSpec = (): PodSpec => (only('DaemonSet')['spec'] as { template: { spec: PodSpec } }).template.spec;

/** What scripts/kube-lab has to have otherwise, and whoever calls. */
interface LabManifests {
  mode?: string;
  /** Emulated processors: what takes a second elsewhere takes eight. */
  slow?: boolean;
}

/** As they are, but for scripts/kube-lab, where nobody serves the API server's ClusterIP. */
export function labManifests({ mode = 'vxlan', slow = false }: LabManifests = {}): object[] {
  const server = [
    { name: 'KUBERNETES_SERVICE_HOST', value: '192.168.77.1' },
    { name: 'KUBERNETES_SERVICE_PORT', value: '6443' },
  ];
  return manifests().map((manifest) => {
    const { kind, metadata, spec, data } = manifest as Manifest & {
      spec: { template: { spec: PodSpec } };
      data: Record<string, string>;
    };
    if (kind === 'DaemonSet') {
      const agent = spec.template.spec.containers[0]!;
      agent.env.push(...server);
      if (slow) agent.livenessProbe.failureThreshold *= 8;
    }
    if (kind === 'ConfigMap' && metadata.name === 'culvert')
      data['agent.yaml'] = data['agent.yaml']!.replace('mode: vxlan', `mode: ${mode}`);
    return manifest;
  });
}
