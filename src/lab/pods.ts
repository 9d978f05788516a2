/** The pods of a lab: namespaces attached by executing the plugins, with what a runtime keeps on disk between ADD and DEL. */

import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { isObject, type JsonObject } from '../decode.ts';
import type { Machine } from '../kernel/machine.ts';
import { readIfThere, replaceIfOther } from '../store/files.ts';
import { ensureNamespace, removeNamespace } from './namespaces.ts';
import { labVariable, type Place } from './place.ts';
import {
  type Attachment,
  type ConfList,
  type Container,
  createRuntime,
  type ExecPlugin,
  parseConfList,
  type Runtime,
} from './runtime.ts';
import type { Node } from './topology.ts';

/** What containerd does for every pod before its own network. */
const loopbackList: ConfList = {
  cniVersion: '1.0.0',
  name: 'cni-loopback',
  plugins: [{ type: 'loopback' }],
  disableCheck: true,
  disableGC: true,
};

/** Executes plugins as the node's runtime would: in the node's namespace, with no environment but the protocol's. */
function pluginsOf(place: Place, node: string, cniPath: string): ExecPlugin {
  return async ({ type, env, stdin }) => {
    const ran = await execa('nsenter', [`--net=${place.netns(node)}`, '--', join(cniPath, type)], {
      input: stdin,
      env: { ...env, PATH: process.env['PATH'] ?? '', [labVariable]: place.lab },
      extendEnv: false,
      reject: false,
    });
    return { exitCode: ran.exitCode ?? -1, stdout: ran.stdout, stderr: ran.stderr || (ran.shortMessage ?? '') };
  };
}

const attachmentFile = (place: Place, node: string, pod: string): string =>
  join(place.node(node).attachments, `${pod}.json`);

export function readAttachment(place: Place, node: string, pod: string): Attachment | undefined {
  const text = readIfThere(attachmentFile(place, node, pod));
  return text === undefined ? undefined : (JSON.parse(text) as Attachment);
}

/** Names of the pods that a node has attachments of, whatever the topology says today. */
export function attachedPods(place: Place, node: string): string[] {
  const dir = place.node(node).attachments;
  if (!existsSync(dir)) return [];
  return readdirSync(dir).flatMap((file) => (file.endsWith('.json') ? [file.slice(0, -'.json'.length)] : []));
}

/** The addresses of an attachment, as its result gave them, without prefix lengths. */
export function addressesOfAttachment({ result }: Attachment): string[] {
  const ips: unknown = result?.['ips'];
  return (Array.isArray(ips) ? ips : []).filter(isObject).map((ip: JsonObject) => String(ip['address']).split('/')[0]!);
}

/** The list that the agent wrote: the first .conflist by name, as a runtime picks it. */
function readConfList(place: Place, node: string): ConfList {
  const dir = place.node(node).cniConf;
  const file = readdirSync(dir)
    .filter((f) => f.endsWith('.conflist'))
    .sort()[0];
  if (!file)
    throw new Error(
      `no network configuration list in ${dir}: the agent of ${node} writes it when the node can attach pods`,
    );
  return parseConfList(readFileSync(join(dir, file), 'utf8'));
}

/** One node's pods. */
export class Pods {
  readonly #place: Place;
  readonly #node: string;
  readonly #runtime: Runtime;
  readonly #machine: Machine;

  constructor(place: Place, node: string, cniPath: string, machine: Machine) {
    this.#place = place;
    this.#node = node;
    this.#runtime = createRuntime(pluginsOf(place, node, cniPath), cniPath);
    this.#machine = machine;
  }

  #container(pod: string): Container {
    return { id: `${this.#place.lab}-${pod}`, netns: this.#place.netns(pod), ifname: 'eth0' };
  }

  /** Attaches what should be attached and is not, or not as it should be; detaches the rest. Answers the pods that changed. */
  async ensure(node: Node): Promise<string[]> {
    const changed: string[] = [];
    for (const pod of attachedPods(this.#place, this.#node)) {
      if (!node.pods.includes(pod)) {
        await this.remove(pod);
        changed.push(pod);
      }
    }
    const list = readConfList(this.#place, this.#node);
    await this.#runtime.gc(
      list,
      attachedPods(this.#place, this.#node).map((pod) => this.#container(pod)),
    );
    for (const pod of node.pods) {
      if (await this.#isAttached(pod, list)) continue;
      await this.detach(pod);
      await this.#attach(pod, list);
      changed.push(pod);
    }
    return changed;
  }

  /** CHECK, by the list that is in force now, finds nothing amiss. */
  async #isAttached(pod: string, list: ConfList): Promise<boolean> {
    const attachment = readAttachment(this.#place, this.#node, pod);
    if (!attachment?.result || JSON.stringify(attachment.confList) !== JSON.stringify(list)) return false;
    try {
      await this.#runtime.check(attachment);
      return true;
    } catch {
      return false; // whatever it is, detaching and attaching anew mends it
    }
  }

  async #attach(pod: string, list: ConfList): Promise<void> {
    await ensureNamespace(this.#place, pod, this.#machine);
    const container = this.#container(pod);
    await this.#runtime.add(loopbackList, { ...container, ifname: 'lo' });
    // before ADD too: when this process is killed in the middle, the next one must know that there is something to DEL
    this.#remember(pod, { container, confList: list, result: undefined });
    this.#remember(pod, await this.#runtime.add(list, container));
  }

  #remember(pod: string, attachment: Attachment): void {
    replaceIfOther(attachmentFile(this.#place, this.#node, pod), `${JSON.stringify(attachment, null, 2)}\n`);
  }

  /** DEL with what ADD answered; a pod that never was attached is fine. */
  async detach(pod: string): Promise<void> {
    const attachment = readAttachment(this.#place, this.#node, pod);
    if (!attachment) return;
    await this.#runtime.del(attachment);
    rmSync(attachmentFile(this.#place, this.#node, pod), { force: true });
  }

  async remove(pod: string): Promise<void> {
    await this.detach(pod);
    await removeNamespace(this.#place, pod, this.#machine);
  }
}
