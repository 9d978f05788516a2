/** Frames → their IP headers, outermost first, as far as a test can read them: VXLAN, IP in IP and what is inside. */

export interface Header {
  src: string;
  dst: string;
  /** IANA's number: 1 ICMP, 4 IPv4, 6 TCP, 17 UDP, 41 IPv6, 58 ICMPv6. */
  protocol: number;
  /** Time to live, or hop limit. */
  ttl: number;
  /** IPv4 only. */
  dontFragment?: boolean;
  sourcePort?: number;
  port?: number;
  /** VXLAN's network identifier, when that is what the datagram carries. */
  vni?: number;
}

const vxlanPorts = new Set([4789, 8472]);

const ipv4 = (b: Buffer): string => [...b].join('.');

/** The kernel's spelling is not needed here: new URL() knows how to shorten IPv6 addresses. */
function ipv6(b: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, i) => b.readUInt16BE(2 * i).toString(16)).join(':');
  return new URL(`http://[${groups}]`).hostname.slice(1, -1);
}

function headersOfEthernet(b: Buffer): Header[] {
  if (b.length < 14) return [];
  const type = b.readUInt16BE(12);
  return type === 0x0800 || type === 0x86dd ? headersOfIp(b.subarray(14)) : [];
}

function headersOfUdp(header: Header, b: Buffer): Header[] {
  if (b.length < 8) return [header];
  const [sourcePort, port] = [b.readUInt16BE(0), b.readUInt16BE(2)];
  if (!vxlanPorts.has(port) || b.length < 16) return [{ ...header, sourcePort, port }];
  return [{ ...header, sourcePort, port, vni: b.readUIntBE(12, 3) }, ...headersOfEthernet(b.subarray(16))];
}

function headersOfIp(b: Buffer): Header[] {
  const version = (b[0] ?? 0) >> 4;
  if (b.length < (version === 4 ? 20 : 40)) return [];
  const header: Header =
    version === 4
      ? {
          src: ipv4(b.subarray(12, 16)),
          dst: ipv4(b.subarray(16, 20)),
          protocol: b[9]!,
          ttl: b[8]!,
          dontFragment: (b[6]! & 0x40) !== 0,
        }
      : { src: ipv6(b.subarray(8, 24)), dst: ipv6(b.subarray(24, 40)), protocol: b[6]!, ttl: b[7]! };
  let payload = b.subarray(version === 4 ? (b[0]! & 0xf) * 4 : 40);
  // ip6tnl puts destination options (60) before what it carries
  while (version === 6 && header.protocol === 60 && payload.length >= 8) {
    header.protocol = payload[0]!;
    payload = payload.subarray(8 * (payload[1]! + 1));
  }
  if (header.protocol === 17) return headersOfUdp(header, payload);
  if (header.protocol === 4 || header.protocol === 41) return [header, ...headersOfIp(payload)];
  return [header];
}

/** A pcap file of Ethernet frames, as `tcpdump -w -` writes it; a frame that has no IP header is left out. */
export function parsePcap(file: Buffer): Header[][] {
  const packets: Header[][] = [];
  if (file.length < 24) return packets;
  const isBig = file.readUInt32LE(0) === 0xd4c3b2a1;
  const read = (at: number) => (isBig ? file.readUInt32BE(at) : file.readUInt32LE(at));
  for (let at = 24; at + 16 <= file.length; ) {
    const length = read(at + 8);
    const headers = headersOfEthernet(file.subarray(at + 16, at + 16 + length));
    if (headers.length > 0) packets.push(headers);
    at += 16 + length;
  }
  return packets;
}
