/** Pings that go on while something else happens. */

import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

/** What became of them. */
export interface Pings {
  sent: number;
  lost: number;
  /** The longest time without an answer. */
  gapMs: number;
}

export interface Pinging {
  /** Waits for so many answers from now on; throws after ten seconds. */
  answers(count: number): Promise<void>;
  /** Ends it and answers what became of it. */
  stop(): Promise<Pings>;
}

const answerTimeoutMs = 10_000;
const answer = /^\[([\d.]+)\] \d+ bytes from /gm;

function read(text: string): Pings {
  const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(text) ?? [];
  const times = [...text.matchAll(answer)].map((m) => Number(m[1]) * 1000);
  return {
    sent: Number(sent),
    // the last one's answer may be on its way when ping ends
    lost: Math.max(0, Number(sent) - Number(received) - 1),
    gapMs: Math.max(...times.slice(1).map((t, i) => t - times[i]!)),
  };
}

/** Pings from a namespace until stopped. */
export function pinging(netns: string, address: string, everyMs = 10, env = process.env): Pinging {
  const ping = ['ping', '-nD', '-i', String(everyMs / 1000), address];
  const child = spawn('nsenter', [`--net=${netns}`, '--', ...ping], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  const { promise: closed, resolve, reject } = Promise.withResolvers<void>();
  child.once('error', reject).once('close', () => resolve());
  const answered = (): number => text.match(answer)?.length ?? 0;
  return {
    async answers(count) {
      const [from, end] = [answered(), Date.now() + answerTimeoutMs];
      while (answered() < from + count) {
        if (Date.now() > end)
          throw new Error(`${address} answered ${answered() - from} of ${count} pings in ten seconds`);
        await sleep(everyMs);
      }
    },
    async stop() {
      child.kill('SIGINT');
      await closed;
      return read(text);
    },
  };
}
