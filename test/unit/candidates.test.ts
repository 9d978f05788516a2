import { describe, expect, it } from 'vitest';
import { ableCandidates } from '../../src/agent/candidates.ts';
import { CommandError } from '../../src/errors.ts';
import { classify } from '../../src/kernel/exec.ts';

const candidates = ['routed', 'ipip', 'vxlan', 'wireguard'] as const;
const settings = { candidates } as unknown as Parameters<typeof ableCandidates>[0];

/** Runs what `refuse` has nothing to say against; notes all of it. */
function machine(refuse: (line: string) => string | undefined) {
  const lines: string[] = [];
  const exec = async (argv: readonly string[]): Promise<string> => {
    const line = argv.join(' ');
    lines.push(line);
    const said = refuse(line);
    if (said !== undefined) throw new CommandError(argv, 2, said, classify(said));
    return '';
  };
  return { lines, exec };
}

describe("mode auto's candidates", () => {
  it('are those whose links the kernel has', async () => {
    const { exec } = machine((line) => (line.includes('type ipip') ? 'Error: Unknown device type.' : undefined));
    expect(await ableCandidates(settings, exec)).toEqual({
      able: ['routed', 'vxlan', 'wireguard'],
      lacking: ['ipip: this kernel has no links of type ipip'],
    });
  });

  it('are tried in the own namespace where no other can be made, and leave nothing there', async () => {
    const denied = (line: string) => (line.startsWith('unshare') ? 'unshare: Operation not permitted' : undefined);
    const { exec, lines } = machine(denied);
    expect((await ableCandidates(settings, exec)).able).toEqual(candidates);
    const made = lines.filter((l) => l.startsWith('ip link add'));
    expect(made).toHaveLength(4);
    expect(lines.filter((l) => l === 'ip link delete dev culvert-try')).toHaveLength(made.length);
  });

  it('count as had when such a link is there', async () => {
    const { exec } = machine((line) =>
      line.startsWith('unshare')
        ? 'unshare: Operation not permitted'
        : line.includes('vxlan')
          ? 'RTNETLINK answers: File exists'
          : undefined,
    );
    expect((await ableCandidates(settings, exec)).lacking).toEqual([]);
  });
});
