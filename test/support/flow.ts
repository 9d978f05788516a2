/** Packets and bytes that flow between pods while something else happens, counted to the last one. */

import { spawn } from 'node:child_process';
import { patience } from './agents.ts';

const nsenter = (netns: string, argv: readonly string[]) =>
  spawn('nsenter', [`--net=${netns}`, '--', ...argv], { stdio: ['pipe', 'pipe', 'inherit'] });

async function outputOf(child: ReturnType<typeof nsenter>): Promise<string> {
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  await new Promise((resolve) => child.once('close', resolve));
  return out;
}

export interface Flow<T> {
  /** Ends it and answers what came of it. */
  stop(): Promise<T>;
}

/** Pings, 1,000 a second as far as the machine can, at least `count` of them and until stopped; all answers are waited for. */
export function pings(netns: string, address: string, count: number): Flow<{ sent: number; lost: number }> {
  let isStopped = false;
  const run = async () => {
    const total = { sent: 0, lost: 0 };
    while (!isStopped || total.sent < count) {
      const out = await outputOf(
        nsenter(netns, ['ping', '-q', '-i', String(0.001 * patience), '-c', '1000', '-W', '3', address]),
      );
      const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(out) ?? [];
      total.sent += Number(sent);
      total.lost += Number(sent) - Number(received);
    }
    return total;
  };
  const running = run();
  return {
    stop: () => {
      isStopped = true;
      return running;
    },
  };
}

const receiver = `
const hash = require('crypto').createHash('sha256'); let bytes = 0;
const server = require('net').createServer((c) => {
  c.on('data', (d) => { bytes += d.length; hash.update(d); });
  c.on('error', (e) => { console.log('broken: ' + e.message); process.exit(1); });
  c.on('end', () => { console.log(bytes + ' ' + hash.digest('hex')); c.end(); server.close(); });
}).listen(7000, '::', () => console.error('listening'));`;

/** Writes until its standard input ends. */
const sender = (address: string) => `
const crypto = require('crypto'); const hash = crypto.createHash('sha256'); let bytes = 0;
const c = require('net').connect(7000, '${address}', () => {
  const timer = setInterval(() => { if (c.writableNeedDrain) return; const d = crypto.randomBytes(60000); bytes += d.length; hash.update(d); c.write(d); }, 10);
  process.stdin.resume().on('end', () => { clearInterval(timer); c.end(); console.log(bytes + ' ' + hash.digest('hex')); });
});
c.on('error', (e) => { console.log('broken: ' + e.message); process.exit(1); });`;

/** One TCP connection, six megabytes a second; answers bytes and their hash as each end has them. */
export async function tcpStream(
  from: string,
  to: string,
  address: string,
): Promise<Flow<{ sent: string; received: string }>> {
  const server = spawn('nsenter', [`--net=${to}`, '--', process.execPath, '-e', receiver]);
  await new Promise((resolve) => server.stderr.once('data', resolve));
  const received = outputOf(server as unknown as ReturnType<typeof nsenter>);
  const client = nsenter(from, [process.execPath, '-e', sender(address)]);
  const sent = outputOf(client);
  return {
    async stop() {
      client.stdin.end();
      return { sent: await sent, received: await received };
    },
  };
}
