/** scripts/kind-up as far as it goes without Docker, and the cluster that it asks kind for. */

import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { podSpec } from '../support/manifests.ts';

const root = join(import.meta.dirname, '../..');
const text = (file: string): string => readFileSync(join(root, file), 'utf8');

let bin = '';
beforeEach(() => {
  bin = mkdtempSync(join(tmpdir(), 'culvert-kind-'));
  for (const program of ['bash', 'dirname', 'grep', 'sed', 'env']) {
    const file = [`/bin/${program}`, `/usr/bin/${program}`].find((f) => existsSync(f))!;
    symlinkSync(file, join(bin, program));
  }
});
afterEach(() => rmSync(bin, { recursive: true }));

/** A program that answers as it is told to. */
function put(program: string, script: string): void {
  writeFileSync(join(bin, program), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, program), 0o755);
}

/** With those programs alone on PATH that the test has put there. */
function kindUp(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const env = { PATH: bin };
  const { status, stdout, stderr } = spawnSync(join(root, 'scripts/kind-up'), args, { env, encoding: 'utf8' });
  return { status, stdout, stderr };
}

describe('scripts/kind-up', () => {
  it('prints with --dry-run what it would run, where there is neither kind nor Docker', () => {
    const { status, stdout, stderr } = kindUp('--dry-run');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout.trim().split('\n')).toEqual([
      '+ scripts/image',
      '+ kind create cluster --name culvert --config conf/kind.yaml',
      '+ kind load image-archive dist/culvert-image.tar --name culvert',
      '+ kubectl --context kind-culvert apply -f conf/kubernetes/culvert.yaml',
      '+ kubectl --context kind-culvert wait --for=condition=Ready node --all --timeout=180s',
      '+ kubectl --context kind-culvert get nodes -o wide',
    ]);
    for (const [file] of stdout.matchAll(/\b(?:scripts|conf)\/[\w./-]+/g))
      expect(existsSync(join(root, file))).toBe(true);
    expect(text('scripts/image')).toContain('dist/culvert-image.tar');
  });

  it.each([
    ['docker', [], /^kind-up: docker is not installed: https:/],
    ['kind', ['docker'], /^kind-up: kind is not installed: https:/],
    ['kubectl', ['docker', 'kind'], /^kind-up: kubectl is not installed: https:/],
  ])('says where %s is to be had', (_, there, said) => {
    for (const program of there) put(program, 'exit 0');
    expect(kindUp()).toEqual({ status: 3, stdout: '', stderr: expect.stringMatching(said) });
  });

  it('makes nothing where Docker does not answer, or where there is such a cluster', () => {
    put('kubectl', 'exit 0');
    put('kind', 'echo culvert');
    put('docker', 'exit 1');
    expect(kindUp()).toEqual({ status: 3, stdout: '', stderr: expect.stringContaining('docker does not answer') });
    put('docker', 'exit 0');
    const stderr = expect.stringContaining('already: kind delete cluster --name culvert');
    expect(kindUp()).toEqual({ status: 3, stdout: '', stderr });
  });

  it('names an argument that it does not know', () => {
    for (const args of [['--wet-run'], ['--dry-run', 'more']]) {
      const stderr = expect.stringMatching(
        `^kind-up: unexpected argument: ${args.join(' ')}\n[^]*scripts/kind-up --dry-run`,
      );
      expect(kindUp(...args)).toEqual({ status: 2, stdout: '', stderr });
    }
  });
});

describe('conf/kind.yaml', () => {
  it('is a cluster without a network plugin, in the form that kind reads', () => {
    const cluster = parse(text('conf/kind.yaml')) as { nodes: { role: string }[] };
    expect(cluster).toMatchObject({
      kind: 'Cluster',
      apiVersion: 'kind.x-k8s.io/v1alpha4',
      name: 'culvert',
      networking: { disableDefaultCNI: true, podSubnet: '10.244.0.0/16' },
    });
    expect(cluster.nodes.map((n) => n.role)).toEqual(['control-plane', 'worker', 'worker']);
  });

  it('runs an image that nobody pulls', () => {
    const [container] = podSpec().containers;
    expect(container!.image).toMatch(/^localhost\//);
    expect(container).toMatchObject({ imagePullPolicy: 'IfNotPresent' });
  });
});
