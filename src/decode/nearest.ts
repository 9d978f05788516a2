/** The word that was probably meant. */

/** How many letters differ at most for a word to be taken for another: one, and one more for every four letters, four at most. */
const tolerance = (word: string): number => Math.min(4, 1 + Math.floor(word.length / 4));

const plain = (word: string): string => word.toLowerCase().replace(/[^a-z0-9]/g, '');

/** Letters to insert, remove, replace or swap with their neighbour on the way from one word to the other (Damerau, optimal string alignment). */
export function distance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let least = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, before[j - 2]! + 1);
      next.push(least);
    }
    before = row;
    row = next;
  }
  return row[b.length]!;
}

/** The nearest of the words, whatever their case and punctuation; undefined when none is near enough to be meant. */
export function nearest(word: string, words: Iterable<string>): string | undefined {
  if (word.length > 64) return undefined; // nobody's typing error
  const letters = plain(word);
  let found: string | undefined;
  let least = tolerance(word) + 1;
  for (const candidate of words) {
    const others = plain(candidate);
    if (Math.abs(letters.length - others.length) >= least) continue; // so many steps at least
    const steps = distance(letters, others);
    if (steps >= least || steps >= candidate.length) continue;
    found = candidate;
    least = steps;
  }
  return found;
}
