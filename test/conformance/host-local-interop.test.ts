/** A node moving from the reference plugins to this suite and back with pods running: one folder of leases, two programs. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect } from 'vitest';
import { it, needs } from '../support/case.ts';
import { dataDir, lease, leased, leaseFiles } from '../support/ipam.ts';
import { binDir, type Host } from '../support/netns.ts';
import { failureOf, fine, type Pod, resultOf } from '../support/pod.ts';
import { referenceDir } from '../support/suite.ts';

const suites = [
  ['the reference', 'ours', referenceDir ?? '', binDir],
  ['ours', 'the reference', binDir, referenceDir ?? ''],
] as const;

const subnet = '10.1.2.0/29';
const dual = { ranges: [[{ subnet }], [{ subnet: 'fd00::/64' }]] };
const add = (pod: Pod, bin: string) => resultOf(pod.call('ADD', { bin, path: bin }));
const attach = (host: Host, id?: string) => lease(host, dual, { cniVersion: '1.0.0', ...(id ? { id } : {}) });

describe.each(suites)('leases written by %s', (_first, second, writer, reader) => {
  beforeEach(({ skip }) => needs({ skip }, 'the reference plugins'));

  it(`are avoided by ${second}, which goes on in turn`, ({ host }) => {
    add(attach(host), writer);
    expect(add(attach(host), reader).ips?.map((ip) => ip.address)).toEqual(['10.1.2.3/29', 'fd00::3/64']);
  });

  it(`are avoided by ${second} when the turn comes round to them`, ({ host }) => {
    for (let i = 0; i < 4; i++) add(attach(host), writer);
    expect(add(attach(host), reader).ips?.[0]?.address).toBe('10.1.2.6/29');
    failureOf(attach(host).call('ADD', { bin: reader, path: reader }));
    expect(leased(host).filter((ip) => ip.startsWith('10.'))).toHaveLength(5);
  });

  it(`are checked by ${second}`, ({ host }) => {
    const pod = attach(host);
    const prevResult = add(pod, writer);
    fine(pod.call('CHECK', { bin: reader, path: reader, conf: { ...pod.conf, prevResult } }));
  });

  it(`are released by ${second}, and none but those`, ({ host }) => {
    const pod = attach(host, 'goes');
    add(pod, writer);
    add(attach(host, 'stays'), writer);
    pod.del({ bin: reader, path: reader });
    expect(leaseFiles(host)).toMatchObject({ '10.1.2.3': 'stays\r\neth0', 'fd00::3': 'stays\r\neth0' });
    expect(leased(host)).toHaveLength(2);
  });

  it(`keep ${second} from giving the same attachment a second address`, ({ host }) => {
    const pod = attach(host);
    add(pod, writer);
    failureOf(pod.call('ADD', { bin: reader, path: reader }));
    expect(leased(host)).toHaveLength(2);
  });

  it(`are given again by ${second} after their release by their writer`, ({ host }) => {
    for (let i = 0; i < 5; i++) add(attach(host, `p${i}`), writer);
    attach(host, 'p3').del({ bin: writer, path: writer });
    expect(add(attach(host), reader).ips?.[0]?.address).toBe('10.1.2.5/29');
  });

  it(`and those of ${second}, taken in turns, are never the same`, ({ host }) => {
    const got = Array.from({ length: 5 }, (_, i) => add(attach(host), i % 2 ? reader : writer).ips?.[0]?.address);
    expect(got).toEqual(['10.1.2.2/29', '10.1.2.3/29', '10.1.2.4/29', '10.1.2.5/29', '10.1.2.6/29']);
  });

  it(`are found by ${second} in an empty folder made by hand`, ({ host }) => {
    mkdirSync(join(dataDir(host), 'net'), { recursive: true });
    add(attach(host), writer);
    add(attach(host), reader);
    expect(leased(host)).toHaveLength(4);
  });
});
