/** This node's WireGuard keys, for modes that need them: found, or made, before anything is planned. */

import { join } from 'node:path';
import { ConfigError } from '../errors.ts';
import { modesOf, type WireGuardKeys } from '../plan/settings.ts';
import { ensurePublicKey, readPresharedMark, readPublicKey } from '../store/keys.ts';
import type { AgentConfig, NodeConfig } from './config.ts';

export const privateKeyFile = (config: AgentConfig): string => join(config.paths.state, 'wireguard.key');

function presharedOf(file: string | undefined): WireGuardKeys['preshared'] {
  return file === undefined ? undefined : { file, mark: readPresharedMark(file) };
}

/** A file's name is a word of wg's command line. */
function checkName(file: string): void {
  if (/[\s'"\\]/.test(file)) {
    throw new ConfigError([
      { path: 'paths.state', got: JSON.stringify(file), want: 'a path without blanks and quotes' },
    ]);
  }
}

/**
 * The configuration with the node's keys, where its modes need any. `make`: make the private key when there is none, else leave
 * the keys out. Throws ConfigError when a key file is not as it should be.
 */
export function withKeys<T extends NodeConfig>(config: T, make: boolean): T {
  if (!modesOf(config).includes('wireguard')) return config;
  const file = privateKeyFile(config);
  checkName(file);
  const publicKey = make ? ensurePublicKey(file) : readPublicKey(file);
  if (publicKey === undefined) return config;
  const preshared = presharedOf(config.wireguard.presharedKeyFile);
  const keys = { publicKey, privateKeyFile: file, ...(preshared && { preshared }) };
  return { ...config, wireguard: { ...config.wireguard, keys } };
}
