/** What cases ask for besides a host: a machine outside, servers, a machine with files and processes of its own. */

import { it as base } from 'vitest';
import { it as withHost } from './case.ts';
import { Machine } from './machine.ts';
import type { Host } from './netns.ts';
import { Outside } from './outside.ts';
import { Services } from './service.ts';

type Use<T> = (value: T) => Promise<void>;

interface Around {
  outside: Outside;
  services: Services;
}

const around = {
  outside: async ({ host }: { host: Host }, use: Use<Outside>) => {
    const outside = new Outside(host);
    try {
      await use(outside);
    } finally {
      outside.remove();
    }
  },
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the fixtures a fixture uses from this pattern
  services: async ({}: object, use: Use<Services>) => {
    const services = new Services();
    try {
      await use(services);
    } finally {
      services.close();
    }
  },
};

/** A host, joined to a machine outside by whoever asks for that. */
export const it = withHost.extend<Around>(around);

/** The same where the host is a whole machine, for container engines. */
export const itOnMachine = base.extend<Around & { machine: Machine; host: Host }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest reads the fixtures a fixture uses from this pattern
  machine: async ({}: object, use: Use<Machine>) => {
    const machine = await Machine.start('m');
    try {
      await use(machine);
    } finally {
      await machine.remove();
    }
  },
  host: ({ machine }: { machine: Machine }, use: Use<Host>) => use(machine.host),
  ...around,
});
