import { fileURLToPath } from 'node:url';
import type { Qemu } from '../../test/lib/qemu.ts';
import { firstDifference } from './compare-ram.ts';
import type { GuestImage } from './guest-image.ts';
import { type Beat, HeartbeatWatch } from './heartbeat.ts';
import {
  configure,
  hostAddress,
  loadCapture,
  migrateAway,
  migrationOver,
  type QemuBinary,
  ramReader,
  startQemu,
} from './qemu-process.ts';
import {
  BEATS_PER_SECOND,
  type ComparableSide,
  type DestinationSide,
  type HeartbeatGuest,
  type Setting,
  type SourceReport,
  type SourceSide,
  type WatchedSide,
} from './sides.ts';

const HEARTBEAT_ROM = fileURLToPath(new URL('./heartbeat-guest/heartbeat.bin', import.meta.url));
/** Where `heartbeat.asm` is told what to do. */
const PARAMETERS_ADDRESS = 0x8000;
const PAGE_BYTES = 4096;
const FILL_LIMIT_MS = 120_000;

class QemuSide implements AsyncDisposable {
  readonly pid: number;
  protected readonly qemu: Qemu;

  constructor(qemu: Qemu) {
    this.qemu = qemu;
    this.pid = qemu.pid;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.qemu[Symbol.asyncDispose]();
  }
}

class QemuSource extends QemuSide implements SourceSide {
  migrate(uri: string): Promise<SourceReport> {
    return migrateAway(this.qemu, uri);
  }
}

class QemuDestination extends QemuSide implements ComparableSide {
  readonly uri: string;

  constructor(qemu: Qemu, uri: string) {
    super(qemu);
    this.uri = uri;
  }

  async arrived(): Promise<void> {
    await migrationOver(this.qemu);
    await this.qemu.waitMigration();
  }

  async difference(rawPath: string): Promise<number> {
    using memory = await ramReader(this.qemu);
    return firstDifference(rawPath, (at, bytes) => {
      const chunk = Buffer.alloc(bytes);
      memory.read(at, chunk);
      return chunk;
    });
  }
}

/** Does `work` with a QEMU that was just started; when that fails, ends it. */
async function withQemu<T>(qemu: Qemu, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    await qemu[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * A stopped guest with the image's RAM, in anonymous memory as QEMU's own is: mapping the image instead would
 * keep huge pages out.
 */
export async function qemuSource(
  binary: QemuBinary,
  image: GuestImage,
  setting: Setting,
): Promise<SourceSide> {
  const qemu = await startQemu(binary, image.memoryBytes, { paused: true, incoming: 'defer' });
  return withQemu(qemu, async () => {
    await loadCapture(qemu, image.capturePath);
    await configure(qemu, setting);
    return new QemuSource(qemu);
  });
}

export async function qemuDestination(
  binary: QemuBinary,
  memoryBytes: number,
  setting: Setting,
): Promise<ComparableSide> {
  const qemu = await startQemu(binary, memoryBytes, { paused: true, incoming: 'defer' });
  return withQemu(qemu, async () => {
    await configure(qemu, setting);
    return new QemuDestination(qemu, await qemu.listen('tcp:127.0.0.1:0'));
  });
}

/** The guest of `heartbeat-guest/`, running, its RAM filled. */
export async function qemuHeartbeatSource(
  binary: QemuBinary,
  guest: HeartbeatGuest,
  setting: Setting,
): Promise<SourceSide & WatchedSide> {
  const pagesPerBeat = Math.round(guest.dirtyRateBytesPerSecond / PAGE_BYTES / BEATS_PER_SECOND);
  const parameters = [guest.workingSetBytes / PAGE_BYTES, pagesPerBeat, guest.memoryBytes];
  const loader = parameters.flatMap((data, index) => [
    '-device',
    `loader,addr=${PARAMETERS_ADDRESS + 4 * index},data=${data},data-len=4`,
  ]);
  const extraArgs = ['-bios', HEARTBEAT_ROM, ...loader];
  const qemu = await startQemu(binary, guest.memoryBytes, { extraArgs });
  return withQemu(qemu, async () => {
    await qemu.waitForSerial('F', FILL_LIMIT_MS);
    await configure(qemu, setting);
    return watched(qemu, guest, new QemuSource(qemu));
  });
}

export async function qemuHeartbeatDestination(
  binary: QemuBinary,
  guest: HeartbeatGuest,
  setting: Setting,
): Promise<DestinationSide & WatchedSide> {
  const extraArgs = ['-bios', HEARTBEAT_ROM];
  const qemu = await startQemu(binary, guest.memoryBytes, { incoming: 'defer', extraArgs });
  return withQemu(qemu, async () => {
    await configure(qemu, setting);
    return watched(qemu, guest, new QemuDestination(qemu, await qemu.listen('tcp:127.0.0.1:0')));
  });
}

/** Its heartbeat is the first word of the last page. */
async function watched<T extends object>(
  qemu: Qemu,
  guest: HeartbeatGuest,
  side: T,
): Promise<T & WatchedSide> {
  const address = await hostAddress(qemu, guest.memoryBytes - PAGE_BYTES);
  const watch = await HeartbeatWatch.start();
  watch.watch({ kind: 'process', pid: qemu.pid, address });
  return Object.assign(side, { beats: (): Promise<Beat[]> => watch.end() });
}
