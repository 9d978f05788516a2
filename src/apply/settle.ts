/** Steps that do not depend on each other: all are tried to the end, then the failures are thrown together. */

/** Throws the one failure, or an AggregateError of several with their messages joined. */
export async function settle(steps: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  const failures = (await Promise.allSettled(steps)).flatMap((s) =>
    s.status === 'rejected' ? [s.reason as Error] : [],
  );
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures, failures.map((f) => f.message).join('; '));
}
