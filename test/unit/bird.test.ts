import { describe, expect, it } from 'vitest';
import { diffBlocks } from '../../src/agent/bird-diff.ts';
import {
  describeDown,
  parseSessions,
  parseSignatureDrops,
  type SessionStatus,
  suspicion,
} from '../../src/agent/bird-status.ts';
import { takeReply } from '../../src/kernel/bird.ts';
import type { BgpSession } from '../../src/plan/bird.ts';

/** What BIRD 2.0.12 prints, shortened. */
const shown = `Name       Proto      Table      State  Since         Info
device1    Device     ---        up     11:47:50.138  

kernel4    Kernel     master4    up     11:47:50.138  
  Channel ipv4
    State:          UP
    Routes:         7 imported, 8 exported, 0 preferred

node4-n-2.x BGP        ---        start  11:47:50.138  Active        Socket: Connection refused
  Description:    node n2
  BGP state:          Active
    Neighbor address: 192.168.1.12
    Last error:       Socket: Connection refused
  Channel ipv4
    State:          DOWN

peer6-fd01::1 BGP        ---        up     2026-11-21 11:47:53  Established   
  BGP state:          Established
    Neighbor address: fd01::1
  Channel ipv6
    State:          UP
    Routes:         2 imported, 3 filtered, 1 exported, 1 preferred
`;

describe('parseSessions()', () => {
  it('reads state, prefixes and last error of BGP sessions, and of nothing else', () => {
    expect([...parseSessions(shown).values()]).toEqual([
      { name: 'node4-n-2.x', isUp: false, imported: 0, exported: 0, lastError: 'Socket: Connection refused' },
      { name: 'peer6-fd01::1', isUp: true, imported: 2, exported: 1, lastError: '' },
    ]);
  });

  it('finds none in anything else', () => {
    for (const text of ['', '\n\n', 'BGP', 'x BGP']) expect(parseSessions(text).size).toBe(0);
  });
});

describe('takeReply()', () => {
  it('waits for the line that ends an answer', () => {
    const whole = '0002-Reading configuration from /x\n8002 /x:1:1 syntax error\n';
    for (let i = 0; i < whole.length; i++) expect(takeReply(whole.slice(0, i))).toBeUndefined();
    expect(takeReply(`${whole}0013 `)).toEqual({
      reply: { code: 8002, text: 'Reading configuration from /x\n/x:1:1 syntax error' },
      rest: '0013 ',
    });
  });

  it('takes lines that go on for what they are', () => {
    const { reply } = takeReply('1002-Name\n a\n   0013 no code\n0000 \n')!;
    expect(reply).toEqual({ code: 0, text: 'Name\na\n  0013 no code' });
  });
});

const session = { name: 's', peer: 'n2', kind: 'node', address: '192.168.1.12', passwordFile: '/pw' } as BgpSession;
const down = (lastError: string): SessionStatus => ({ name: 's', isUp: false, imported: 0, exported: 0, lastError });

describe('why a session is down', () => {
  it.each([
    ['', 'no answer'],
    ['Socket: No route to host', 'Socket: No route to host'],
    ['Socket: Connection refused', 'nobody speaks BGP there'],
    ['No listening socket', 'TCP port 179 is taken'],
    ['Received: Bad peer AS', 'the two sides do not agree on the AS'],
  ])('"%s" is said with what it means', (error, words) => {
    const text = describeDown(session, down(error));
    expect(text).toMatch(/^BGP session to node "n2" at 192\.168\.1\.12 is down: /);
    expect(text).toContain(words);
  });

  it('is the password when the kernel dropped segments for their signature', () => {
    const names = 'TcpExt: SyncookiesSent TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure\n';
    const of = (values: string) => parseSignatureDrops(`${names}TcpExt: 9 ${values}\nIpExt: a\nIpExt: 1\n`);
    const none = of('0 0 0');
    const { passwordFile: _, ...open } = session;
    expect(suspicion(session, none, of('0 0 1'))).toBe('the password in /pw is not that of the other side');
    expect(suspicion(session, none, of('1 0 0'))).toBe('the other side uses no password, we do (/pw)');
    expect(suspicion(open as BgpSession, none, of('0 1 0'))).toBe('the other side uses a password; set passwordFile');
    expect(suspicion(session, of('1 1 1'), of('1 1 1'))).toBeUndefined();
    expect(parseSignatureDrops('')).toEqual({ wrong: 0, unsigned: 0, unexpected: 0 });
  });
});

describe('diffBlocks()', () => {
  it('names the block and the lines that go and come', () => {
    const before = 'a {\n  1;\n  2;\n}\n\nb {\n}\n\nsame {\n}\n';
    const after = 'a {\n  1;\n  3;\n}\n\nsame {\n}\n\nc {\n}\n';
    expect(diffBlocks(before, after)).toEqual(['  a {', '-   2;', '+   3;', '- b {', '- }', '+ c {', '+ }']);
    expect(diffBlocks(after, after)).toEqual([]);
  });
});
