import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildLinuxGuest, LINUX_GUEST_READY } from '../../scripts/linux-guest/build.ts';
import { captureTo, type QemuBinary, startQemu } from './qemu-process.ts';

const SCRIPTS = fileURLToPath(new URL('../../scripts/linux-guest/', import.meta.url));
const BOOT_LIMIT_MS = 300_000;

/** What kernel and programs need besides the files. */
const SYSTEM_BYTES = 128 * 2 ** 20;
/** While the guest boots, the files are there unpacked and compressed. */
const FILES_SHARE = 0.6;
/**
 * How much of the files becomes anonymous memory. It takes the place of the compressed files, which the kernel
 * overwrites; what was copied leaves free memory that holds old content, as everywhere.
 */
const ANONYMOUS_SHARE = 0.6;

/**
 * A capture (mapped-ram, by QEMU) of a Linux guest whose memory is full of this machine's files. Made once: it
 * stays in the folder until the guest's scripts change.
 *
 * @throws when it cannot be built here; see `buildLinuxGuest`
 */
export async function captureLinuxGuest(
  memoryBytes: number,
  cacheFolder: string,
  binary: QemuBinary,
): Promise<string> {
  const filesBytes = Math.floor((memoryBytes - SYSTEM_BYTES) * FILES_SHARE);
  if (filesBytes <= 0) throw new Error('the Linux guest needs more memory than that');
  const path = join(cacheFolder, `linux-${memoryBytes / 2 ** 20}M-${scriptsHash()}`);
  if (existsSync(path)) return path;
  mkdirSync(cacheFolder, { recursive: true });
  const anonymousBytes = Math.floor(filesBytes * ANONYMOUS_SHARE);
  const { kernelPath, initrdPath, commandLine } = await buildLinuxGuest({
    folder: join(cacheFolder, 'linux-guest'),
    cacheBytes: filesBytes - anonymousBytes,
    anonymousBytes,
  });
  const firmware = ['-bios', 'bios-256k.bin'];
  const boot = ['-kernel', kernelPath, '-initrd', initrdPath, '-append', commandLine];
  await using qemu = await startQemu(binary, memoryBytes, { extraArgs: [...firmware, ...boot] });
  await qemu.waitForSerial(LINUX_GUEST_READY, BOOT_LIMIT_MS);
  const console = await qemu.serialOutput();
  if (console.includes('unpacking failed')) throw new Error(`the guest's files do not fit: ${console}`);
  await qemu.stop();
  await captureTo(qemu, `${path}.part`);
  renameSync(`${path}.part`, path);
  rmSync(initrdPath);
  return path;
}

/** Of everything that decides what the guest is. */
function scriptsHash(): string {
  const hash = createHash('sha256');
  for (const name of readdirSync(SCRIPTS).sort()) hash.update(readFileSync(join(SCRIPTS, name)));
  return hash.digest('hex').slice(0, 12);
}
