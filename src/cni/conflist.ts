/** A network as a runtime reads it: a configuration list, or the configuration of one plugin (spec section 1). */

import { Fields, type JsonObject, type Notes } from '../decode.ts';
import { ConfigError, type Problem } from '../errors.ts';
import { isCniName } from '../net/name.ts';
import { atLeast, isSupported, newestVersion, oldestVersion, supportedVersions } from './version.ts';

/** One plugin of a network. */
export interface ListedPlugin {
  /** Where it stands in the document, such as `plugins[0]`; empty when it is the document. */
  path: string;
  type: string;
  /** The `capabilities` that are true. */
  capabilities: string[];
  /** Its configuration as a runtime derives it, without what only the runtime knows (spec section 3, "Deriving"). */
  conf: JsonObject;
}

export interface Network {
  name: string;
  /** The newest version that the network offers and we know. */
  cniVersion: string;
  plugins: ListedPlugin[];
}

/** libcni takes the words as well. */
function decodeFlag(f: Fields, key: string): void {
  const want = 'true or false';
  const value = f.raw(key, want);
  if (value === undefined || typeof value === 'boolean') return;
  if (typeof value !== 'string' || !/^(true|false)$/i.test(value)) f.wrong(key, want);
}

function decodeName(f: Fields): string {
  const name = f.string('name') ?? '';
  if (!isCniName(name)) f.wrong('name', 'letters, digits, "_", "." and "-", a letter or digit first');
  return name;
}

/** The version that a runtime will name to the plugins. */
function decodeVersion(f: Fields, notes: Notes): string {
  const before = f.problems.length;
  const one = f.string('cniVersion') || undefined;
  const others = f.strings('cniVersions') ?? [];
  if (f.problems.length > before) return newestVersion;
  const offered = [...(one ? [one] : []), ...others];
  if (offered.length === 0) {
    notes.push(`cniVersion: nothing there, so it is ${oldestVersion}: no CHECK, STATUS or GC`);
    return oldestVersion;
  }
  const known = offered.filter(isSupported).sort((a, b) => (atLeast(a, b) ? -1 : 1));
  if (known.length === 0) f.wrong(one ? 'cniVersion' : 'cniVersions', `one of ${supportedVersions.join(', ')}`);
  return known[0] ?? newestVersion;
}

function decodePlugin(f: Fields): Omit<ListedPlugin, 'conf'> {
  const type = f.string('type') ?? '';
  if (type === '' || type.includes('/')) f.wrong('type', 'the file name of a plugin');
  const capabilities = f.object('capabilities', (c) => Object.keys(c.value).filter((name) => c.boolean(name) ?? false));
  f.ignoreRest(); // the rest is the plugin's
  return { path: f.path, type, capabilities: capabilities ?? [] };
}

/** The network of a document, as far as it can be read, and what is wrong with what is not any plugin's own. */
export function readNetwork(document: JsonObject, notes: Notes): { network: Network; problems: Problem[] } {
  const network: Network = { name: '', cniVersion: newestVersion, plugins: [] };
  const read = (f: Fields): void => {
    network.name = decodeName(f);
    network.cniVersion = decodeVersion(f, notes);
    const derived = { cniVersion: network.cniVersion, name: network.name };
    const add = (plugin: Fields): void =>
      void network.plugins.push({ ...decodePlugin(plugin), conf: { ...plugin.value, ...derived } });
    if (!f.has('plugins')) {
      add(f);
      return;
    }
    for (const key of ['disableCheck', 'disableGC', 'loadOnlyInlinedPlugins']) decodeFlag(f, key);
    if (f.objects('plugins', add) && network.plugins.length === 0) f.wrong('plugins', 'one plugin at least');
  };
  try {
    Fields.read(document, '', read, notes);
    return { network, problems: [] };
  } catch (error) {
    if (error instanceof ConfigError) return { network, problems: error.problems };
    throw error;
  }
}
