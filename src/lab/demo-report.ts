/** The demo's text: tables that fit 100 columns, and read without colour. Pure. */

import { formatPrefix } from '../net/prefix.ts';
import type { Census } from './census.ts';
import { censusWords } from './census.ts';
import type { Check, Sight } from './check.ts';
import type { Endpoint, Ping } from './ping.ts';
import { table } from './table.ts';
import { type Measurement, median } from './throughput.ts';
import type { Topology } from './topology.ts';

/** Green and red where there is colour, nothing else. */
export type Paint = (colour: 'green' | 'red' | 'bold' | 'dim', text: string) => string;

const mark = (ok: boolean): string => (ok ? '✓' : '✗');

export function renderTopology({ segments, nodes, routers, outside }: Topology): string[] {
  const machines = [...nodes, ...routers, ...(outside ? [outside] : [])];
  return table([
    ['segment', 'prefixes', 'on it'],
    ...segments.map((s) => [
      s.name,
      s.prefixes.map(formatPrefix).join(' '),
      machines
        .filter((m) => m.ports.some((p) => p.segment === s.name))
        .map((m) => m.name)
        .join(' '),
    ]),
  ]);
}

/** From row to column; a cell has a mark for each family. */
export function renderMatrix(
  pings: readonly Ping[],
  sources: readonly Endpoint[],
  targets: readonly Endpoint[],
): string[] {
  const cell = (from: Endpoint, to: Endpoint): string => {
    const found = pings.filter((p) => p.from === from.host && p.to === to.host);
    return from === to ? '·' : found.map((p) => mark(p.ok)).join('');
  };
  // "node1-pod1" in two lines: ten columns of them must fit
  const split = targets.map((t) =>
    t.kind === 'pod' ? [t.host.replace(/-[^-]*$/, ''), t.host.replace(/^.*-/, '')] : ['', t.host],
  );
  return table([
    ['', ...split.map((s) => s[0]!)],
    ['from \\ to', ...split.map((s) => s[1]!)],
    ...sources.map((s) => [s.host, ...targets.map((t) => cell(s, t))]),
  ]);
}

export function renderCheck(check: Check, paint: Paint): string {
  if (check.ok) return `${paint('green', mark(true))} ${check.what}: ${check.got}`;
  return `${paint('red', mark(false))} ${check.what}: got ${check.got}; want ${check.want}`;
}

export function renderSight({ from, to, where, packet }: Sight): string[] {
  if (!packet) return [`${from} > ${to} at ${where}: no packet`];
  const inner = `${packet.src} > ${packet.dst}  ${packet.what}`;
  const head = `${from} > ${to}, captured at ${where}:`;
  if (!packet.outer) return [head, `  plain  ${inner}`];
  const { src, dst, sourcePort, port, vni } = packet.outer;
  return [head, `  outer  ${src} > ${dst}  UDP ${sourcePort} > ${port}  VXLAN VNI ${vni}`, `  inner  ${inner}`];
}

export interface Row {
  name: string;
  /** Figures of the same minutes without pods between. */
  bare: Measurement[];
  figures: Measurement[];
}

const fixed = (value: number, digits: number): string => (Number.isFinite(value) ? value.toFixed(digits) : '-');

function cells(figures: readonly Measurement[], bare: readonly Measurement[], family: number): string[] {
  const of = (list: readonly Measurement[]) => list.filter((m) => m.family === family);
  const speeds = of(figures).flatMap((m) => m.gigabitsPerSecond);
  const share = median(speeds) / median(of(bare).flatMap((m) => m.gigabitsPerSecond));
  return [
    fixed(median(speeds), 1),
    `${fixed(Math.min(...speeds), 1)}-${fixed(Math.max(...speeds), 1)}`,
    `${fixed(share * 100, 0)}%`,
    fixed(median(of(figures).flatMap((m) => m.pingMicroseconds)), 0),
  ];
}

/** One table for one pair of places: bare first, then the modes. */
export function renderFigures(rows: readonly Row[]): string[] {
  const bare = rows.flatMap((r) => r.bare);
  const families = [...new Set(bare.map((m) => m.family))];
  const line = (name: string, figures: readonly Measurement[], base: readonly Measurement[]) => [
    name,
    ...families.flatMap((f) => cells(figures, base, f)),
  ];
  return table(
    [
      ['', ...families.flatMap((f) => [`IPv${f}`, '', '', ''])],
      ['', ...families.flatMap(() => ['Gbit/s', 'low-high', 'of bare', 'ping µs'])],
      line('node to node, no pods', bare, bare),
      ...rows.map((r) => line(r.name, r.figures, r.bare)),
    ],
    ['left', ...families.flatMap((): 'right'[] => ['right', 'right', 'right', 'right'])],
  );
}

export function renderCensus(before: Census, during: Census, after: Census): string[] {
  const keys = Object.keys(censusWords) as (keyof Census)[];
  return table(
    [
      ['', 'before', 'lab up', 'after'],
      ...keys.map((key) => [censusWords[key], `${before[key]}`, `${during[key]}`, `${after[key]}`]),
    ],
    ['left', 'right', 'right', 'right'],
  );
}
