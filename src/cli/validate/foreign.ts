/** Plugins that are not ours: whether CNI_PATH has them, and the versions they say they speak. Their keys are theirs to judge. */

import { plugins } from '../../../plugins/plugins.ts';
import { findPlugin } from '../../cni/delegate.ts';
import { requestOf } from '../../cni/keys.ts';
import { at, isObject } from '../../decode.ts';
import type { Machine } from '../../kernel/machine.ts';
import type { ReadDocument } from './document.ts';
import type { Finding } from './finding.ts';

const versionTimeoutMs = 5_000;

interface Foreign {
  /** The path of the key that names it. */
  path: string;
  type: string;
}

/** The plugins of others that a network names: as its own, or for addresses. */
function foreignTypes({ network }: ReadDocument): Foreign[] {
  return (network?.plugins ?? []).flatMap(({ path, type, conf }): Foreign[] => {
    const ipam = isObject(conf['ipam']) ? conf['ipam']['type'] : undefined;
    const named: Foreign[] = [{ path: at(path, 'type'), type }];
    if (typeof ipam === 'string') named.push({ path: at(path, 'ipam.type'), type: ipam });
    return named.filter((f) => f.type !== '' && !plugins.has(f.type));
  });
}

/** The file on CNI_PATH; undefined when no folder has it. */
function fileOf(type: string, path: string[]): string | undefined {
  try {
    return findPlugin(type, { ...requestOf({}), path });
  } catch {
    return undefined;
  }
}

/** What it answers to VERSION, which changes nothing (spec section 2); undefined when it answers nothing of use. */
async function versionsOf(file: string, cniVersion: string, { exec }: Machine): Promise<string[] | undefined> {
  try {
    const options = {
      env: { CNI_COMMAND: 'VERSION' },
      stdin: JSON.stringify({ cniVersion }),
      timeoutMs: versionTimeoutMs,
    };
    const answer: unknown = JSON.parse(await exec([file], options));
    const versions = isObject(answer) ? answer['supportedVersions'] : undefined;
    return Array.isArray(versions) ? versions.map(String) : undefined;
  } catch {
    return undefined;
  }
}

/** Looks for the plugins of others that a document names. */
export async function foreignPlugins(document: ReadDocument, path: string[], machine: Machine): Promise<Finding[]> {
  const { file, located, network } = document;
  if (!network || !located) return [];
  const finding = (f: Foreign, severity: Finding['severity'], got: string, want: string): Finding => {
    const message = severity === 'problem' ? `got ${got}, want ${want}` : got;
    return { file, ...located.placeOf(f.path), path: f.path, severity, got, want, message };
  };
  const found = foreignTypes(document).map(async (foreign): Promise<Finding[]> => {
    const { type } = foreign;
    const program = fileOf(type, path);
    if (!program) {
      const got = `"${type}" is no plugin of ours, and not in ${path.join(':')}: its keys were not looked at`;
      return [finding(foreign, 'remark', got, 'a plugin that is there')];
    }
    const versions = await versionsOf(program, network.cniVersion, machine);
    if (!versions)
      return [finding(foreign, 'remark', `${program} does not say which versions it supports`, 'an answer to VERSION')];
    if (versions.includes(network.cniVersion)) return [];
    const want = `one of ${versions.join(', ')}: ${program} supports no other`;
    const problem = finding(foreign, 'problem', `"${type}" with cniVersion "${network.cniVersion}"`, want);
    return [{ ...problem, ...located.placeOf('cniVersion'), path: 'cniVersion' }];
  });
  return (await Promise.all(found)).flat();
}
