/** VERSION, and a plugin started without a command (spec section 2, "VERSION", and section 5, "VERSION Success"). */

import { describe, expect } from 'vitest';
import { it, itOurs } from '../support/case.ts';
import { ours } from '../support/suite.ts';

const devices = ['dummy', 'host-device', 'ipvlan', 'macvlan', 'sbr', 'vlan'];
// the reference's vrf supports 0.3.1 and newer only
const plugins = ['bridge', 'host-local', 'loopback', ...devices, ...(ours ? ['vrf'] : [])];
const supportedVersions = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];

describe.each(plugins)('VERSION of %s', (plugin) => {
  it.for(['', '{}', 'not JSON', '[]', '{"cniVersion":"9.9.9"}', '{"cniVersion":7}'])(
    'answers all supported versions to the input %j',
    (conf, { host }) => {
      const answer = host.call({ plugin, command: 'VERSION', conf });
      expect(answer.status).toBe(0);
      expect(answer.json).toEqual({ cniVersion: '1.1.0', supportedVersions });
    },
  );

  itOurs.for(supportedVersions)('echoes the version %s it was asked in', (cniVersion, { host }) => {
    const answer = host.call({ plugin, command: 'VERSION', conf: { cniVersion } });
    expect(answer.json).toEqual({ cniVersion, supportedVersions });
  });

  it('needs no other variable, not even CNI_PATH', ({ host }) => {
    const answer = host.call({ plugin, command: 'VERSION', conf: '', env: { CNI_PATH: '' } });
    expect(answer.status).toBe(0);
    expect(answer.stderr).toBe('');
  });
});

describe.each(plugins)('%s started without CNI_COMMAND', (plugin) => {
  it('says on standard error what it is and which versions it supports', ({ host }) => {
    const answer = host.call({ plugin, command: '', conf: '' });
    expect(answer.status).toBe(0);
    expect(answer.stdout).toBe('');
    expect(answer.stderr).toContain(plugin);
    expect(answer.stderr).toContain('0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0');
  });
});

itOurs.for(['containerId', 'netns', 'ifname'])('culvert is a plugin when a runtime sets %s alone', (name, { host }) => {
  const answer = host.call({ plugin: 'culvert', conf: '', [name]: 'x' });
  expect(answer.status).toBe(0);
  expect(answer.stdout).toBe('');
  expect(answer.stderr).toContain('0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0');
});
