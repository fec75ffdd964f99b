import { execFileSync } from 'node:child_process';
import { findQemu } from '../../test/lib/find-qemus.ts';
import { Qemu, type QemuOptions } from '../../test/lib/qemu.ts';
import { ProcessMemory } from './process-cost.ts';
import { DOWNTIME_LIMIT_MS, RAM_BLOCK, type Setting, type SourceReport } from './sides.ts';

/** The QEMU that is measured. */
export interface QemuBinary {
  readonly path: string;
  /** As it tells. */
  readonly version: string;
}

/** The machine of all measured guests. */
const VERSION = '10.0';
const PATIENCE_MS = 600_000;

/** @throws when it cannot be run or has no mapped-ram (QEMU 9.0 and later have) */
export function chooseQemu(path: string | undefined): QemuBinary {
  if (path === undefined) {
    const { binary, missing } = findQemu(VERSION);
    if (missing !== undefined) throw new Error(missing);
    return chooseQemu(binary);
  }
  const answer = execFileSync(path, ['--version'], { encoding: 'utf8' });
  const version = /version (\d+)\.(\d+)\S*.*/.exec(answer);
  if (version === null || Number(version[1]) < 9)
    throw new Error(`${path} is not QEMU 9.0 or later: ${answer}`);
  return { path, version: version[0].replace('version ', '') };
}

/** A QEMU whose RAM is touched before it runs. `backend`: other than anonymous memory. */
export function startQemu(
  binary: QemuBinary,
  memoryBytes: number,
  options: Omit<QemuOptions, 'version' | 'memoryMib'>,
  backend = 'memory-backend-ram',
): Promise<Qemu> {
  const memory = [
    backend,
    `id=${RAM_BLOCK},size=${memoryBytes},prealloc=on`,
    // The block has the name that it has without an object for it.
    'x-use-canonical-path-for-ramblock-id=off',
  ];
  const ram = ['-object', memory.join(','), '-machine', `memory-backend=${RAM_BLOCK}`];
  return Qemu.start({
    version: VERSION,
    binary: binary.path,
    memoryMib: memoryBytes / 2 ** 20,
    ...options,
    extraArgs: [...ram, ...(options.extraArgs ?? [])],
  });
}

/** The same parameters as pageferry is given, on either side. */
export async function configure(qemu: Qemu, setting: Setting): Promise<void> {
  const { multifd, channels, compression, level, mappedRam, xbzrle } = setting;
  const capabilities = { multifd, 'mapped-ram': mappedRam, 'return-path': !mappedRam, events: true, xbzrle };
  await qemu.setCapabilities(capabilities);
  await qemu.setParameters({
    'multifd-channels': channels,
    'multifd-compression': compression,
    'multifd-zlib-level': level,
    'multifd-zstd-level': level,
    'max-bandwidth': 0,
    'downtime-limit': DOWNTIME_LIMIT_MS,
  });
}

/** Migrates and waits for the source's word that it is over, or else throws. */
export async function migrateAway(qemu: Qemu, uri: string): Promise<SourceReport> {
  qemu.qmp.events.length = 0;
  const start = performance.now();
  await qemu.migrate(uri);
  await migrationOver(qemu);
  const wallMs = performance.now() - start;
  const info = await qemu.waitMigration();
  return {
    wallMs,
    totalMs: info['total-time']!,
    setupMs: info['setup-time']!,
    downtimeMs: info.downtime!,
    transferredBytes: info.ram!.transferred,
  };
}

/** Events, not polling: the monitor's work would be in the measured CPU time. */
export async function migrationOver(qemu: Qemu): Promise<void> {
  const over = ['completed', 'failed'];
  await qemu.qmp.waitForEvent('MIGRATION', ({ data }) => over.includes(String(data?.status)), PATIENCE_MS);
}

/** Loads a capture into a QEMU that was started with `incoming: 'defer'`; it does not run. */
export async function loadCapture(qemu: Qemu, path: string): Promise<void> {
  await qemu.setCapabilities({ 'mapped-ram': true, events: true });
  await qemu.qmp.execute('migrate-incoming', { uri: `file:${path}` });
  await migrationOver(qemu);
  await qemu.waitMigration();
}

/** Writes a stopped machine to a mapped-ram file. */
export async function captureTo(qemu: Qemu, path: string): Promise<void> {
  await qemu.setCapabilities({ 'mapped-ram': true, events: true });
  await qemu.setParameters({ 'max-bandwidth': 0 });
  await migrateAway(qemu, `file:${path}`);
}

/** Where a byte of the guest's physical memory is in the process. */
export async function hostAddress(qemu: Qemu, guestAddress: number): Promise<number> {
  const answer = await qemu.qmp.execute('human-monitor-command', {
    'command-line': `gpa2hva 0x${guestAddress.toString(16)}`,
  });
  const address = /is (0x[0-9a-f]+)/.exec(answer)?.[1];
  if (address === undefined) throw new Error(`QEMU does not tell where its guest's memory is: ${answer}`);
  return Number(address);
}

/** A reader of the block pc.ram. */
export async function ramReader(
  qemu: Qemu,
): Promise<{ read(at: number, target: Buffer): void } & Disposable> {
  const start = await hostAddress(qemu, 0);
  const memory = new ProcessMemory(qemu.pid);
  return {
    read: (at, target) => memory.read(start + at, target),
    [Symbol.dispose]: () => memory[Symbol.dispose](),
  };
}
