/** The cluster view from a file: YAML that people or a configuration tool write, watched for changes. No datastore at all. */

import { createHash } from 'node:crypto';
import { type FSWatcher, readFileSync, realpathSync, type Stats, statSync, watch } from 'node:fs';
import { dirname } from 'node:path';
import { ConfigError } from '../errors.ts';
import type { ClusterView } from '../plan/cluster.ts';
import { NodeList } from './node-list.ts';
import { ViewDecoder } from './view.ts';

/** Where the cluster's nodes come from. */
export interface ClusterSource {
  /** The cluster as it is now. Throws ConfigError when what is there is wrong; the same error object for as long as it stays so. */
  read(): ClusterView;
  /** Calls `changed` whenever reading again may answer something else, until the signal. */
  watch(changed: () => void, signal: AbortSignal): void;
  /** Remarks on what was read last: unknown keys. */
  readonly notes: readonly string[];
  /** What is wrong though `read` answers: parts that were left out, an answer that is not of today. */
  readonly problems: readonly string[];
  /** What an error of `read` means for those who have read before. */
  readonly whenWrong: string;
  /** An agent that starts waits for what is wrong to be put right, and does not end. */
  readonly mendsItself: boolean;
  /** When `read` can be asked first. */
  readonly settled: Promise<void>;
  /** Takes what an operator must know of this node at present, by reason; where there is nobody to tell, nothing takes it. */
  stand?(findings: ReadonlyMap<string, string>): void;
}

/** What tells one version of a file from the next, also when it is replaced by rename or a symbolic link is turned. */
const versionOf = (s: Stats): string => `${s.dev}:${s.ino}:${s.size}:${s.mtimeMs}:${s.ctimeMs}`;

/** By this nodes tell each other which text they have read. */
export const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);

export class FileSource implements ClusterSource {
  readonly problems: readonly string[] = [];
  readonly whenWrong = 'the cluster file is wrong, the last right one stays in force';
  readonly mendsItself = false;
  readonly settled = Promise.resolve();
  readonly #file: string;
  readonly #list = new NodeList();
  readonly #decoder = new ViewDecoder();
  #version = '';
  #read: { view: ClusterView } | { error: ConfigError } | undefined;
  notes: string[] = [];

  constructor(file: string) {
    this.#file = file;
  }

  read(): ClusterView {
    const version = this.#stat();
    if (version !== this.#version || !this.#read) {
      this.#version = version;
      this.#read = this.#load();
    }
    if ('error' in this.#read) throw this.#read.error;
    return this.#read.view;
  }

  #stat(): string {
    const stats = statSync(this.#file, { throwIfNoEntry: false });
    return stats ? versionOf(stats) : 'absent';
  }

  #load(): { view: ClusterView } | { error: ConfigError } {
    const notes: string[] = [];
    try {
      const text = readFileSync(this.#file, 'utf8');
      const view = this.#decoder.decode(this.#list.parse(text, this.#file), notes);
      this.notes = notes;
      return { view: { ...view, digest: digestOf(text) } };
    } catch (error) {
      if (error instanceof ConfigError) return { error };
      const code = (error as NodeJS.ErrnoException).code;
      if (!code) throw error;
      const got = code === 'ENOENT' ? 'no such file' : (error as Error).message;
      return { error: new ConfigError([{ path: this.#file, got, want: 'a readable cluster file' }]) };
    }
  }

  /**
   * Watches folders, not the file: editors write a new file and rename it over the old one, and a mounted ConfigMap turns a
   * symbolic link in the file's folder.
   */
  watch(changed: () => void, signal: AbortSignal): void {
    const watchers = new Map<string, FSWatcher>();
    const follow = (): void => {
      for (const folder of foldersOf(this.#file)) {
        if (watchers.has(folder)) continue;
        try {
          const watcher = watch(folder, { persistent: false }, () => {
            follow();
            if (this.#stat() !== this.#version) changed();
          });
          watcher.on('error', () => {
            watcher.close();
            watchers.delete(folder);
          });
          watchers.set(folder, watcher);
        } catch {
          // the folder is gone for now; the periodic look finds it again
        }
      }
    };
    follow();
    signal.addEventListener('abort', () => {
      for (const watcher of watchers.values()) watcher.close();
    });
  }
}

/** The folder of the name and the folder of the file it leads to. */
function foldersOf(file: string): Set<string> {
  const folders = new Set([dirname(file)]);
  try {
    folders.add(dirname(realpathSync(file)));
  } catch {
    // no file yet
  }
  return folders;
}
