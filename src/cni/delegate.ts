/**
 * Delegation (spec section 4): running another plugin found on CNI_PATH with the same environment and the complete
 * configuration. Our own plugins never come here: the caller asks `isOwn` first and calls them in-process.
 */

import { spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';
import { isObject } from '../decode.ts';
import { CniError } from '../errors.ts';
import { code } from './error.ts';
import type { Request, Result } from './types.ts';
import { decodeResult } from './version.ts';

/** The executable a plugin type stands for. Throws CniError 7 when the name is no file name, 100 when no directory has it. */
export function findPlugin(type: string, request: Request): string {
  if (type === '' || type.includes('/') || type.includes('\0') || type === '.' || type === '..') {
    throw new CniError(code.invalidConfig, `ipam.type: got ${JSON.stringify(type)}, want the file name of a plugin`);
  }
  for (const dir of request.path) {
    const file = join(dir, type);
    try {
      accessSync(file, constants.X_OK);
      if (statSync(file).isFile()) return file;
    } catch {
      // not here: the next directory
    }
  }
  throw new CniError(code.command, `failed to find plugin "${type}" in path [${request.path.join(' ')}]`);
}

/** Whether a file is this very executable, by whatever link: one inode. */
export function isOwn(file: string, own: string): boolean {
  const a = statSync(file, { throwIfNoEntry: false });
  const b = statSync(own, { throwIfNoEntry: false });
  return a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev;
}

/** Takes what a plugin writes to standard error. */
export type Stderr = (text: string) => void;

/** Runs it and answers what it wrote to standard output. Throws its error object as CniError. */
async function execute(file: string, command: Request['command'], request: Request, stderr: Stderr): Promise<string> {
  const child = spawn(file, [], { env: { ...request.env, CNI_COMMAND: command }, stdio: 'pipe' });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', stderr);
  child.stdin.on('error', () => {}); // it may end without reading; its exit code tells
  child.stdin.end(request.stdin);
  const exit = await new Promise<number | string>((resolve, reject) => {
    child.on('error', (error) =>
      reject(new CniError(code.command, `cannot run ${file}: ${error.message}`, '', { cause: error })),
    );
    child.on('close', (status, signal) => resolve(status ?? signal ?? 'no exit code'));
  });
  if (exit === 0) return stdout;
  throw errorOf(file, exit, stdout);
}

function errorOf(file: string, exit: number | string, stdout: string): CniError {
  try {
    const value: unknown = JSON.parse(stdout);
    if (isObject(value) && typeof value['code'] === 'number') {
      return new CniError(value['code'], String(value['msg'] ?? ''), String(value['details'] ?? ''));
    }
  } catch {
    // no error object: say what there was
  }
  return new CniError(code.command, `plugin ${file} failed with ${exit}`, stdout.slice(0, 1000));
}

/** ADD of a delegated plugin; when it fails, its DEL runs before the error is thrown (spec section 4). */
export async function delegateAdd(file: string, request: Request, stderr: Stderr): Promise<Result> {
  try {
    const stdout = await execute(file, 'ADD', request, stderr);
    let value: unknown;
    try {
      value = JSON.parse(stdout);
    } catch (error) {
      throw new CniError(
        code.decoding,
        `plugin ${file} answered no JSON: ${(error as Error).message}`,
        stdout.slice(0, 1000),
        { cause: error },
      );
    }
    return decodeResult(value, request.cniVersion, 'result');
  } catch (error) {
    await execute(file, 'DEL', request, stderr).catch(() => {}); // the ADD's error is the one to tell
    throw error;
  }
}

/** Any other verb of a delegated plugin. */
export async function delegate(file: string, request: Request, stderr: Stderr): Promise<void> {
  await execute(file, request.command, request, stderr);
}
