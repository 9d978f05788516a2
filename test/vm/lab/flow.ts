/** Packets and bytes that flow between pods while something else happens, sent and counted inside of the machines. */

import type { Flow } from '../../support/flow.ts';
import type { LabNode } from './node.ts';

let next = 0;

/** A script on a node that looks for the file $end to know when to end; answers what it printed. */
function until(node: LabNode, script: string): Flow<string> {
  const end = `/run/flow-${next++}`;
  const running = node.vm.exec(`end=${end}\n${script}`);
  running.catch(() => {}); // whoever stops it hears of it
  return {
    async stop() {
      await node.vm.exec(`touch ${end}`);
      return running;
    },
  };
}

const pingsPerSecond = 50;
/** Machines that share processors stand still for a second now and then: so long an answer may take. */
const answerSeconds = 5;
const spare = answerSeconds * pingsPerSecond;
/** The first ones are no sign of anything but that they began: see `Pings.begun`. */
const warmUp = 10;

export interface PingCount {
  readonly sent: number;
  /** From the first to the last, of those that do not count too. */
  readonly seconds: number;
  /** Sequence numbers that were not answered: "17-42", of fifty a second. */
  readonly missing: readonly string[];
}

export interface Pings extends Flow<PingCount> {
  /**
   * The first have been answered, and what comes counts. Of the first the second one was seen to be lost, before anything was changed; that fits
   * connection tracking, which drops one of two packets that reach two processors before their connection is known. Not shown.
   */
  begun(): Promise<void>;
}

/** What came of pings, by ping's own words; the first do not count, nor do the last, which were sent only for the others' answers to come. */
export function countPings(said: string): PingCount {
  const [, transmitted, ms] = /(\d+) packets transmitted.* time (\d+)ms/.exec(said) ?? [];
  const last = Number(transmitted) - spare;
  const answered = new Set(Array.from(said.matchAll(/icmp_seq=(\d+) ttl/g), ([, seq]) => Number(seq)));
  const missing: string[] = [];
  for (let seq = warmUp + 1; seq <= last; seq++) {
    const first = seq;
    while (seq <= last && !answered.has(seq)) seq++;
    if (seq > first) missing.push(`${first}-${seq - 1}`);
  }
  return { sent: last - warmUp, seconds: Number(ms) / 1000, missing };
}

/**
 * Pings from a node's first pod, at least `count` of them and until stopped. ping itself is no judge: in the end it waits for two
 * round trips, and calls later answers lost.
 */
export function pings(from: LabNode, address: string, count: number): Pings {
  const answers = `/run/pings-${next}`;
  const flow = until(
    from,
    `ip netns exec ${from.pods[0]!.name} ping -ni${1 / pingsPerSecond} ${address} >${answers} &
    while [ ! -e $end ] || [ $(wc -l <${answers}) -lt ${warmUp + count + spare} ]; do sleep 1; done
    sleep ${answerSeconds + 1}
    kill -INT $!; wait
    grep -oE 'icmp_seq=[0-9]+ ttl|[0-9]+ packets transmitted.*' ${answers}; rm ${answers}`,
  );
  return {
    async begun() {
      // one line before them; where nothing is answered `missing` will say so
      const lines = `$(cat ${answers} 2>/dev/null | wc -l)`;
      await from.vm.exec(`for i in $(seq 100); do [ ${lines} -gt ${warmUp + 1} ] && break; sleep 0.2; done`);
    },
    async stop() {
      return countPings(await flow.stop());
    },
  };
}

/**
 * One TCP connection between first pods, 50 kilobytes a second in segments of full size; answers checksum and bytes as each end has
 * them. Nothing but bash's own words in the loop: to start a program takes an emulated machine long.
 */
export function tcpStream(from: LabNode, to: LabNode, address: string): Flow<{ sent: string; received: string }> {
  const port = 7000 + next;
  // nc closes its half of the connection where its input ends
  const receiver = `exec <> <(:)\nip netns exec ${to.pods[0]!.name} busybox nc -l -p ${port} | cksum`;
  const received = to.vm.exec(receiver);
  received.catch(() => {});
  const sender = `
    chunk=$(head -c15000 /dev/urandom | base64 -w0)
    exec 4<> <(:)
    until exec 3>/dev/tcp/${address}/${port}; do read -rt0.1 -u4; done 2>/dev/null
    while [ ! -e $end ]; do
      echo $((n++)) $chunk
      read -rt0.4 -u4
    done | tee >(cat >&3) | cksum`;
  const flow = until(from, `export end; ip netns exec ${from.pods[0]!.name} bash -c '${sender}'`);
  return {
    async stop() {
      return { sent: await flow.stop(), received: await received };
    },
  };
}
