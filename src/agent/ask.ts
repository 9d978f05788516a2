/** Asks agents what they have made their hosts. */

import { get } from 'node:http';
import { text } from 'node:stream/consumers';
import type { ClusterNode } from '../plan/cluster.ts';
import type { Answer } from './mode-change.ts';
import type { NodeStatus } from './status.ts';

const answerTimeoutMs = 2000;

/** /status of an agent at an address. */
function statusAt(host: string, port: number): Promise<Answer> {
  const { promise, resolve } = Promise.withResolvers<Answer>();
  const fail = (reason: string): void => resolve(`does not answer at ${host} port ${port}: ${reason}`);
  const request = get({ host, port, path: '/status', timeout: answerTimeoutMs, agent: false }, (response) => {
    text(response).then(
      (body) => {
        try {
          const value = JSON.parse(body) as NodeStatus;
          if (response.statusCode === 200) resolve(value);
          else resolve(`is not ready: ${value.problems.join('; ')}`);
        } catch {
          fail(`HTTP ${response.statusCode}; is that a culvert agent of this version?`);
        }
      },
      (error: Error) => fail(error.message),
    );
  });
  request.on('timeout', () => request.destroy(new Error(`nothing within ${answerTimeoutMs} ms`)));
  request.on('error', (error: NodeJS.ErrnoException) =>
    fail(
      error.code === 'ECONNREFUSED' ? 'refused; its agent is down, or set listen: "[::]:9467" there' : error.message,
    ),
  );
  return promise;
}

/** A node by the first of its addresses that answers. */
export async function askNode(node: ClusterNode, port: number): Promise<Answer> {
  let last: Answer = '';
  for (const { text: host } of node.addresses) {
    last = await statusAt(host, port);
    if (typeof last !== 'string') return last.node === node.name ? last : `${host} answers as "${last.node}"`;
  }
  return last;
}
