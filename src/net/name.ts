/** Names: what the kernel and the CNI specification allow, and short names made from long ones. */

import { macFrom } from './mac.ts';
import { sha256 } from './sha256.ts';

/** IFNAMSIZ less the closing zero, linux/if.h. */
export const maxInterfaceName = 15;

/** CNI spec section 1 ("name") and section 3 ("Container ID"): alphanumeric first, then also underscore, dot and hyphen. */
export const isCniName = (name: string): boolean => /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name);

/** What an interface name may be, in words. */
export const interfaceNameRule = 'an interface name: 1 to 15 bytes without blanks and without / : % # " \' \\';

/**
 * dev_valid_name() of the kernel (not empty, ".", ".."; no slash, colon or white space) and a little stricter: "%" would be a
 * pattern to the kernel, and quotes, backslash and "#" mean something in a batch file of iproute2. Text that was no UTF-8 holds
 * U+FFFD or half a surrogate pair by now: the link would carry another name than was asked for.
 */
export function isInterfaceName(name: string): boolean {
  if (name === '.' || name === '..' || name === '') return false;
  if (Buffer.byteLength(name) > maxInterfaceName) return false;
  return name.isWellFormed() && !/[/:%#"'\\\s\u0000-\u001f\u007f\u0085\ufffd]/u.test(name);
}

/** The first `length` hexadecimal digits of the seed's SHA-256. */
export const hash = (seed: string, length: number): string => sha256(seed).slice(0, length);

/** What a lease, a link or an nft element belongs to. CNI calls it an attachment: (container id, interface name) in a network. */
export interface AttachmentId {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
}

const attachmentSeed = (id: AttachmentId): string => [id.network, id.containerId, id.ifname].join('\0');

/** The host end's name: "veth" and eight digits, as the reference plugins have it, but computed, so that DEL and GC know it without asking. */
export const hostVethName = (id: AttachmentId): string => `veth${hash(attachmentSeed(id), 8)}`;

/** The name that a link bears on its way into the container, where its own may be another's: "cult" and eight digits. */
export const passingName = (id: AttachmentId): string => `cult${hash(attachmentSeed(id), 8)}`;

/** The ifb that holds traffic to (ingress) or from a container (egress) back; the reference plugin's names begin as egress's. */
export const ifbName = (id: AttachmentId, direction: 'ingress' | 'egress'): string =>
  `${direction === 'egress' ? 'bwp' : 'bwi'}${hash(attachmentSeed(id), 8)}`;

/** The pod end's MAC unless the user asks for one. */
export const podMac = (id: AttachmentId): string => macFrom(`${attachmentSeed(id)}\0pod`);

/** The first half of host ends' MACs in a network. */
const networkOctets = (network: string): string => macFrom(`network\0${network}`).slice(0, 8);

const hostMacOf = (network: string, digits: string): string =>
  [networkOctets(network), digits.slice(0, 2), digits.slice(2, 4), digits.slice(4, 6)].join(':');

/**
 * The host end's MAC: half from its network, half from its own name. The alias comes a moment after the link; until then, and
 * for good where a process dies in between, this is the mark of whose it is.
 */
export const hostMac = (id: AttachmentId): string => hostMacOf(id.network, hash(attachmentSeed(id), 8));

/** Whether name and MAC of a link on the host are those of a host end or ifb in that network, whatever the attachment. */
export const isHostEnd = (network: string, name: string, mac: string | undefined): boolean =>
  /^(veth|bwp|bwi)[0-9a-f]{8}$/.test(name) && mac === hostMacOf(network, name.slice(-8));

/** The mark of a network in comments and aliases: `culvert:` and eight digits. */
export const networkMark = (network: string): string => `culvert:${hash(network, 8)}`;

/** The mark of one attachment: its network's mark, then its own eight digits. A prefix of everything we label for it. */
export const attachmentMark = (id: AttachmentId): string => `${networkMark(id.network)}:${hash(attachmentSeed(id), 8)}`;

/**
 * The text we write on a link (ifalias) or an nft element (comment): the mark, then the names in the clear for people,
 * cut at nft's 128 characters. Only the mark is ever compared.
 */
export const attachmentLabel = (id: AttachmentId): string =>
  `${attachmentMark(id)} ${id.network} ${id.containerId} ${id.ifname}`.slice(0, 127);

/**
 * Whether a label stays in a GC of a network: it belongs to another network, or to an attachment that is still valid.
 * A list is read with hundreds of labels, so the marks are computed once.
 */
export function labelKeeper(
  network: string,
  valid: readonly Omit<AttachmentId, 'network'>[],
): (label: string) => boolean {
  const own = `${networkMark(network)}:`;
  const marks = new Set(valid.map((v) => attachmentMark({ ...v, network })));
  return (label) => !label.startsWith(own) || marks.has(label.split(' ')[0] ?? '');
}
