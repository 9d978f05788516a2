/** Other people's forward hooks, which may drop what the cluster's table accepts: named, for the log and the status. */

import type { Kernel } from '../kernel/kernel.ts';
import { foreignForwardRemarks } from '../nftables/forward-chains.ts';

/** Remarks on chains that may drop pod traffic, ours aside. */
export const foreignForwardChains = async (kernel: Kernel): Promise<string[]> =>
  foreignForwardRemarks(await kernel.showNft(['-j', 'list', 'chains']));
