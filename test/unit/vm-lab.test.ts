/** The VM lab's pure parts: frames read back into headers, and which cases are run again inside a machine. */

import { describe, expect, it } from 'vitest';
import { onDemand } from '../support/tally.ts';
import { countPings } from '../vm/lab/flow.ts';
import { byLayer, lackingKernel } from '../vm/lab/inside.ts';
import { parsePcap } from '../vm/lab/packet.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

const ethernet = (type: string): string => `020000000002 020000000001 ${type}`;
const ipv4 = (protocol: string, src: string, dst: string, flags = '0000'): string =>
  `4500 0000 0000 ${flags} 40 ${protocol} 0000 ${src} ${dst}`;
const ipv6 = (next: string): string =>
  `6000 0000 0000 ${next} 3f fd000000000000000000000000000001 fd000000000000000000000000000002`;

/** A pcap file in the byte order of this machine. */
function pcap(...frames: string[]): Buffer {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b2c3d4);
  const records = frames.map(hex).map((frame) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(frame.length, 8);
    record.writeUInt32LE(frame.length, 12);
    return Buffer.concat([record, frame]);
  });
  return Buffer.concat([head, ...records]);
}

describe('parsePcap()', () => {
  it('finds the packet inside VXLAN', () => {
    const outer = `${ethernet('0800')} ${ipv4('11', 'c0a8010b', 'c0a8020d')} c001 12b5 0000 0000 08000000 00000100`;
    const inner = `${ethernet('0800')} ${ipv4('01', '0af40102', '0af40302', '4000')} 0800`;
    expect(parsePcap(pcap(outer + inner))).toEqual([
      [
        {
          src: '192.168.1.11',
          dst: '192.168.2.13',
          protocol: 17,
          ttl: 64,
          dontFragment: false,
          sourcePort: 0xc001,
          port: 4789,
          vni: 1,
        },
        { src: '10.244.1.2', dst: '10.244.3.2', protocol: 1, ttl: 64, dontFragment: true },
      ],
    ]);
  });

  it('finds the packet inside IP, also behind destination options', () => {
    const inner = ipv4('01', '0af40102', '0af40302');
    const headers = parsePcap(
      pcap(
        `${ethernet('0800')} ${ipv4('04', 'c0a8010b', 'c0a8020d')} ${inner}`,
        `${ethernet('86dd')} ${ipv6('3c')} 04 00 0401040100 00 ${inner}`,
      ),
    );
    expect(headers.map((h) => h.map((x) => x.dst))).toEqual([
      ['192.168.2.13', '10.244.3.2'],
      ['fd00::2', '10.244.3.2'],
    ]);
  });

  it('leaves out what is no IP, and stops at a frame that is cut off', () => {
    const whole = pcap(`${ethernet('0806')} 0001`, `${ethernet('86dd')} ${ipv6('3a')}`);
    expect(parsePcap(whole)).toHaveLength(1);
    expect(parsePcap(whole.subarray(0, -1))).toHaveLength(0);
    expect(parsePcap(Buffer.alloc(3))).toEqual([]);
  });
});

describe('what runs inside a machine', () => {
  it('goes by layer', () => {
    expect(byLayer(['test/conformance/a.test.ts', 'test/netns/b.test.ts', 'test/conformance/c.test.ts'])).toEqual([
      { layer: 'conformance', files: ['test/conformance/a.test.ts', 'test/conformance/c.test.ts'] },
      { layer: 'netns', files: ['test/netns/b.test.ts'] },
    ]);
    expect(() => byLayer(['src/main.ts'])).toThrow('got "src/main.ts", want one such as');
  });

  it('is what the kernel lacked, not what was not installed; what is on demand only when all is asked for', () => {
    const file = 'test/conformance/a.test.ts';
    const notRun = [
      { file, name: 'x > one', reason: 'this kernel has no dummy' },
      { file, name: 'x > two', reason: 'the reference plugins are not installed' },
      { file, name: 'x > three', reason: `this kernel has no dummy${onDemand}` },
    ];
    const tally = `${JSON.stringify({ layer: 'conformance', passed: 3, failed: 0, notRun })}\n`;
    expect(lackingKernel(tally)).toEqual([{ layer: 'conformance', files: [file], names: ['x > one'] }]);
    expect(lackingKernel(tally, true)[0]!.names).toEqual(['x > one', 'x > three']);
  });
});

describe('countPings()', () => {
  const said = (transmitted: number, answered: (seq: number) => boolean): string =>
    [
      ...Array.from({ length: transmitted }, (_, i) => i + 1)
        .filter(answered)
        .map((seq) => `icmp_seq=${seq} ttl`),
      `${transmitted} packets transmitted, 9 received, 1% packet loss, time ${transmitted * 20}ms`,
    ].join('\n');

  it('leaves out the first, and those that were sent last: their answers may be on their way', () => {
    expect(countPings(said(2750, (seq) => seq > 10 && seq <= 2600))).toEqual({ sent: 2490, seconds: 55, missing: [] });
  });

  it('finds what is missing in the middle, and when nothing comes back any more', () => {
    expect(countPings(said(2750, (seq) => seq !== 11))).toEqual({ sent: 2490, seconds: 55, missing: ['11-11'] });
    expect(countPings(said(2750, (seq) => seq <= 2000))).toEqual({ sent: 2490, seconds: 55, missing: ['2001-2500'] });
  });
});
