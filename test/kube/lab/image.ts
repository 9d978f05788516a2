/** The lab's one container image, also that of pod sandboxes: `node image.ts FILE` writes it, unless it is there. */

import { existsSync } from 'node:fs';
import { makeImage } from '../../support/image.ts';

const [file] = process.argv.slice(2) as [string];
if (!existsSync(file)) makeImage(file);
