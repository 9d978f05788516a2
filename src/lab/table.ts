/** Text tables: columns as wide as their cells, two blanks apart; numbers to the right where asked. */

export type Align = 'left' | 'right';

/** Characters, not UTF-16 units. */
const widthOf = (cell: string): number => (isAscii.test(cell) ? cell.length : [...cell].length);
const isAscii = /^[\x20-\x7e]*$/;

/** Lines of a table; the first row is the heading. `align` is by column, left where it says nothing. */
export function table(rows: readonly (readonly string[])[], align: readonly Align[] = []): string[] {
  const columns = rows.reduce((most, row) => Math.max(most, row.length), 0);
  const widths = new Array<number>(columns).fill(0);
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i]!, widthOf(cell));
  return rows.map((row) =>
    row
      .map((cell, i) => {
        const blanks = ' '.repeat(widths[i]! - widthOf(cell));
        return align[i] === 'right' ? blanks + cell : cell + blanks;
      })
      .join('  ')
      .trimEnd(),
  );
}
