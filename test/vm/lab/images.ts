/** Container images as containerd keeps them, unpacked: by the host's own, which is many times faster than an emulated one. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';

/** Of no use here, and the latter makes a folder in /opt. */
const config = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n';

const script = `set -e
containerd --config config.toml --root "$PWD/disk/containerd" --state "$PWD/state" --address "$PWD/socket" >containerd.log 2>&1 &
trap 'kill $!; wait $!' EXIT
for i in $(seq 300); do ctr --address socket version >/dev/null 2>&1 && break; sleep 0.1; done
for archive; do ctr --address socket --namespace k8s.io images import "$archive"; done`;

/** A folder for a machine's disk, with containerd's own in it as guest/init wants it; made in `dir`. */
export async function unpackImages(dir: string, archives: readonly string[]): Promise<string> {
  mkdirSync(dir);
  writeFileSync(join(dir, 'config.toml'), config);
  await execa('bash', ['-c', script, 'bash', ...archives], { cwd: dir });
  return join(dir, 'disk');
}
