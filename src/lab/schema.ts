/** The topology file's shape, as a person writes it: every shorthand is widened here, every wrong field named. */

import { z } from 'zod';
import { autonomousSystem } from '../cluster/schema.ts';
import { parsePrefix } from '../net/prefix.ts';

/** Names end up in namespace names, file names and on screens: short, and the same everywhere. */
export const hostName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/, 'a name: 1 to 32 lower case letters, digits and "-"');

const want = (error: string) => ({ error });

const prefix = z.string(want('an address with a prefix length such as "10.1.0.0/16"')).transform((text, context) => {
  const parsed = parsePrefix(text);
  if (parsed) return parsed;
  context.addIssue({ code: 'custom', message: 'an address with a prefix length such as "10.1.0.0/16"' });
  return z.NEVER;
});

const prefixes = z.array(prefix, want('a list of prefixes')).min(1, 'at least one prefix');

/** `[a, b]` and `{a: x, b: y}` are the same thing when nothing is to be said about a and b. */
const named = <T extends z.ZodType>(value: T, expected: string) =>
  z.preprocess(
    (input) =>
      Array.isArray(input) && input.every((n) => typeof n === 'string')
        ? Object.fromEntries(input.map((n) => [n, null]))
        : input,
    z.record(hostName, value, want(expected)),
  );

const unknownKey = (known: readonly string[]) => ({
  error: (issue: { code?: string | undefined }) =>
    issue.code === 'unrecognized_keys' ? `no other keys than ${known.join(', ')}` : 'a mapping',
});

function object<T extends z.ZodRawShape>(shape: T) {
  return z.strictObject(shape, unknownKey(Object.keys(shape)));
}

/** null, from a bare `name:` in YAML or from a list of names, is the empty mapping. */
const orEmpty = <T extends z.ZodType>(schema: T) => z.preprocess((input) => input ?? {}, schema);

const attached = named(z.nullable(prefixes), 'a list of segment names, or a mapping of segment name to addresses');

const mtu = z
  .int(want('a whole number from 1280 to 65535'))
  .min(1280, 'a whole number from 1280 to 65535')
  .max(65535, 'a whole number from 1280 to 65535');

/** What the lab decides itself for every agent. */
const reserved = ['node', 'cluster', 'paths', 'listen'];

/** Everything else goes to the agent as it stands: the agent knows what it understands. */
const agent = z
  .record(z.string(), z.unknown(), want('a mapping of agent settings such as {mode: vxlan}'))
  .superRefine((settings, context) => {
    for (const key of reserved) {
      if (key in settings)
        context.addIssue({ code: 'custom', path: [key], message: 'nothing here: the lab sets it for each node' });
    }
  });

const podCount = 'how many pods (0 to 100), or a list of their names';
const pods = z.union(
  [z.int(podCount).min(0, podCount).max(100, podCount), z.array(hostName, want(podCount))],
  want(podCount),
);

const route = object({ to: prefix, via: z.string(want('the address of the next hop')) });

export const topologySchema = object({
  families: z
    .array(z.literal([4, 6], want('4 or 6')), want('a list of 4, 6 or both'))
    .min(1, 'a list of 4, 6 or both')
    .optional(),
  segments: named(
    orEmpty(object({ prefixes: prefixes.optional(), mtu: mtu.optional() })),
    'a list of segment names, or a mapping of name to {prefixes, mtu}',
  ),
  nodes: z.record(
    hostName,
    orEmpty(
      object({
        segments: attached,
        podCIDRs: prefixes.optional(),
        site: hostName.optional(),
        pods: pods.optional(),
        agent: agent.optional(),
      }),
    ),
    want('a mapping of node name to {segments, podCIDRs, site, pods, agent}'),
  ),
  routers: z
    .record(
      hostName,
      orEmpty(
        object({
          segments: attached,
          podRoutes: z.boolean(want('true or false')).optional(),
          as: autonomousSystem.optional(),
          routes: z.array(route, want('a list of {to, via}')).optional(),
        }),
      ),
      want('a mapping of router name to {segments, podRoutes, as, routes}'),
    )
    .optional(),
  outside: z
    .preprocess((input) => (typeof input === 'string' ? { segment: input } : input), object({ segment: hostName }))
    .optional(),
  agent: agent.optional(),
});

export type TopologyFile = z.output<typeof topologySchema>;
