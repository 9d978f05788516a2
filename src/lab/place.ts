/** Where a lab lives: namespaces by prefix, files below one folder. */

import { join } from 'node:path';

/** `ip netns` keeps its names here; nsenter enters them by path. */
export const netnsDir = '/run/netns';

export const defaultStateDir = '/run/culvert-lab';

/** The environment variable that every process of a lab carries: by it `down` finds them without any file. */
export const labVariable = 'CULVERT_LAB';

export interface NodeFiles {
  dir: string;
  run: string;
  state: string;
  cniConf: string;
  leases: string;
  attachments: string;
  agentYaml: string;
  agentPid: string;
  agentLog: string;
}

/** The paths and names of one lab. */
export class Place {
  readonly lab: string;
  readonly dir: string;
  /** What the names of its namespaces begin with; a dot, as no lab's or machine's name has one. */
  readonly prefix: string;

  constructor(lab: string, stateDir: string = defaultStateDir) {
    this.lab = lab;
    this.dir = join(stateDir, lab);
    this.prefix = `${lab}.`;
  }

  namespace(host: string): string {
    return `${this.prefix}${host}`;
  }

  netns(host: string): string {
    return join(netnsDir, this.namespace(host));
  }

  get clusterYaml(): string {
    return join(this.dir, 'cluster.yaml');
  }

  /** The topology as it was last brought up, with its overrides. */
  get topologyJson(): string {
    return join(this.dir, 'topology.json');
  }

  get lock(): string {
    return `${this.dir}.lock`; // beside the folder: it outlives it
  }

  node(name: string): NodeFiles {
    const dir = join(this.dir, 'nodes', name);
    return {
      dir,
      run: join(dir, 'run'),
      state: join(dir, 'state'),
      cniConf: join(dir, 'cni'),
      leases: join(dir, 'leases'),
      attachments: join(dir, 'attachments'),
      agentYaml: join(dir, 'agent.yaml'),
      agentPid: join(dir, 'agent.pid'),
      agentLog: join(dir, 'agent.log'),
    };
  }
}
