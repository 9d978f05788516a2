/** host-local as processes: many at once, killed at any moment, among very many leases. It needs no namespace, only its files. */

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Fields } from '../../src/decode.ts';
import { decodeRangeSets } from '../../src/net/range.ts';
import { Leases } from '../../src/store/leases.ts';
import { countCalls } from '../support/count-calls.ts';
import { binDir, run } from '../support/netns.ts';

const root = join(import.meta.dirname, '../..');

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'culvert-leases-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

type Json = Record<string, unknown>;

interface Ended {
  exit: number | undefined;
  json: Json | undefined;
}

interface Call {
  command: string;
  id: string;
  conf: Json;
  /** Ends it with SIGKILL after so many milliseconds. */
  killAfterMs?: number;
  /** Ends it with SIGKILL at so many file operations; runs it from source. */
  killAtCall?: number;
}

/** One execution in the background. */
function execute({ command, id, conf, killAfterMs, killAtCall }: Call): Promise<Ended> {
  const fromSource = ['--import', join(root, 'test/support/kill-at-call.ts'), join(root, 'src/main.ts')];
  const [file, args] = killAtCall ? [process.execPath, fromSource] : [join(binDir, 'host-local'), []];
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: id,
    CNI_IFNAME: 'eth0',
    CNI_NETNS: '/nowhere',
    CNI_PATH: binDir,
    CULVERT_CALLED_AS: 'host-local',
    ...(killAtCall ? { KILL_AT: String(killAtCall), KILL_BELOW: dir } : {}),
  };
  const child = spawn(file, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const timer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  let stdout = '';
  child.stdout.on('data', (text: Buffer) => {
    stdout += text.toString();
  });
  child.stdin.on('error', () => {}); // it may be killed before it reads
  child.stdin.end(JSON.stringify(conf));
  return new Promise((resolve) => {
    child.on('close', (exit) => {
      clearTimeout(timer);
      resolve({
        exit: exit ?? undefined,
        json: exit === null || stdout === '' ? undefined : (JSON.parse(stdout) as Json),
      });
    });
  });
}

const conf = (ranges: object[][], more: Json = {}): Json => ({
  cniVersion: '1.1.0',
  name: 'net',
  ...more,
  ipam: { type: 'host-local', dataDir: dir, ranges },
});

