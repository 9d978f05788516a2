/** An agent is a list of these, running side by side until told to stop; signals, servers and watchers are tasks too. */

export interface Task {
  readonly name: string;
  /** Runs until the signal; a rejection ends the agent. */
  run(signal: AbortSignal): Promise<void>;
  /** Why it is not ready; undefined when it is. */
  notReady(): string | undefined;
}

/** Resolves after some time or at the signal, whichever is first. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  const ended = (): void => resolve();
  signal?.addEventListener('abort', ended);
  await promise;
  // signals live as long as the agent: what listens to them must not pile up
  signal?.removeEventListener('abort', ended);
  clearTimeout(timer);
}
