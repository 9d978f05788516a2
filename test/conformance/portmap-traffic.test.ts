/** portmap: packets. From another machine, from the host by its address and 127.0.0.1, from the container itself and its neighbours. */

import { describe, expect } from 'vitest';
import { needs } from '../support/case.ts';
import { Chained } from '../support/chain.ts';
import { it } from '../support/fixtures.ts';
import { type Host, inside, run } from '../support/netns.ts';
import { Outside } from '../support/outside.ts';
import { askTcp, askUdp } from '../support/service.ts';
import { ours } from '../support/suite.ts';

const ownIt = it.skipIf(!ours);

const families = [4, 6] as const;
const near = (family: 4 | 6): string => (family === 4 ? '192.0.2.1' : '2001:db8::1');
const far = (family: 4 | 6): string => Outside.addresses[family === 4 ? 0 : 1];

const mapped = (host: Host, mappings: object[], keys: object = {}, id?: string, bridge = {}): Chained =>
  new Chained(
    host,
    { type: 'portmap', capabilities: { portMappings: true }, runtimeConfig: { portMappings: mappings }, ...keys },
    { keys: bridge, ...(id ? { id } : {}) },
  );

const web = { hostPort: 8080, containerPort: 80, protocol: 'tcp' };
const dns = { hostPort: 5353, containerPort: 80, protocol: 'udp' };

describe.each(families)('IPv%d', (family) => {
  it('another machine reaches the container, which sees its address', async ({ host, outside, services }) => {
    const pod = mapped(host, [web, dns]);
    pod.add();
    await services.serve(pod.netns, 'a');
    expect(askTcp(outside.netns, near(family), 8080)).toBe(`a ${far(family)}`);
    expect(askUdp(outside.netns, near(family), 5353)).toBe(`a ${far(family)}`);
    expect(askTcp(outside.netns, near(family), 8081)).toBeUndefined();
  });

  it('another machine reaches it by sctp', async ({ host, outside, services, skip }) => {
    needs({ skip }, 'SCTP sockets');
    const both = ['tcp', 'sctp'].map((protocol) => ({ hostPort: 8080, containerPort: 5201, protocol }));
    const pod = mapped(host, both); // iperf3 agrees by tcp on what it sends by sctp
    pod.add();
    await services.start(inside(pod.netns, 'iperf3 -s -1 --forceflush'));
    const sent = run(inside(outside.netns, `iperf3 -c ${near(family)} -p 8080 --sctp -n 1K -J`));
    expect(JSON.parse(sent)).toMatchObject({ start: { test_start: { protocol: 'SCTP' } } });
  });

  it('the host reaches it by its own address', async ({ host, outside: _, services }) => {
    const pod = mapped(host, [web]);
    pod.add();
    await services.serve(pod.netns, 'a');
    expect(askTcp(host.netns, near(family), 8080)).toMatch(/^a /);
  });

  it('the container reaches itself, and a neighbour on the bridge does', async ({ host, outside: _, services }) => {
    // where the kernel filters bridged packets (br_netfilter) they turn round at the port itself
    const pod = mapped(host, [web], {}, undefined, { hairpinMode: true });
    pod.add();
    const neighbour = mapped(host, [], {}, undefined, { hairpinMode: true });
    await services.serve(pod.netns, 'a');
    expect(askTcp(pod.netns, near(family), 8080)).toMatch(/^a /);
    expect(askTcp(neighbour.netns, near(family), 8080)).toMatch(/^a /);
  });

  it('hostIP binds the mapping to one address of the host', async ({ host, outside, services }) => {
    const other = family === 4 ? '192.0.2.7' : '2001:db8::7';
    host.exec(`ip addr add ${other}/${family === 4 ? 32 : 128} dev uplink0 ${family === 6 ? 'nodad' : ''}`.trim());
    const pod = mapped(host, [{ ...web, hostIP: other }]);
    pod.add();
    await services.serve(pod.netns, 'a');
    expect(askTcp(outside.netns, other, 8080)).toBe(`a ${far(family)}`);
    expect(askTcp(outside.netns, near(family), 8080)).toBeUndefined();
  });

  it('an unspecified hostIP is every address of its family, and of no other', async ({ host, outside, services }) => {
    const pod = mapped(host, [{ ...web, hostIP: family === 4 ? '0.0.0.0' : '::' }]);
    pod.add();
    await services.serve(pod.netns, 'a');
    expect(askTcp(outside.netns, near(family), 8080)).toBe(`a ${far(family)}`);
    expect(askTcp(outside.netns, near(family === 4 ? 6 : 4), 8080)).toBeUndefined();
  });

  it('after DEL the port is the host’s again', async ({ host, outside, services }) => {
    const pod = mapped(host, [web]);
    pod.add();
    pod.del();
    await services.serve(host.netns, 'host', 8080);
    expect(askTcp(outside.netns, near(family), 8080)).toBe(`host ${far(family)}`);
  });

  it('a udp flow moves to the port’s next container', async ({ host, outside, services }) => {
    const first = mapped(host, [dns], {}, 'first');
    first.add();
    await services.serve(first.netns, 'a');
    expect(askUdp(outside.netns, near(family), 5353)).toMatch(/^a /);
    first.del();
    const second = mapped(host, [dns], {}, 'second');
    second.add();
    await services.serve(second.netns, 'b');
    expect(askUdp(outside.netns, near(family), 5353)).toMatch(/^b /);
  });

  ownIt('DEL leaves the flows of other mappings alone', async ({ host, outside, services }) => {
    const [stays, goes] = [mapped(host, [dns]), mapped(host, [{ ...dns, hostPort: 5354 }])];
    for (const pod of [stays, goes]) {
      pod.add();
      await services.serve(pod.netns, 'x');
    }
    for (const port of [5353, 5354]) askUdp(outside.netns, near(family), port);
    goes.del();
    const flows = host.exec(`conntrack -L -f ipv${family} -p udp`);
    expect(flows).toContain('dport=5353');
    expect(flows).not.toContain('dport=5354');
  });

  it('a udp flow that began before the container leads to it afterwards', async ({ host, outside, services }) => {
    await services.serve(host.netns, 'host', 5353);
    expect(askUdp(outside.netns, near(family), 5353)).toMatch(/^host /);
    const pod = mapped(host, [dns]);
    pod.add();
    await services.serve(pod.netns, 'a');
    expect(askUdp(outside.netns, near(family), 5353)).toMatch(/^a /);
  });

  it('masqAll has the host ask for everyone', async ({ host, outside, services }) => {
    const pod = mapped(host, [web], { masqAll: true });
    pod.add();
    await services.serve(pod.netns, 'a');
    expect(askTcp(outside.netns, near(family), 8080)).toBe(`a ${family === 4 ? '10.1.2.1' : 'fd00:1:2::1'}`);
  });

  it('conditions bind a mapping to who asks', async ({ host, outside, services }) => {
    const key = `conditionsV${family}`;
    const pod = mapped(host, [web], { [key]: ['!', '-s', far(family)] });
    pod.add();
    await services.serve(pod.netns, 'a');
    expect(askTcp(outside.netns, near(family), 8080)).toBeUndefined();
    expect(askTcp(host.netns, near(family), 8080)).toMatch(/^a /);
  });
});