const dual = [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00::/64' }]];

const valid = (...ids: string[]): Json => ({
  'cni.dev/valid-attachments': ids.map((containerID) => ({ containerID, ifname: 'eth0' })),
});

const addressesIn = (result: Json | undefined): string[] =>
  ((result?.['ips'] ?? []) as { address: string }[]).map((ip) => ip.address.split('/')[0]!);

/** Leases as "address container"; whole ones only, or this throws. */
function leased(): string[] {
  if (!existsSync(join(dir, 'net'))) return [];
  const names = readdirSync(join(dir, 'net')).filter((name) => /^[0-9a-f]*[.:]/.test(name));
  return names
    .map((name) => {
      const [, id] = /^(.+)\r\neth0$/.exec(readFileSync(join(dir, 'net', name), 'utf8')) ?? [];
      if (!id) throw new Error(`${name} is no whole lease`);
      return `${name} ${id}`;
    })
    .sort();
}

/** The index as "address container", and whatever else lies in it as it is. */
function indexed(): string[] {
  if (!existsSync(join(dir, '.culvert/net'))) return [];
  const entries = readdirSync(join(dir, '.culvert/net'), { recursive: true, withFileTypes: true });
  return entries
    .filter((e) => e.isFile())
    .map((e) => `${e.name.split('@')[0]} ${readFileSync(join(e.parentPath, e.name), 'utf8').split('\r\n')[0]}`)
    .sort();
}

/** mulberry32: numbers from 0 to 1, the same for the same seed. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

describe('many at once', () => {
  it('50 ADDs share out 29 addresses, and the rest are told that there are no more', async () => {
    const small = conf([[{ subnet: '10.1.0.0/27' }]]);
    const ended = await Promise.all(
      Array.from({ length: 50 }, (_, i) => execute({ command: 'ADD', id: `c${i}`, conf: small })),
    );
    const given = ended.flatMap((e) => addressesIn(e.json));
    expect(new Set(given).size).toBe(29);
    expect(given).toHaveLength(29);
    const refused = ended.filter((e) => e.exit === 1).map((e) => e.json!['code']);
    expect(refused).toEqual(new Array(21).fill(101));
    expect(leased()).toHaveLength(29);
    expect(indexed()).toEqual(leased());
  });

  it('a full range in motion serves everybody: six containers come and go in six addresses', async () => {
    const tight = conf([[{ subnet: '10.1.0.0/28', rangeStart: '10.1.0.2', rangeEnd: '10.1.0.7' }]]);
    const worker = async (i: number): Promise<void> => {
      for (let round = 0; round < 8; round++) {
        const id = `w${i}r${round}`;
        const { exit, json } = await execute({ command: 'ADD', id, conf: tight });
        expect(json).toMatchObject({ ips: expect.anything() });
        expect(exit).toBe(0);
        // the one file, not leased(): the others free theirs meanwhile
        const address = addressesIn(json)[0]!;
        expect(readFileSync(join(dir, 'net', address), 'utf8')).toBe(`${id}\r\neth0`);
        // two at once, as a runtime that lost patience sends them
        const dels = [1, 2].map(() => execute({ command: 'DEL', id, conf: tight }));
        for (const del of await Promise.all(dels)) expect(del.exit).toBe(0);
      }
    };
    await Promise.all([0, 1, 2, 3, 4, 5].map(worker));
    expect(leased()).toEqual([]);
    expect(indexed()).toEqual([]);
  });
});

describe('killed', () => {
  const add = (id: string) => execute({ command: 'ADD', id, conf: conf(dual) });
  const del = (id: string) => execute({ command: 'DEL', id, conf: conf(dual) });
  const c0 = ['10.1.0.2 c0', 'fd00::2 c0'];

  /** A copy of the folder with its hard links, to mend the same damage in several ways. */
  const keep = (from: string, to: string): void => {
    rmSync(to, { recursive: true, force: true });
    run(['cp', '-a', from, to]);
  };

  /**
   * Runs a command that dies at its 1st, 2nd … file operation, until it lives to the end. `then` looks at what is left and mends
   * it; then the same damage is mended by a sweep for GC with c0 alone valid, and `kept` stays. Answers the number of file operations.
   */
  async function killEverywhere(command: string, more: Json, then: () => Promise<void>, kept = c0): Promise<number> {
    const [before, left] = [`${dir}.before`, `${dir}.left`];
    keep(dir, before);
    try {
      for (let n = 1; ; n++) {
        const ended = await execute({ command, id: 'c1', conf: conf(dual, more), killAtCall: n });
        if (ended.exit !== undefined) {
          expect(ended.exit).toBe(0);
          return n - 1;
        }
        keep(dir, left);
        await then();
        keep(left, dir);
        new Leases(dir, 'net').sweep((owner) => owner.containerId === 'c0');
        expect(leased(), `${command} died at ${n}`).toEqual(kept);
        expect(indexed(), `${command} died at ${n}`).toEqual(kept);
        keep(before, dir);
      }
    } finally {
      for (const copy of [before, left]) rmSync(copy, { recursive: true, force: true });
    }
  }

  it('at any file operation of ADD: DEL, another ADD or GC mends it', async () => {
    await add('c0');
    const points = await killEverywhere('ADD', {}, async () => {
      leased();
      const other = await add('c2');
      expect(other.exit).toBe(0);
      expect((await del('c1')).exit).toBe(0);
      const c2 = addressesIn(other.json).map((a) => `${a} c2`);
      expect(leased()).toEqual([...c0, ...c2].sort());
      expect(indexed()).toEqual(leased());
    });
    expect(points).toBeGreaterThan(20);
  }, 600_000);

  it('at any file operation of the very first ADD: another ADD and DEL, or GC, mend it', async () => {
    const points = await killEverywhere(
      'ADD',
      {},
      async () => {
        expect((await add('c0')).exit).toBe(0);
        expect((await del('c1')).exit).toBe(0);
        expect(leased().map((lease) => lease.split(' ')[1])).toEqual(['c0', 'c0']);
        expect(indexed()).toEqual(leased());
      },
      [],
    );
    expect(points).toBeGreaterThan(20);
  }, 600_000);

  it('at any file operation of DEL: the next DEL or GC mends it', async () => {
    for (const id of ['c0', 'c1']) await add(id);
    const points = await killEverywhere('DEL', {}, async () => {
      leased();
      expect((await del('c1')).exit).toBe(0);
      expect(leased()).toEqual(c0);
      expect(indexed()).toEqual(c0);
    });
    expect(points).toBeGreaterThan(10);
  }, 600_000);

  it('at any file operation of GC: the next GC mends it', async () => {
    for (const id of ['c0', 'c1']) await add(id);
    writeFileSync(join(dir, 'net/10.1.0.9'), 'c9\r\neth0');
    const points = await killEverywhere('GC', valid('c0'), async () => {
      expect(leased()).toEqual(expect.arrayContaining(c0));
    });
    expect(points).toBeGreaterThan(20);
  }, 600_000);

  it('80 times at random moments in a crowd: GC leaves exactly the survivors', async () => {
    const seed = 20261121;
    const next = random(seed);
    const usual = await crowdMs();
    // work on files is at the end of an execution
    const killAfterMs = () => usual * (0.4 + next() * 0.8);
    const survivors = new Map<string, string[]>();
    let killed = 0;
    let lived = 0;
    const worker = async (i: number): Promise<void> => {
      for (let round = 0; killed < 80; round++) {
        const id = `w${i}r${round}`;
        const added = await execute({ command: 'ADD', id, conf: conf(dual), killAfterMs: killAfterMs() });
        if (added.exit === undefined) killed++;
        if (added.exit !== 0) continue;
        survivors.set(id, addressesIn(added.json));
        lived++;
        if (next() < 0.3) continue;
        survivors.delete(id);
        const deleted = await execute({ command: 'DEL', id, conf: conf(dual), killAfterMs: killAfterMs() });
        if (deleted.exit === undefined) killed++;
      }
    };
    await Promise.all([0, 1, 2, 3].map(worker));
    const left = leased().length;
    expect((await execute({ command: 'GC', id: '', conf: conf(dual, valid(...survivors.keys())) })).exit).toBe(0);
    const want = [...survivors].flatMap(([id, addresses]) => addresses.map((a) => `${a} ${id}`)).sort();
    expect(leased(), `seed ${seed}`).toEqual(want);
    expect(indexed(), `seed ${seed}`).toEqual(want);
    console.log(
      `seed ${seed}: ${killed} killed, ${lived} ADDs lived, GC freed ${left - want.length} of ${left} leases`,
    );
  });

  /** How long an execution takes when four run at a time: half of them take longer. */
  async function crowdMs(): Promise<number> {
    const times: number[] = [];
    const worker = async (i: number): Promise<void> => {
      for (let round = 0; round < 5; round++) {
        const started = performance.now();
        await execute({ command: 'CHECK', id: `x${i}`, conf: conf(dual) });
        times.push(performance.now() - started);
      }
    };
    await Promise.all([0, 1, 2, 3].map(worker));
    return times.sort((a, b) => a - b)[10]!;
  }
});

