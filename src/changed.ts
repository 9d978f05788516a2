/** What has changed between two lists of thousands of items, most of which are the same objects in the same places. */

/** In both lists the same stands before `start`, and the same from `end` on (`endBefore` in the one before). */
export interface Middle {
  readonly start: number;
  readonly end: number;
  readonly endBefore: number;
}

export function middleOf<T>(
  before: readonly T[],
  now: readonly T[],
  isSame: (before: T, now: T) => boolean = (a, b) => a === b,
): Middle {
  const shorter = Math.min(before.length, now.length);
  let start = 0;
  while (start < shorter && isSame(before[start]!, now[start]!)) start++;
  let [end, endBefore] = [now.length, before.length];
  while (end > start && endBefore > start && isSame(before[endBefore - 1]!, now[end - 1]!)) {
    end--;
    endBefore--;
  }
  return { start, end, endBefore };
}

/** Items that went and items that came. An item that is there twice now, and was there once, came. */
export function changedItems<T>(before: readonly T[], now: readonly T[]): { gone: T[]; fresh: T[] } {
  const { start, end, endBefore } = middleOf(before, now);
  const gone = new Set(before.slice(start, endBefore));
  const fresh = now.slice(start, end).filter((item) => !gone.delete(item));
  return { gone: [...gone], fresh };
}
