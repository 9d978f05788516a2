/** Applies changes so that one refused by the kernel keeps only itself from being made, not the thousands after it. */

import { apply } from '../apply/apply.ts';
import { CommandError } from '../errors.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { Change } from '../plan/diff.ts';
import { asCommand, render } from '../plan/render.ts';

/** A change that the kernel refused, as the lines of a shell, and what it said. */
export interface Failure {
  readonly lines: string;
  readonly error: string;
}

/** So many refusals have a common cause: the rest waits for the next pass. */
const enough = 10;

const isGround = (c: Change): boolean =>
  ['add-link', 'set-link', 'delete-link', 'add-address', 'set-sysctl', 'set-wireguard'].includes(c.op);

/** Already so: a batch that failed half-way is tried again in parts. */
function isDone(change: Change, error: CommandError): boolean {
  return change.op.startsWith('delete-')
    ? error.reason === 'not-found'
    : change.op === 'add-link' && error.reason === 'exists';
}

/** Kernel modules by the kind of link that they bring, where the names differ. */
const moduleOf = (kind: string): string => (kind === 'ip6tnl' ? 'ip6_tunnel' : kind);

/** What the kernel said and, where a person can mend it, how. */
function explain(change: Change, error: CommandError): string {
  const said = error.stderr.trim() || error.message;
  if (change.op !== 'add-link' || !/Unknown device type|not supported/.test(said)) return said;
  const { kind } = change.link.make;
  return `${said} This kernel has no links of type ${kind}: load the module ${moduleOf(kind)} (modprobe ${moduleOf(kind)}), install the package of the kernel's modules, or choose another mode`;
}

export async function applyInParts(changes: readonly Change[], kernel: Kernel): Promise<Failure[]> {
  const failures: Failure[] = [];
  async function attempt(part: readonly Change[]): Promise<void> {
    if (part.length === 0 || failures.length >= enough) return;
    try {
      await apply(part, kernel);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      if (part.length > 1) {
        const middle = part.length >> 1;
        await attempt(part.slice(0, middle));
        await attempt(part.slice(middle));
      } else if (!isDone(part[0]!, error)) {
        const lines = render(part[0]!).map(asCommand).join('\n');
        failures.push({ lines, error: explain(part[0]!, error) });
      }
    }
  }
  try {
    await apply(changes, kernel);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    await attempt(changes.filter(isGround));
    // without the links nothing on them can be made
    if (failures.length === 0) await attempt(changes.filter((c) => !isGround(c)));
  }
  return failures;
}
