/** Servers and clients for tests: a server answers every connection and datagram with its name and the address that asked. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { inside } from './netns.ts';

const server = `
const [name, port] = process.argv.slice(1);
const text = (address) => name + ' ' + address.replace('::ffff:', '') + '\\n';
const tcp = require('node:net').createServer((s) => s.on('error', () => {}).end(text(s.remoteAddress)));
const udp = require('node:dgram').createSocket('udp6');
udp.on('message', (_, from) => udp.send(text(from.address), from.port, from.address));
tcp.listen(+port, '::', () => udp.bind(+port, '::', () => console.log('ready')));`;

const udpClient = `
const [address, port, from] = process.argv.slice(1);
const udp = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
udp.on('message', (m) => { process.stdout.write(m); process.exit(); });
udp.bind(+from, () => udp.send('x', +port, address));
setTimeout(() => process.exit(1), 700);`;

/** Servers of one test; `close` ends them. */
export class Services {
  readonly #children: ChildProcess[] = [];

  /** Listens at a tcp and a udp port of the namespace, every address of both families. */
  async serve(netns: string, name: string, port = 80): Promise<void> {
    await this.start([...inside(netns, process.execPath), '-e', server, name, String(port)]);
  }

  /** A program that serves once it has said something. */
  async start(argv: readonly string[]): Promise<void> {
    const child = spawn(argv[0]!, argv.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#children.push(child);
    await new Promise<void>((resolve, reject) => {
      child.stdout.once('data', () => resolve());
      child.once('exit', (status) => reject(new Error(`${argv.join(' ')} ended with ${status}`)));
    });
  }

  close(): void {
    for (const child of this.#children) child.kill('SIGKILL');
  }
}

/** What a tcp connection from the namespace is answered: name and address, or undefined when nobody answers. */
export function askTcp(netns: string, address: string, port: number): string | undefined {
  const line = `exec 3<>/dev/tcp/${address}/${port} && read -t 2 -u 3 line && echo "$line"`;
  const options = { encoding: 'utf8', timeout: 1500 } as const;
  const { stdout } = spawnSync('nsenter', [`--net=${netns}`, '--', 'bash', '-c', line], options);
  return stdout.trim() || undefined;
}

/** The same of one datagram, sent from a port that stays the same, so that a second one belongs to the same flow. */
export function askUdp(netns: string, address: string, port: number, from = 40_000): string | undefined {
  const argv = [...inside(netns, process.execPath), '-e', udpClient, address, String(port), String(from)];
  return spawnSync(argv[0]!, argv.slice(1), { encoding: 'utf8' }).stdout.trim() || undefined;
}
