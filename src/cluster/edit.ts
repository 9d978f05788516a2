/** Writes `traffic` into a cluster file: that key alone changes, every other byte and comment stays. */

import { isMap, isScalar, parseDocument } from 'yaml';
import { ConfigError } from '../errors.ts';
import type { ClusterTraffic } from '../plan/cluster.ts';
import { parseYaml } from './document.ts';
import { ViewDecoder } from './view.ts';

const inYaml = (value: object): string =>
  `{ ${Object.entries(value)
    .map(([key, item]) => `${key}: ${typeof item === 'object' ? inYaml(item) : item}`)
    .join(', ')} }`;

/** The text with this traffic. Throws ConfigError when the result is no right cluster. */
export function withTrafficText(text: string, traffic: ClusterTraffic, name: string): string {
  const { contents } = parseDocument(text);
  if (!isMap(contents)) throw new ConfigError([{ path: name, got: 'no mapping', want: 'a cluster file with nodes' }]);
  const isFlow = contents.flow === true;
  const value = isFlow ? JSON.stringify(traffic) : inYaml(traffic);
  const pair = contents.items.find((item) => isScalar(item.key) && item.key.value === 'traffic');
  const range = (node: unknown) => (node as { range: [number, number, number] }).range;
  let next: string;
  if (pair) {
    const key = range(pair.key);
    const end = pair.value ? range(pair.value)[1] : key[1];
    // a block ends with the line break after it
    const tail = text.slice(0, end).endsWith('\n') ? '\n' : '';
    next = `${text.slice(0, key[0])}${text.slice(key[0], key[1])}: ${value}${tail}${text.slice(end)}`;
  } else {
    const first = contents.items[0];
    const at = first ? range(first.key)[0] : range(contents)[0];
    next = `${text.slice(0, at)}${isFlow ? `"traffic": ${value}, ` : `traffic: ${value}\n`}${text.slice(at)}`;
  }
  new ViewDecoder().decode(parseYaml(next, name));
  return next;
}
