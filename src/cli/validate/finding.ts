/** What validation has to say, and where: as text that editors can jump by, and as data. */

import type { Place } from '../../decode/locate.ts';

export interface Finding extends Place {
  file: string;
  /** Path of the key, such as `plugins[0].ipam.subnet`; empty for the document. */
  path: string;
  /** A problem makes an ADD fail, or do what hardly was meant; a remark is worth knowing. */
  severity: 'problem' | 'remark';
  got?: string;
  want?: string;
  message: string;
}

export function formatFinding({ file, line, column, path, severity, message }: Finding): string {
  const subject = [severity === 'remark' ? 'remark' : '', path].filter((part) => part !== '');
  return [`${file}:${line}:${column}`, ...subject, message].join(': ');
}
