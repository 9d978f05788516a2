/** The key `bgp` of the agent's configuration. */

import { z } from 'zod';
import { autonomousSystem, defaultAs } from '../cluster/schema.ts';
import { isGlobalUnicast, parseAddress } from '../net/address.ts';
import { hasHostBits, parsePrefix } from '../net/prefix.ts';

const wantFile = 'a path that begins with "/"';
const wantHops = 'a whole number of hops from 2 to 255';
const wantSeconds = 'a whole number of seconds from 0 to 4095';
const wantImport = '"default", "all", "none" or a list of networks such as ["10.0.0.0/8"]';
const wantNetwork = 'a network such as "10.0.0.0/8" or "fd00::/8", bits after the prefix zero';
const wantAddress = 'a unicast address such as "192.168.1.1" or "fd00:1::1", without a prefix length';
const wantBool = 'true or false';

const isPeerAddress = (text: string): boolean => {
  const address = parseAddress(text);
  return address !== undefined && isGlobalUnicast(address);
};

const isNetwork = (text: string): boolean => {
  const prefix = parsePrefix(text);
  return prefix !== undefined && !hasHostBits(prefix);
};

const passwordFile = z.string(wantFile).regex(/^\//, wantFile).optional();
const bfd = z.boolean(wantBool).default(false);

const peer = z.object(
  {
    address: z.string(wantAddress).refine(isPeerAddress, wantAddress),
    as: autonomousSystem,
    passwordFile,
    bfd,
    multihop: z.int(wantHops).min(2, wantHops).max(255, wantHops).optional(),
    site: z.string('the name of a site').optional(),
    import: z
      .union(
        [z.enum(['default', 'all', 'none']), z.array(z.string(wantNetwork).refine(isNetwork, wantNetwork))],
        wantImport,
      )
      .default('default'),
  },
  'an object with address and as',
);

const areDistinct = (peers: readonly { address: string }[]): boolean =>
  new Set(peers.map((p) => p.address)).size === peers.length;

export const bgpSchema = z
  .object(
    {
      as: autonomousSystem.default(defaultAs),
      passwordFile,
      bfd,
      gracefulRestartSeconds: z.int(wantSeconds).min(0, wantSeconds).max(4095, wantSeconds).default(120),
      peers: z.array(peer, 'a list of routers').refine(areDistinct, 'every address only once').default([]),
    },
    'an object with as, passwordFile, bfd, gracefulRestartSeconds and peers',
  )
  .prefault({});
