/** A lab that stays up for people: `up` holds it, `exec` and `down` speak to it over a socket, one line of JSON each way. */

import { rmSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Ran } from './control.ts';
import type { VmLab } from './lab.ts';

/** One at a time on a machine: a lab wants all the processors there are. */
const socketFile = '/run/culvert-vm-lab';

type Request = { kind: 'exec'; node: string; script: string } | { kind: 'down' };

type Answer = { ran: Ran } | { error: string };

async function answer(lab: VmLab, request: Request): Promise<Answer> {
  if (request.kind === 'down') return { ran: { exitCode: 0, stdout: '', stderr: '' } };
  try {
    return { ran: await lab.node(request.node).vm.run(request.script) };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

/** Resolves when somebody asks for the lab's end, by `down` or by a signal. */
export async function serve(lab: VmLab): Promise<void> {
  const ended = Promise.withResolvers<void>();
  const server = createServer((socket: Socket) => {
    socket.on('error', () => {}); // who asked has gone
    createInterface({ input: socket }).once('line', async (line) => {
      const request = JSON.parse(line) as Request;
      socket.end(`${JSON.stringify(await answer(lab, request))}\n`);
      if (request.kind === 'down') ended.resolve();
    });
  });
  rmSync(socketFile, { force: true });
  server.listen(socketFile);
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => ended.resolve());
  await ended.promise;
  server.close();
  rmSync(socketFile, { force: true });
}

function isAbsent(error: unknown): boolean {
  return ['ENOENT', 'ECONNREFUSED'].includes((error as NodeJS.ErrnoException).code ?? '');
}

/** Asks the lab that is up; undefined when there is none. */
async function ask(request: Request): Promise<Answer | undefined> {
  try {
    const socket = createConnection(socketFile);
    socket.write(`${JSON.stringify(request)}\n`);
    let text = '';
    for await (const chunk of socket) text += chunk;
    return JSON.parse(text) as Answer;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

export const isUp = async (): Promise<boolean> => (await ask({ kind: 'exec', node: '', script: '' })) !== undefined;

/** Runs a script on a node of the lab that is up. Throws an Error when there is no such lab or node. */
export async function execOn(node: string, script: string): Promise<Ran> {
  const got = await ask({ kind: 'exec', node, script });
  if (!got) throw new Error('no lab is up: scripts/vm-lab up');
  if ('error' in got) throw new Error(got.error);
  return got.ran;
}

/** Ends the lab that is up; whether there was one. */
export const endLab = async (): Promise<boolean> => (await ask({ kind: 'down' })) !== undefined;
