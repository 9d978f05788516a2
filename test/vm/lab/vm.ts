/** One machine: a qemu process with its drives and interfaces, and the line to its agent. It dies with whoever started it. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Base } from './base.ts';
import { Control, type Ran } from './control.ts';
import type { Namespace } from './namespace.ts';

export interface VmOptions {
  name: string;
  /** A folder of its own, for console, sockets and disks. */
  dir: string;
  base: Base;
  /** Where its taps are; a machine without interfaces needs none. */
  namespace?: Namespace;
  nics?: readonly { tap: string; mac: string }[];
  /** Further drives by serial number; guest/init knows where each is mounted. "state" is writable. */
  drives?: Readonly<Record<string, string>>;
  processors?: number;
  memoryMebibytes?: number;
  /** For emulated processors' code once it is translated. When it is full all of it goes: processes of Node fill much. */
  translationMebibytes?: number;
}

/** Far more than a machine takes: others may be busy on the same processors. */
const bootTimeoutMs = 180_000;

const kernelArguments =
  'console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check mitigations=off random.trust_cpu=on net.ifnames=0';

function driveArguments([serial, file]: [string, string]): string[] {
  const access = serial === 'state' ? 'cache=writeback' : 'readonly=on,cache=writeback,file.locking=off';
  return [
    ...['-drive', `if=none,id=${serial},file=${file},format=raw,aio=threads,${access}`],
    ...['-device', `virtio-blk-pci,drive=${serial},serial=${serial}`],
  ];
}

const nicArguments = ({ tap, mac }: { tap: string; mac: string }, i: number): string[] => [
  ...['-netdev', `tap,id=n${i},ifname=${tap},script=no,downscript=no,vhost=off`],
  ...['-device', `virtio-net-pci,netdev=n${i},mac=${mac},romfile=`],
];

function qemuArguments(options: VmOptions): string[] {
  const { name, dir, base, nics = [], drives = {}, processors = 1, memoryMebibytes = 256 } = options;
  const { translationMebibytes = 128 } = options;
  return [
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-M', 'q35'],
    ...['-accel', process.env['CULVERT_VM_ACCEL'] ?? `tcg,thread=multi,tb-size=${translationMebibytes}`],
    ...['-cpu', 'qemu64'],
    ...['-smp', String(processors), '-m', String(memoryMebibytes)],
    ...['-kernel', base.kernel, '-initrd', base.initramfs, '-append', `${kernelArguments} culvert.name=${name}`],
    ...['-chardev', `file,id=console,path=${join(dir, 'console.log')}`, '-serial', 'chardev:console'],
    ...['-device', 'virtio-serial-pci', '-chardev', `socket,id=control,path=${join(dir, 'control')}`],
    ...['-device', 'virtserialport,chardev=control,name=control', '-device', 'virtio-rng-pci'],
    ...Object.entries({ root: base.root, ...drives }).flatMap(driveArguments),
    ...nics.flatMap(nicArguments),
  ];
}

const textOf = (file: string): string => {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
};

export class Vm {
  readonly name: string;
  readonly #options: VmOptions;
  #control!: Control;
  #qemu: ChildProcess | undefined;

  private constructor(options: VmOptions) {
    this.name = options.name;
    this.#options = options;
  }

  /** A machine whose agent answers. */
  static async boot(options: VmOptions): Promise<Vm> {
    const vm = new Vm(options);
    await vm.boot();
    return vm;
  }

  /** Switches it on, with the disks as they are. */
  async boot(): Promise<void> {
    const { dir, namespace } = this.#options;
    mkdirSync(dir, { recursive: true });
    const socket = join(dir, 'control');
    rmSync(socket, { force: true });
    this.#control = await Control.listen(socket);
    const control = this.#control;
    // the kernel kills it when we die, however we die
    const argv = ['setpriv', '--pdeathsig', 'KILL', 'qemu-system-x86_64', ...qemuArguments(this.#options)];
    const [program, ...args] = [...(namespace?.enter ?? []), ...argv] as [string, ...string[]];
    const log = openSync(join(dir, 'qemu.log'), 'w');
    this.#qemu = spawn(program, args, { stdio: ['ignore', log, log] });
    closeSync(log);
    this.#qemu.once('error', (error) => control.close(error));
    this.#qemu.once('close', (code, signal) =>
      control.close(new Error(`${this.name} is switched off (${signal ?? `exit ${code}`}); ${this.#lastWords()}`)),
    );
    const late = sleep(bootTimeoutMs, undefined, { ref: false }).then(() => {
      throw new Error(`${this.name} has not booted in ${bootTimeoutMs / 1000} s; ${this.#lastWords()}`);
    });
    await Promise.race([control.ready, late]);
  }

  #lastWords(): string {
    const { dir } = this.#options;
    const tail = (file: string) => textOf(join(dir, file)).trim().split('\n').slice(-8).join('\n');
    return `qemu: ${tail('qemu.log') || 'no words'}; console:\n${tail('console.log')}`;
  }

  get consoleFile(): string {
    return join(this.#options.dir, 'console.log');
  }

  /** Runs a bash script as root in it; any exit code is an answer. Scripts run side by side. */
  run(script: string): Promise<Ran> {
    return this.#control.run(script);
  }

  /** The same; answers what it printed, throws with its words unless it ends with 0. */
  async exec(script: string): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(script);
    if (exitCode !== 0) throw new Error(`${this.name}: exit ${exitCode}: ${script}\n${stderr}${stdout}`);
    return stdout;
  }

  /** Switches it off like a power cut: what it had not written is lost. */
  async off(): Promise<void> {
    const qemu = this.#qemu;
    this.#qemu = undefined;
    if (!qemu || qemu.exitCode !== null || qemu.signalCode !== null) return;
    const closed = once(qemu, 'close');
    qemu.kill('SIGKILL');
    await closed;
  }

  /** A reboot in order: file systems written first. */
  async reboot(): Promise<void> {
    const closed = once(this.#qemu!, 'close');
    this.run('sync; mount -o remount,ro / 2>/dev/null; busybox reboot -f').catch(() => {}); // it does not come to answer
    await closed;
    await this.boot();
  }
}
