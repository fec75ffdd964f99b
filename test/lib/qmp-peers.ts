import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { QmpClient } from '@pageferry/core/qmp';
import { TemporaryFolder } from './capture-files.ts';
import { Cli } from './cli.ts';
import type { QemuVersion } from './find-qemus.ts';
import { expectLiveGuest } from './guest-alive.ts';
import { enable, listen, reach, running } from './migration-phases.ts';
import { Qemu } from './qemu.ts';
import { Served } from './served.ts';

/** A machine that is controlled over QMP, whichever program it is. */
export interface Peer extends AsyncDisposable {
  readonly qmp: QmpClient;
  /** Throws unless the guest runs here, as far as that can be seen. */
  expectAlive(): Promise<void>;
  /** Resolves when the process has ended by itself. */
  readonly exited: Promise<unknown>;
}

/** What a machine is started with. */
export interface PeerOptions {
  /** Waits for `migrate-incoming`. */
  readonly incoming?: boolean;
  readonly uuid?: string;
  /** The guest's RAM is in this file, which other machines map as well. */
  readonly sharedRam?: string;
}

/** How machines of one program and guest are started, for one QEMU version. */
export interface PeerKind {
  readonly name: string;
  /** Whether its guest has vCPUs that write while it is a source. */
  readonly live: boolean;
  start(options: PeerOptions): Promise<Peer>;
}

/** A QEMU with the tiny guest. */
export function qemuKind(version: QemuVersion): PeerKind {
  return {
    name: `QEMU ${version}`,
    live: true,
    async start({ incoming, uuid, sharedRam }) {
      const extraArgs = [
        ...(uuid === undefined ? [] : ['-uuid', uuid]),
        ...(sharedRam === undefined ? [] : sharedMemory(sharedRam)),
      ];
      const qemu = await Qemu.start({ version, extraArgs, ...(incoming && { incoming: 'defer' }) });
      if (!incoming) await qemu.waitForMoreSerial(1);
      return {
        qmp: qemu.qmp,
        async expectAlive() {
          await expectLiveGuest(qemu);
          await qemu.cont();
        },
        exited: qemu.waitExit(30_000),
        [Symbol.asyncDispose]: () => qemu[Symbol.asyncDispose](),
      };
    },
  };
}

/** `pageferry serve`, as a process or, for tests, within this one. */
export type Launch = (args: readonly string[]) => Promise<Omit<Peer, 'expectAlive'>>;

export const servedHere: Launch = (args) => Served.start(...args);

export async function servedByProcess(args: readonly string[]): Promise<Omit<Peer, 'expectAlive'>> {
  const temporary = await TemporaryFolder.create();
  const folder = temporary.path;
  const cli = new Cli(['serve', '--json', '--qmp', `unix:${join(folder, 'qmp')}`, ...args]);
  await cli.event('listening');
  const qmp = await QmpClient.connect({ transport: 'unix', path: join(folder, 'qmp') });
  const exited = cli.finished();
  return {
    qmp,
    exited,
    async [Symbol.asyncDispose]() {
      qmp.close();
      cli.signal('SIGTERM');
      await exited;
      await temporary[Symbol.asyncDispose]();
    },
  };
}

/** Pageferry with its own machine, whose vCPUs write. */
export function builtinKind(version: QemuVersion, launch: Launch): PeerKind {
  return {
    name: 'pageferry',
    live: true,
    async start({ incoming, uuid }) {
      const guest = incoming ? ['--guest', 'builtin'] : ['--guest', 'builtin,size=16M,dirty-rate=64M'];
      return withLife(await launch([...guest, ...common(version, incoming, uuid)]), true);
    },
  };
}

/** Pageferry with a guest of QEMU's: a source sends an image of it, a destination holds it in memory. */
export function heldKind(version: QemuVersion, launch: Launch, image: () => Promise<string>): PeerKind {
  return {
    name: 'pageferry',
    live: false,
    async start({ incoming, uuid, sharedRam }) {
      const awaits = incoming || sharedRam !== undefined;
      const guest = awaits ? [] : ['--image', await image()];
      const peer = withLife(await launch([...guest, ...common(version, awaits, uuid)]), false);
      // Nothing of shared memory is in an image: its guest comes from the QEMU that shares it.
      if (!incoming && sharedRam !== undefined) await takeFrom(version, sharedRam, peer);
      return peer;
    },
  };
}

/** An image of the running tiny guest of a QEMU, made in this file when it is asked for. */
export function imageOf(version: QemuVersion, path: string): () => Promise<string> {
  let recorded: Promise<void> | undefined;
  return async () => {
    recorded ??= recordImage(version, path);
    await recorded;
    return path;
  };
}

/** Lets a destination take in the guest of a QEMU whose RAM stays in its file. */
async function takeFrom(version: QemuVersion, sharedRam: string, destination: Peer): Promise<void> {
  await using source = await qemuKind(version).start({ sharedRam });
  for (const { qmp } of [source, destination]) await enable(qmp, 'x-ignore-shared');
  await source.qmp.execute('migrate', { uri: await listen(destination.qmp) });
  await reach(source.qmp, 'completed');
  await running(destination.qmp);
}

function sharedMemory(path: string): string[] {
  const file = `memory-backend-file,id=pc.ram,size=16M,mem-path=${path},share=on`;
  return ['-object', `${file},x-use-canonical-path-for-ramblock-id=off`, '-machine', 'memory-backend=pc.ram'];
}

async function recordImage(version: QemuVersion, path: string): Promise<void> {
  await using qemu = await Qemu.start({ version });
  await qemu.waitForMoreSerial(1);
  await enable(qemu.qmp, 'events');
  await qemu.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
  await qemu.qmp.execute('migrate', { uri: `exec:cat > '${path}'` });
  await reach(qemu.qmp, 'completed');
}

function common(version: QemuVersion, incoming = false, uuid?: string): string[] {
  return [
    ...['--qemu-version', version],
    ...(incoming ? ['--incoming', 'defer'] : []),
    ...(uuid === undefined ? [] : ['--uuid', uuid]),
  ];
}

function withLife(peer: Omit<Peer, 'expectAlive'>, writes: boolean): Peer {
  return {
    qmp: peer.qmp,
    exited: peer.exited,
    expectAlive: () => expectRunning(peer.qmp, writes),
    [Symbol.asyncDispose]: () => peer[Symbol.asyncDispose](),
  };
}

/** Of a machine with vCPUs, that they write: the dirty rate is not 0. */
async function expectRunning(qmp: QmpClient, writes: boolean): Promise<void> {
  const { running, status } = await qmp.execute('query-status');
  if (!running) throw new Error(`the guest is ${status}`);
  if (!writes) return;
  await qmp.execute('calc-dirty-rate', { 'calc-time': 1, mode: 'dirty-ring' });
  while ((await qmp.execute('query-dirty-rate')).status !== 'measured') await sleep(20);
  const rate = (await qmp.execute('query-dirty-rate'))['dirty-rate'];
  if (!rate) throw new Error(`the guest dirties ${rate} MiB/s`);
}
