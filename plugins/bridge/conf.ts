/** The configuration of `bridge`: every key of the reference plugin 1.9.1, checked. */

import { protocolKeys } from '../../src/cni/conf.ts';
import type { Dns, Request } from '../../src/cni/types.ts';
import { decodeDns } from '../../src/cni/version.ts';
import { Fields } from '../../src/decode.ts';
import { interfaceNameRule, isInterfaceName, maxInterfaceName } from '../../src/net/name.ts';
import { argsMac, checkMasqueradeBackend, decodeIpamType, runtimeMac } from '../attachment/conf.ts';

export interface BridgeConf {
  bridge: string;
  isGateway: boolean;
  isDefaultGateway: boolean;
  forceAddress: boolean;
  ipMasq: boolean;
  mtu: number | undefined;
  hairpinMode: boolean;
  promiscMode: boolean;
  vlan: number;
  /** VLAN ids of `vlanTrunk`, ascending; undefined when the key is absent. */
  trunk: readonly number[] | undefined;
  preserveDefaultVlan: boolean;
  macspoofchk: boolean;
  disableContainerInterface: boolean;
  enabledad: boolean;
  portIsolation: boolean;
  ipamType: string | undefined;
  /** The MAC asked for: by runtimeConfig, else by args, else by CNI_ARGS. */
  mac: string | undefined;
  dns: Dns;
}

const maxVlan = 4094;

/** VLAN ids as marks, a byte each: a trunk of many overlapping ranges costs no more than its last id. */
type VlanMarks = Uint8Array;

/** One item of `vlanTrunk`: {id}, {minID, maxID} or all three. */
function decodeTrunkItem(f: Fields, marks: VlanMarks): void {
  const id = f.integer('id', 1, maxVlan);
  const min = f.integer('minID', 1, maxVlan);
  const max = f.integer('maxID', 1, maxVlan);
  if (f.has('minID') !== f.has('maxID')) {
    f.wrong(f.has('minID') ? 'maxID' : 'minID', 'minID and maxID together');
  }
  if (min !== undefined && max !== undefined) {
    if (max < min) f.wrong('maxID', `at least minID, ${min}`);
    marks.fill(1, min, max + 1);
  }
  if (id !== undefined) marks[id] = 1;
}

/** The ids of `vlanTrunk`, ascending; undefined when the key is absent. */
function decodeTrunk(f: Fields): number[] | undefined {
  const marks: VlanMarks = new Uint8Array(maxVlan + 1);
  const items = f.objects('vlanTrunk', (item) => decodeTrunkItem(item, marks));
  return items && [...marks.keys()].filter((id) => marks[id] === 1);
}

/** The configuration of a request; `notes` takes remarks on keys. Throws ConfigError with every wrong field, CniError 4 for CNI_ARGS. */
export function decodeBridgeConf(request: Request, notes: string[] = []): BridgeConf {
  const fromArgs = argsMac(request);
  return Fields.read(
    request.conf,
    '',
    (f) => {
      f.ignore(...protocolKeys);
      const flag = (key: string): boolean => f.boolean(key) ?? false;
      const ipamType = decodeIpamType(f);
      const conf: BridgeConf = {
        bridge: f.string('bridge') || 'cni0',
        isGateway: flag('isGateway') || flag('isDefaultGateway'),
        isDefaultGateway: flag('isDefaultGateway'),
        forceAddress: flag('forceAddress'),
        ipMasq: flag('ipMasq'),
        mtu: f.integer('mtu', 0, 65_535) || undefined,
        hairpinMode: flag('hairpinMode'),
        promiscMode: flag('promiscMode'),
        vlan: f.integer('vlan', 0, maxVlan) ?? 0,
        trunk: decodeTrunk(f),
        preserveDefaultVlan: flag('preserveDefaultVlan'),
        macspoofchk: flag('macspoofchk'),
        disableContainerInterface: flag('disableContainerInterface'),
        enabledad: flag('enabledad'),
        portIsolation: flag('portIsolation'),
        ipamType,
        mac: runtimeMac(f) ?? fromArgs,
        dns: f.object('dns', decodeDns) ?? {},
      };
      checkCombinations(f, conf);
      checkMasqueradeBackend(f, notes);
      return conf;
    },
    notes,
  );
}

function checkCombinations(f: Fields, conf: BridgeConf): void {
  if (!isInterfaceName(conf.bridge)) f.wrong('bridge', interfaceNameRule);
  if (conf.vlan !== 0 && conf.isGateway && conf.bridge.length + 1 + String(conf.vlan).length > maxInterfaceName) {
    f.wrong('bridge', `a name that leaves room for ".${conf.vlan}" within ${maxInterfaceName} bytes`);
  }
  if (conf.hairpinMode && conf.promiscMode) f.wrong('promiscMode', 'false, as hairpinMode is true: one of the two');
  if (conf.disableContainerInterface && conf.ipamType) {
    f.wrong('disableContainerInterface', 'false, or no ipam: an interface that stays down cannot have addresses');
  }
}
