/** What more than one kind of document says: the agent's configuration, the cluster file, the lab's topology. */

import { z } from 'zod';
import { modesBetweenSites, trafficModes } from '../plan/cluster.ts';

/** `one of "a", "b"` */
export const wantOneOf = (values: readonly string[]): string => `one of ${values.map((v) => `"${v}"`).join(', ')}`;

const wantAs = 'the number of an autonomous system, from 1 to 4294967295';

export const autonomousSystem = z.int(wantAs).min(1, wantAs).max(4_294_967_295, wantAs);

/** That of nodes which have none of their own: the first for private use (RFC 6996). */
export const defaultAs = 64_512;

/** Names of Kubernetes namespaces (RFC 1123 labels). */
export const namespacePattern = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Where the manifest puts the agents. */
export const defaultNamespace = 'culvert-system';

export const mode = z.enum(trafficModes, wantOneOf(trafficModes));

export const betweenSites = z.enum(modesBetweenSites, wantOneOf(modesBetweenSites)).optional();
