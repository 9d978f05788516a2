/** The table of metrics in docs/agent.md, what /metrics serves, and what the dashboard asks for: one and the same. */

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tasksOf } from '../../src/agent/agent.ts';
import { decodeConfig } from '../../src/agent/config.ts';
import { ChecksumOffload } from '../../src/agent/offload.ts';
import { SessionMetrics } from '../../src/agent/session-metrics.ts';
import { Status } from '../../src/agent/status.ts';
import { WayMetrics } from '../../src/agent/way-metrics.ts';
import { createKernel } from '../../src/kernel/kernel.ts';

const root = join(import.meta.dirname, '../..');
const text = (file: string): string => readFileSync(join(root, file), 'utf8');

interface Metric {
  readonly type: string;
  readonly labels: readonly string[];
}

/** "| `name{label}` | type | meaning |" */
const documented = new Map<string, Metric>(
  [...text('docs/agent.md').matchAll(/^\| `(culvert_\w+)(?:\{([\w,]+)\})?` \| (\w+) \|/gm)].map(
    ([, name, labels, type]) => [name!, { type: type!, labels: labels?.split(',') ?? [] }],
  ),
);

async function freePort(): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const server = createServer().listen(0, '127.0.0.1', resolve);
  await promise;
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

const configOf = (listen: string) =>
  decodeConfig({ node: 'n1', mode: 'vxlan', listen, paths: { state: tmpdir(), run: tmpdir() } });

/** Names and types as an agent serves them, its loop not running. */
const served = new Map<string, string>();
const stop = new AbortController();
let running: Promise<void> | undefined;

beforeAll(async () => {
  const listen = `127.0.0.1:${await freePort()}`;
  const http = tasksOf(configOf(listen), [], () => {}).find((t) => t.name === 'http')!;
  running = http.run(stop.signal);
  const answer = await (await fetch(`http://${listen}/metrics`)).text();
  for (const [, name, type] of answer.matchAll(/^# TYPE (\w+) (\w+)$/gm)) served.set(name!, type!);
});
afterAll(async () => {
  stop.abort();
  await running;
});

describe('the table of metrics', () => {
  it('has every metric that is served, with its type, and no other', () => {
    const own = [...served].filter(([name]) => name.startsWith('culvert_'));
    expect(new Map([...documented].map(([name, { type }]) => [name, type]))).toEqual(new Map(own));
  });

  it('has their labels', () => {
    const { registry } = new Status();
    new SessionMetrics(registry);
    new WayMetrics(registry);
    const exec = async () => '';
    const config = configOf('127.0.0.1:9467');
    new ChecksumOffload({ config, exec, kernel: createKernel(exec), registry, changed: () => {}, log: () => {} });
    for (const [name, { labels }] of documented) {
      const metric = registry.getSingleMetric(name) as unknown as { labelNames: string[] } | undefined;
      expect({ name, labels: metric?.labelNames }).toEqual({ name, labels });
    }
  });
});

describe('culvert_mode', () => {
  it('says what carries, and during a change what is accepted too', async () => {
    const status = new Status();
    const applied = { node: 'n1', cluster: 'a', mtu: 1450, notAccepted: [], unanswered: [], softwareChecksums: [] };
    const vxlan = { mode: 'vxlan', sameSubnet: 'tunnel' } as const;
    const routed = { mode: 'routed', sameSubnet: 'tunnel' } as const;
    const lines = async () => (await status.registry.metrics()).match(/^culvert_mode\{.*$/gm);
    status.succeeded({ ...applied, traffic: { ...vxlan, alsoAccept: routed } });
    expect(await lines()).toEqual([
      'culvert_mode{mode="vxlan",state="carries"} 1',
      'culvert_mode{mode="routed",state="accepts"} 1',
    ]);
    status.succeeded({ ...applied, traffic: routed });
    expect(await lines()).toEqual(['culvert_mode{mode="routed",state="carries"} 1']);
  });
});

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly type: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets: readonly { readonly expr: string; readonly legendFormat: string }[];
}

const dashboard = JSON.parse(text('conf/grafana/culvert.json')) as {
  readonly title: string;
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
};

/** Labels that Prometheus gives to whatever it scrapes. */
const scraped = ['job', 'instance'];
const words = /\b(?:sum|min|max|count|rate|topk|time|vector|histogram_quantile|by|or)\b/g;

/** Names of metrics that an expression reads, with the labels that it asks of them. */
function metricsIn(expr: string): { name: string; labels: string[] }[] {
  return [...expr.matchAll(/\b(\w+)\{([^}]*)\}/g)].map(([, name, matchers]) => ({
    name: name!,
    labels: [...matchers!.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label]) => label!),
  }));
}

