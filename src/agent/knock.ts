/** Whether anybody answers at a port, if only that nobody listens there. */

import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { familyOf } from '../net/address.ts';
import type { Ping } from './ping.ts';

const patienceMs = 2000;

/** Knocks at a TCP port; undefined: nothing came. */
export function knock({ address, source }: Ping, port: number): Promise<'taken' | 'refused' | undefined> {
  const { promise, resolve } = Promise.withResolvers<'taken' | 'refused' | undefined>();
  const socket = connect({ host: address, port, ...(source && { localAddress: source }) });
  const end = (answer: 'taken' | 'refused' | undefined): void => {
    socket.destroy();
    resolve(answer);
  };
  socket.setTimeout(patienceMs, () => end(undefined));
  socket.on('connect', () => end('taken'));
  socket.on('error', (error: NodeJS.ErrnoException) => end(error.code === 'ECONNREFUSED' ? 'refused' : undefined));
  return promise;
}

/** Sends one datagram to a UDP port; whether the other side said that nobody listens there. */
export function knockByUdp({ address, source }: Ping, port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = createSocket(`udp${familyOf(address)}`);
  const end = (isAnswered: boolean): void => {
    clearTimeout(timer);
    socket.removeAllListeners().on('error', () => {});
    socket.close();
    resolve(isAnswered);
  };
  const timer = setTimeout(() => end(false), patienceMs);
  socket.on('error', (error: NodeJS.ErrnoException) => end(error.code === 'ECONNREFUSED'));
  socket.on('connect', () => socket.send('culvert'));
  socket.on('listening', () => socket.connect(port, address));
  socket.bind({ port: 0, ...(source && { address: source }) });
  return promise;
}