describe('60,000 leases', () => {
  it('cost an ADD or a DEL no more file operations than an empty store', () => {
    const sets = Fields.read({ ranges: [[{ subnet: '10.1.0.0/16' }]] }, '', (f) =>
      decodeRangeSets(f, 'ranges', new Map()),
    );
    const addAndDel = (dataDir: string) => {
      const leases = new Leases(dataDir, 'net');
      const owner = { containerId: 'new', ifname: 'eth0' };
      const add = countCalls(dir, () => void leases.reserve(owner, 0, sets[0]!));
      const again = countCalls(dir, () => expect(() => leases.reserve(owner, 0, sets[0]!)).toThrow('already leased'));
      const del = countCalls(dir, () => expect(leases.release(owner)).toHaveLength(1));
      return { add, again, del };
    };
    const empty = join(dir, 'empty');
    const full = join(dir, 'full');
    mkdirSync(join(full, 'net'), { recursive: true });
    for (let i = 2; i < 60_002; i++) writeFileSync(join(full, 'net', `10.1.${i >> 8}.${i & 255}`), `c${i}\r\neth0`);
    writeFileSync(join(full, 'net/last_reserved_ip.0'), '10.1.234.97');
    const first = addAndDel(full);
    // the first ADD sees leases that are not in the index, and stops counting them after 1,024
    expect(first.add.names).toBeLessThan(1030);
    addAndDel(empty);
    const [among, alone] = [addAndDel(full), addAndDel(empty)];
    for (const step of ['add', 'again', 'del'] as const) {
      expect(among[step].calls, step).toBeLessThanOrEqual(alone[step].calls);
      expect(among[step].names, step).toBeLessThan(70);
    }
    console.log(`file operations alone: ${JSON.stringify(alone)}; among 60,000 leases: ${JSON.stringify(among)}`);
    const leases = new Leases(full, 'net');
    const times = Array.from({ length: 101 }, (_, i) => {
      const started = performance.now();
      leases.reserve({ containerId: `t${i}`, ifname: 'eth0' }, 0, sets[0]!);
      return performance.now() - started;
    });
    console.log(`an ADD among 60,000 leases: ${times.sort((a, b) => a - b)[50]!.toFixed(2)} ms in the store`);
  });
});
