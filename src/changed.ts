/** What has changed between two lists of thousands of items, most of which are the same objects in the same places. */

/** In both lists the same stands before `start`, and the same from `end` on (`endBefore` in the one before). */
export interface Middle {
  readonly start: number;
  readonly end: number;
  readonly endBefore: number;
}

/** By nothing but comparing objects: to call a function for each takes ten times as long. */
export function middleOf<T>(before: readonly T[], now: readonly T[]): Middle {
  const shorter = Math.min(before.length, now.length);
  let start = 0;
  while (start < shorter && before[start] === now[start]) start++;
  let [end, endBefore] = [now.length, before.length];
  while (end > start && endBefore > start && before[endBefore - 1] === now[end - 1]) {
    end--;
    endBefore--;
  }
  return { start, end, endBefore };
}

/** Items that went and items that came, each as often as it did. */
export function changedItems<T>(before: readonly T[], now: readonly T[]): { gone: T[]; fresh: T[] } {
  const { start, end, endBefore } = middleOf(before, now);
  const left = new Map<T, number>();
  for (let i = start; i < endBefore; i++) left.set(before[i]!, (left.get(before[i]!) ?? 0) + 1);
  const fresh = now.slice(start, end).filter((item) => {
    const count = left.get(item) ?? 0;
    if (count > 0) left.set(item, count - 1);
    return count === 0;
  });
  return { gone: [...left].flatMap(([item, count]) => Array.from({ length: count }, () => item)), fresh };
}
