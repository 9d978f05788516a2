/** Rows as text: 100 columns, one line a subject, those compared below each other. */

import { table } from '../../src/lab/table.ts';
import { type Figures, isMet, type Row, ratioTo, type Unit } from './measure.ts';

/** Three digits that say something. */
function number(value: number, unit: Unit): string {
  if (unit === 'count') return String(value);
  const text =
    value < 9.95 ? value.toFixed(2) : value < 99.5 ? value.toFixed(1) : Math.round(value).toLocaleString('en');
  return `${text} ${unit}`;
}

function spread({ n, p10, p90 }: Figures, unit: Unit): string {
  return n < 2 ? '' : `${number(p10, unit).split(' ')[0]} – ${number(p90, unit).split(' ')[0]}`;
}

function verdict(row: Row, figures: Figures): string {
  const { target } = row;
  const isTargets = target && (target.over === undefined ? figures === row.figures[0] : figures.label === target.over);
  if (!isTargets) return '';
  const [sign, value] = 'atMost' in target ? ['≤', target.atMost] : ['≥', target.atLeast];
  const limit = `${sign} ${target.over === undefined ? number(value, row.unit) : `${value} ×`}`;
  return `${limit} ${isMet(row) ? 'met' : 'MISSED'}`;
}

const columns = ['left', 'right', 'right', 'right', 'right', 'left'] as const;

/** A section's table; the fifth column says how many times each other subject's median the first one's is. */
export function render(title: string, rows: readonly Row[]): string {
  const [heading, ...lines] = table(
    [
      [title, 'n', 'median', 'p10 – p90', 'ours is', 'target'],
      ...rows.flatMap((row) =>
        row.figures.map((f, i) => [
          `  ${f.label}`,
          String(f.n),
          number(f.median, row.unit),
          spread(f, row.unit),
          i === 0 || row.unit === 'count' ? '' : `${ratioTo(row, f).toFixed(2)} ×`,
          verdict(row, f),
        ]),
      ),
    ],
    columns,
  );
  const blocks = rows.flatMap((row) => [row.work, ...lines.splice(0, row.figures.length)]);
  return `${[heading, ...blocks].join('\n')}\n`;
}
