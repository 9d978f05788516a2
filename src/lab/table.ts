/** Text tables: columns as wide as their cells, two blanks apart; numbers to the right where asked. */

export type Align = 'left' | 'right';

/** Lines of a table; the first row is the heading. `align` is by column, left where it says nothing. */
export function table(rows: readonly (readonly string[])[], align: readonly Align[] = []): string[] {
  const columns = Math.max(0, ...rows.map((r) => r.length));
  const widths = Array.from({ length: columns }, (_, i) => Math.max(...rows.map((r) => [...(r[i] ?? '')].length)));
  return rows.map((row) =>
    row
      .map((cell, i) => {
        const blanks = ' '.repeat(widths[i]! - [...cell].length);
        return align[i] === 'right' ? blanks + cell : cell + blanks;
      })
      .join('  ')
      .trimEnd(),
  );
}