it('the host reaches the container by 127.0.0.1', async ({ host, services }) => {
  const pod = mapped(host, [web]);
  pod.add();
  await services.serve(pod.netns, 'a');
  expect(askTcp(host.netns, '127.0.0.1', 8080)).toBe('a 10.1.2.1');
});

it('without snat 127.0.0.1 does not lead to it', async ({ host, services }) => {
  const pod = mapped(host, [web], { snat: false });
  pod.add();
  await services.serve(pod.netns, 'a');
  expect(askTcp(host.netns, '127.0.0.1', 8080)).toBeUndefined();
  expect(host.exec('sysctl -n net.ipv4.conf.br0.route_localnet').trim()).toBe('0');
});

ownIt('what listens at 127.0.0.1 stays the host’s alone', async ({ host, services }) => {
  const pod = mapped(host, [web]);
  pod.add();
  await services.serve(host.netns, 'host', 9090);
  pod.pod.exec('ip route add 127.0.0.1/32 via 10.1.2.1 table 7');
  pod.pod.exec('ip rule add pref 0 to 127.0.0.1 lookup 7');
  pod.pod.exec('ip rule del pref 0 lookup local');
  pod.pod.exec('ip rule add pref 1 lookup local');
  pod.pod.exec('sysctl -qw net.ipv4.conf.eth0.route_localnet=1');
  expect(askTcp(pod.netns, '10.1.2.1', 9090)).toMatch(/^host /);
  expect(askTcp(pod.netns, '127.0.0.1', 9090)).toBeUndefined();
});
