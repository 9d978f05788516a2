/** What iperf3 measures between two namespaces. */

import { type ChildProcess, spawn } from 'node:child_process';
import { inside } from './netns.ts';

/** The output of a program that ends by itself. */
function output(argv: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const child = spawn(argv[0]!, argv.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
    }
    child.once('close', (status) => (status === 0 ? resolve(text) : reject(new Error(`${argv.join(' ')}: ${text}`))));
  });
}

function serve(netns: string, port: number): Promise<ChildProcess> {
  const argv = inside(netns, `iperf3 -s -1 --forceflush -p ${port}`);
  const child = spawn(argv[0]!, argv.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
  return new Promise((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => {
      if (chunk.toString().includes('listening')) resolve(child);
    });
    child.once('exit', (status) => reject(new Error(`iperf3 server ended with ${status}`)));
  });
}

let ports = 5300;

/** Bits per second of TCP payload that arrive at `to` from `from`, over so many seconds. `address` is `to`'s. */
export async function throughput(from: string, to: string, address: string, seconds = 5): Promise<number> {
  const port = ports++;
  const server = await serve(to, port);
  try {
    const json = await output(inside(from, `iperf3 -J -t ${seconds} -p ${port} -c ${address}`));
    return (JSON.parse(json) as { end: { sum_received: { bits_per_second: number } } }).end.sum_received
      .bits_per_second;
  } finally {
    server.kill();
  }
}
