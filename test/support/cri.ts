/**
 * The Kubernetes container runtime interface as kubelet speaks it: gRPC on a Unix socket. Messages are protobuf's text format,
 * turned into bytes and back by protoc (package protobuf-compiler); the transport is Node's own HTTP/2.
 */

import { spawnSync } from 'node:child_process';
import { type ClientHttp2Session, connect } from 'node:http2';
import { createConnection } from 'node:net';
import { join } from 'node:path';

const dir = import.meta.dirname;

/** Bytes of a message from its text, or text from its bytes. */
function protoc(what: 'encode' | 'decode', message: string, input: string | Buffer): Buffer {
  const argv = [`--${what}=runtime.v1.${message}`, `--proto_path=${dir}`, join(dir, 'cri.proto')];
  const r = spawnSync('protoc', argv, { input });
  if (r.status !== 0) throw new Error(`protoc --${what} ${message}: ${r.error?.message ?? r.stderr.toString()}`);
  return r.stdout;
}

/** gRPC's frame: not compressed, the length, the message. */
function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** One unary call. Throws with the runtime's words unless the status is 0. */
function unary(session: ClientHttp2Session, method: string, message: Buffer): Promise<Buffer> {
  const path = `/runtime.v1.RuntimeService/${method}`;
  const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' };
  return new Promise((resolve, reject) => {
    const stream = session.request(headers);
    const chunks: Buffer[] = [];
    let status: unknown;
    let why: unknown;
    const read = (fields: Record<string, unknown>): void => {
      status ??= fields['grpc-status'];
      why ??= fields['grpc-message'];
    };
    stream.on('response', read);
    stream.on('trailers', read);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', reject);
    stream.on('end', () => {
      if (Number(status) === 0) resolve(Buffer.concat(chunks).subarray(5));
      else reject(new Error(`${method}: status ${status}: ${decodeURIComponent(String(why))}`));
    });
    stream.end(frame(message));
  });
}

/** Calls a method of RuntimeService at a socket: text of the request → text of the response. */
export async function callCri(socket: string, method: string, request: string): Promise<string> {
  const session = connect('http://localhost', { createConnection: () => createConnection(socket) });
  try {
    const failed = new Promise<never>((_, reject) => session.on('error', reject));
    const bytes = protoc('encode', `${method}Request`, request);
    const answer = await Promise.race([unary(session, method, bytes), failed]);
    return protoc('decode', `${method}Response`, answer).toString();
  } finally {
    session.close();
  }
}
