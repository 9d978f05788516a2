/** Kubeconfigs as kubectl finds and merges them. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { agentLogin, kubectlLogin } from '../../src/cluster/kubernetes/login.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'culvert-login-'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(dir, { recursive: true });
});

/** A kubeconfig with contexts of these names, each with a cluster and a user of its own. */
function write(file: string, current: string, ...names: string[]): string {
  const path = join(dir, file);
  const lines = names.map((name) => {
    writeFileSync(join(dir, `${name}.token`), `token of ${name}\n`);
    return {
      cluster: { name, cluster: { server: `https://${name}.example.org` } },
      user: { name, user: { tokenFile: `${name}.token` } },
      context: { name, context: { cluster: name, user: name } },
    };
  });
  const config = {
    'current-context': current,
    clusters: lines.map((l) => l.cluster),
    users: lines.map((l) => l.user),
    contexts: lines.map((l) => l.context),
  };
  writeFileSync(path, JSON.stringify(config));
  return path;
}

const tokenOf = (options: { headers?: unknown }): unknown =>
  (options.headers as Record<string, unknown> | undefined)?.['Authorization'];

describe('kubectlLogin()', () => {
  it('takes the current context of a file, or another with its own token', async () => {
    const file = write('config', 'one', 'one', 'two');
    expect((await kubectlLogin(file, undefined)()).server).toBe('https://one.example.org');
    const { server, options } = await kubectlLogin(file, 'two')();
    expect(server).toBe('https://two.example.org');
    expect(tokenOf(options)).toBe('Bearer token of two');
  });

  it('merges the files of KUBECONFIG and leaves out one that is not there', async () => {
    const files = [write('a', 'one', 'one'), join(dir, 'missing'), write('b', 'two', 'two')];
    vi.stubEnv('KUBECONFIG', files.join(':'));
    expect((await kubectlLogin(undefined, undefined)()).server).toBe('https://one.example.org');
    const { server, options } = await kubectlLogin(undefined, 'two')();
    expect(server).toBe('https://two.example.org');
    expect(tokenOf(options)).toBe('Bearer token of two');
  });

  it('names what it was given and what there is', async () => {
    const file = write('config', 'gone', 'one', 'two');
    await expect(kubectlLogin(file, 'three')()).rejects.toThrow(
      `--context: got "three", want a context of ${file} that names a cluster; contexts: one, two`,
    );
    await expect(kubectlLogin(file, undefined)()).rejects.toThrow(/--kubeconfig: got ".*" without a current context/);
    await expect(kubectlLogin(join(dir, 'missing'), undefined)()).rejects.toThrow(/--kubeconfig: got ENOENT.*missing/);
  });
});

describe('agentLogin()', () => {
  it('reads a token anew for each request', async () => {
    const login = agentLogin(write('config', 'one', 'one'));
    expect(tokenOf((await login()).options)).toBe('Bearer token of one');
    writeFileSync(join(dir, 'one.token'), 'another');
    expect(tokenOf((await login()).options)).toBe('Bearer another');
  });
});
