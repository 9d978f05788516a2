/** Another build of the executable and its image: this checkout's with the next version, in a folder of its own. */

import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './netns.ts';

const root = join(import.meta.dirname, '../..');

export interface OtherBuild extends Disposable {
  readonly version: string;
  /** Its name, and the archive that it can be imported from. */
  readonly image: string;
  readonly archive: string;
}

export function buildOther(): OtherBuild {
  const dir = mkdtempSync('/var/tmp/culvert-build-');
  const remove = (): void => rmSync(dir, { recursive: true, force: true });
  try {
    for (const name of ['src', 'plugins', 'scripts', 'LICENSE'])
      cpSync(join(root, name), join(dir, name), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'));
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    const version = manifest.version.replace(/\d+$/, (last) => String(Number(last) + 1));
    writeFileSync(join(dir, 'package.json'), JSON.stringify({ ...manifest, version }));
    for (const script of ['build', 'image']) run([process.execPath, join(dir, `scripts/${script}.ts`)]);
    const image = `localhost/culvert:${version}`;
    return { version, image, archive: join(dir, 'dist/culvert-image.tar'), [Symbol.dispose]: remove };
  } catch (error) {
    remove();
    throw error;
  }
}
