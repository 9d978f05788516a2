import { describe, expect, it } from 'vitest';
import { concernsUs } from '../../src/agent/monitor.ts';

const devices = new Set(['eth0']);

describe('concernsUs()', () => {
  it.each([
    ['192.168.1.2 dev culvert-vxlan lladdr 02:aa:bb:cc:dd:ee NOARP PERMANENT ', true],
    ['Deleted 10.244.2.0/24 via 10.244.2.0 dev culvert-vxlan proto 67 onlink ', true],
    ['Deleted 10.244.2.0/24 via 192.168.1.12 dev eth1 proto 67 ', true],
    ['3: eth0@v: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1400 qdisc noqueue state UP group default ', true],
    ['Deleted 3: eth0    inet 192.168.1.11/24 scope global eth0', true],
    ['Deleted default via 192.168.1.1 dev eth0 ', true],
    ['192.168.1.1 dev eth0 lladdr 7e:44:36:ff:ca:3e REACHABLE', false],
    ['local fe80::1 dev eth0 table local proto kernel metric 0 pref medium', false],
    ['9: veth1234abcd@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue state UP group default ', false],
    ['    link/ether 7e:44:36:ff:ca:3e brd ff:ff:ff:ff:ff:ff', false],
    ['10.244.1.5 dev veth1234abcd scope link ', false],
  ])('%s: %s', (line, want) => {
    expect(concernsUs(line, devices)).toBe(want);
  });

  it('hears everything while nothing is planned', () => {
    expect(concernsUs('4: eth1    inet 192.168.1.11/24 scope global eth1', new Set())).toBe(true);
  });
});
