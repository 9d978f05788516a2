/** Steps that do not need each other's success: all are tried to the end, then the failures are thrown together. */

/** Throws the one failure, or an AggregateError of several with their messages joined. */
export async function settle(steps: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  const failures = (await Promise.allSettled(steps)).flatMap((s) =>
    s.status === 'rejected' ? [s.reason as Error] : [],
  );
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures, failures.map((f) => f.message).join('; '));
}

/** The same one after the other. */
export async function settleInTurn(steps: readonly (() => Promise<unknown> | undefined)[]): Promise<void> {
  const begun: Promise<unknown>[] = [];
  for (const step of steps) {
    const work = (async () => step())();
    begun.push(work);
    await work.catch(() => {});
  }
  await settle(begun);
}