/** Labels that are left in the answer or asked for: sum by (a, b), legends. */
const groupedBy = (expr: string): string[] =>
  [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, labels]) => labels!.split(',').map((l) => l.trim()));

/** A histogram is asked for by its parts. */
function describedAs(name: string): Metric | undefined {
  const base = name.replace(/_(bucket|sum|count)$/, '');
  const metric = documented.get(name) ?? documented.get(base);
  if (metric) return metric.type === 'histogram' ? { ...metric, labels: [...metric.labels, 'le'] } : metric;
  return served.has(name) ? { type: served.get(name)!, labels: [] } : undefined;
}

describe('the dashboard', () => {
  const targets = dashboard.panels.flatMap((p) => p.targets.map((t) => ({ title: p.title, ...t })));

  it.each(targets)('asks in "$title" for what there is: $expr', ({ expr, legendFormat }) => {
    const asked = metricsIn(expr);
    expect(asked.length).toBeGreaterThan(0);
    const known = asked.map(({ name }) => [name, describedAs(name)] as const);
    expect(known.filter(([, metric]) => !metric)).toEqual([]);
    const labels = [...scraped, ...known.flatMap(([, metric]) => metric!.labels)];
    const legends = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label]) => label!);
    for (const label of [...asked.flatMap((a) => a.labels), ...groupedBy(expr), ...legends]) {
      expect(labels).toContain(label);
    }
    // what is left besides is functions and numbers
    const rest = expr
      .replaceAll(/\w+\{[^}]*\}/g, '')
      .replaceAll(/\bby \([^)]*\)/g, '')
      .replaceAll(/\[\d+[smh]\]/g, '');
    expect(rest.replaceAll(words, '')).toMatch(/^[\s\d.()+\-*/<>=,]*$/);
    expect([...expr].filter((c) => c === '(').length).toBe([...expr].filter((c) => c === ')').length);
  });

  it('grows counters by rate() alone, and rates nothing else', () => {
    for (const { expr } of targets) {
      for (const { name } of metricsIn(expr)) {
        const isCounter = ['counter', 'histogram'].includes(describedAs(name)!.type);
        expect({ name, rated: new RegExp(`rate\\(${name}\\{`).test(expr) }).toEqual({ name, rated: isCounter });
      }
    }
  });

  it('shows every metric of ours', () => {
    const shown = new Set(targets.flatMap((t) => metricsIn(t.expr).map((m) => m.name.replace(/_bucket$/, ''))));
    expect([...documented.keys()].filter((name) => !shown.has(name))).toEqual([]);
  });

  it('is one that Grafana 9 takes, its panels side by side', () => {
    expect(dashboard.schemaVersion).toBeGreaterThanOrEqual(36);
    expect(new Set(dashboard.panels.map((p) => p.id)).size).toBe(dashboard.panels.length);
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(Math.max(...dashboard.panels.map((p) => p.gridPos.x + p.gridPos.w))).toBeLessThanOrEqual(24);
    const variables = dashboard.templating.list.map((v) => v.name);
    expect(variables).toEqual(['datasource', 'job', 'instance']);
    for (const { definition } of dashboard.templating.list) {
      if (definition) expect(documented.has(/label_values\((\w+)/.exec(definition)![1]!)).toBe(true);
    }
  });
});
