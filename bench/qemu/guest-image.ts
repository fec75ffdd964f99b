import { closeSync, openSync, readSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { extractBlock } from '@pageferry/core/capture';
import { isZeroPage } from '@pageferry/core/memory';
import { generateContent } from '../content.ts';
import { captureLinuxGuest } from './linux-image.ts';
import type { GuestName } from './options.ts';
import { captureTo, type QemuBinary, startQemu } from './qemu-process.ts';
import { RAM_BLOCK } from './sides.ts';

/** The memory that all still migrations move. */
export interface GuestImage {
  readonly memoryBytes: number;
  /** Bytes in pages that are not all zero: what a migration really has to carry. */
  readonly nonZeroBytes: number;
  /** The bytes of its RAM. */
  readonly rawPath: string;
  /** A whole machine with that RAM, stopped, written by QEMU (mapped-ram). */
  readonly capturePath: string;
}

const PAGE_BYTES = 4096;
const CHUNK_BYTES = 4 << 20;

/**
 * Makes the image in a folder, which should be memory: a disk has no part in what is measured.
 *
 * @param cacheFolder where guests are kept that take long to make
 */
export async function makeGuestImage(
  guest: GuestName,
  memoryBytes: number,
  folder: string,
  cacheFolder: string,
  qemu: QemuBinary,
): Promise<GuestImage> {
  const rawPath = join(folder, 'ram');
  const capturePath = join(folder, 'capture');
  if (guest === 'content') generateContent(rawPath, memoryBytes);
  else if (guest === 'tiny') await runTinyGuest(rawPath, memoryBytes, qemu);
  else await extractBlock(await captureLinuxGuest(memoryBytes, cacheFolder, qemu), RAM_BLOCK, rawPath);
  await captureStopped(rawPath, memoryBytes, capturePath, qemu);
  return { memoryBytes, nonZeroBytes: countNonZeroBytes(rawPath), rawPath, capturePath };
}

/** A machine that never ran, around the RAM: the same devices wherever it is sent. */
async function captureStopped(
  rawPath: string,
  memoryBytes: number,
  capturePath: string,
  binary: QemuBinary,
): Promise<void> {
  await using qemu = await startQemu(binary, memoryBytes, { paused: true }, mapped(rawPath));
  await captureTo(qemu, capturePath);
}

/** The tiny guest of the tests, after it has begun to walk over its pages. */
async function runTinyGuest(rawPath: string, memoryBytes: number, binary: QemuBinary): Promise<void> {
  writeFileSync(rawPath, '');
  truncateSync(rawPath, memoryBytes);
  await using qemu = await startQemu(binary, memoryBytes, {}, mapped(rawPath));
  await qemu.waitForMoreSerial();
  await qemu.stop();
}

/** The file is the guest's RAM. */
function mapped(rawPath: string): string {
  return `memory-backend-file,mem-path=${rawPath},share=on`;
}

function countNonZeroBytes(rawPath: string): number {
  const file = openSync(rawPath, 'r');
  const chunk = Buffer.alloc(CHUNK_BYTES);
  let bytes = 0;
  for (let length = readSync(file, chunk); length > 0; length = readSync(file, chunk)) {
    for (let at = 0; at < length; at += PAGE_BYTES) if (!isZeroPage(chunk, at)) bytes += PAGE_BYTES;
  }
  closeSync(file);
  return bytes;
}
