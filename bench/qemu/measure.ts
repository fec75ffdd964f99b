import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { loadCapture } from '@pageferry/core/capture';
import { firstDifference } from './compare-ram.ts';
import type { GuestImage } from './guest-image.ts';
import { type HeartbeatGaps, heartbeatGaps } from './heartbeat.ts';
import { enginesOf, type Mode, type Row } from './modes.ts';
import { pageferryDestination, pageferrySource } from './pageferry-process.ts';
import { CostMeter, type ProcessCost } from './process-cost.ts';
import type { QemuBinary } from './qemu-process.ts';
import { qemuDestination, qemuHeartbeatDestination, qemuHeartbeatSource, qemuSource } from './qemu-sides.ts';
import {
  type DestinationSide,
  type HeartbeatGuest,
  RAM_BLOCK,
  type Setting,
  type SourceReport,
  type SourceSide,
  type WatchedSide,
} from './sides.ts';

/** One migration. */
export interface Run extends SourceReport {
  /** Bytes in pages that are not all zero; absent for a running guest. */
  readonly nonZeroBytes?: number;
  readonly source: ProcessCost;
  readonly destination?: ProcessCost;
  readonly heartbeat?: HeartbeatGaps;
}

/** Everything that a measurement needs. */
export interface Setup {
  readonly qemu: QemuBinary;
  readonly image: GuestImage;
  /** The running guest when it dirties. */
  readonly heartbeat: HeartbeatGuest;
  /** Where a file is written to. */
  readonly outPath: string;
}

/** How long both sides have been ready when the migration begins: a running guest is watched meanwhile. */
const SETTLE_MS = 300;
/** How long a running guest is watched after its migration. */
const WATCH_MS = 300;

/**
 * Makes one migration of a row.
 *
 * @param verify compare the guest's RAM at the destination with the image, after the clock has stopped
 * @throws when it fails, or the RAM differs
 */
export function measure(row: Row, setup: Setup, verify: boolean): Promise<Run> {
  const { kind } = row.mode;
  if (kind === 'still') return measureStill(row, setup, verify);
  return kind === 'file' ? measureFile(row, setup, verify) : measureHeartbeat(row, setup);
}

async function measureStill(row: Row, { qemu, image }: Setup, verify: boolean): Promise<Run> {
  const setting = settingOf(row.mode, row.channels);
  const [from, to] = enginesOf(row.pair);
  await using source =
    from === 'qemu' ? await qemuSource(qemu, image, setting) : await pageferrySource(image, setting);
  await using destination =
    to === 'qemu'
      ? await qemuDestination(qemu, image.memoryBytes, setting)
      : await pageferryDestination(image, setting);
  await wait(SETTLE_MS);
  const run = await move(source, destination.uri, destination, image.memoryBytes);
  if (verify) expectSame(await destination.difference(image.rawPath));
  return { ...run, nonZeroBytes: image.nonZeroBytes };
}

async function measureFile(row: Row, { qemu, image, outPath }: Setup, verify: boolean): Promise<Run> {
  const setting = { ...settingOf(row.mode, row.channels), mappedRam: true };
  const [from] = enginesOf(row.pair);
  await using source =
    from === 'qemu' ? await qemuSource(qemu, image, setting) : await pageferrySource(image, setting);
  try {
    await wait(SETTLE_MS);
    touchFreeMemory(outPath, image.memoryBytes);
    const run = await move(source, `file:${outPath}`, undefined, image.memoryBytes);
    if (verify) expectSame(await fileDifference(outPath, image.rawPath));
    return { ...run, nonZeroBytes: image.nonZeroBytes };
  } finally {
    // A file that is there already would be quicker to write.
    rmSync(outPath, { force: true });
  }
}

async function measureHeartbeat(row: Row, { qemu, heartbeat }: Setup): Promise<Run> {
  const setting = settingOf(row.mode, row.channels);
  const guest = row.mode.dirtying ? heartbeat : { ...heartbeat, dirtyRateBytesPerSecond: 0 };
  const isQemu = row.pair === 'qemu-qemu';
  await using source: SourceSide & WatchedSide = isQemu
    ? await qemuHeartbeatSource(qemu, guest, setting)
    : await pageferrySource(guest, setting);
  await using destination: DestinationSide & WatchedSide = isQemu
    ? await qemuHeartbeatDestination(qemu, guest, setting)
    : await pageferryDestination(guest, setting);
  await wait(SETTLE_MS);
  const startMs = Number(process.hrtime.bigint()) / 1e6;
  const run = await move(source, destination.uri, destination, guest.memoryBytes);
  await wait(WATCH_MS);
  const beats = [await source.beats(), await destination.beats()] as const;
  return { ...run, heartbeat: heartbeatGaps(...beats, startMs) };
}

/** The migration itself: what it took, and what it cost the processes from the command to the end. */
async function move(
  source: SourceSide,
  uri: string,
  destination: DestinationSide | undefined,
  ramBytes: number,
): Promise<Run> {
  const sourceMeter = new CostMeter(source.pid);
  const destinationMeter = destination && new CostMeter(destination.pid);
  const [report] = await Promise.all([source.migrate(uri), destination?.arrived()]);
  return {
    ...report,
    source: sourceMeter.cost(ramBytes),
    destination: destinationMeter?.cost(ramBytes),
  };
}

/**
 * Writes a file of that size and removes it: the pages that the measured file gets are then in memory, where a host
 * that takes free pages back gives each anew at several times the cost of a write, to whoever comes first.
 */
function touchFreeMemory(path: string, bytes: number): void {
  const chunk = Buffer.alloc(4 * 2 ** 20);
  const file = openSync(path, 'wx');
  try {
    for (let written = 0; written < bytes; ) written += writeSync(file, chunk);
  } finally {
    closeSync(file);
    rmSync(path);
  }
}

function settingOf({ multifd, compression, level, xbzrle }: Mode, channels = 1): Setting {
  return { multifd, compression, level, xbzrle, channels, mappedRam: false };
}

async function fileDifference(path: string, rawPath: string): Promise<number> {
  const { memory } = await loadCapture(path);
  const ram = memory.find(({ idstr }) => idstr === RAM_BLOCK);
  if (ram === undefined) throw new Error('the written file holds no RAM');
  return firstDifference(rawPath, (at, bytes) => ram.bytes.subarray(at, at + bytes));
}

function expectSame(difference: number): void {
  if (difference >= 0)
    throw new Error(`the guest's RAM differs at the destination, from byte ${difference} on`);
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
