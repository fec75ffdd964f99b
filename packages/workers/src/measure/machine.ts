import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isZeroPage, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { median } from './median.ts';

/** What this machine does with plain memory, one thread. */
export interface MachineCosts {
  readonly memoryCopyBytesPerSecond: number;
  /** CPU seconds to find out that a page is zero, per byte of it. */
  readonly zeroCpuSecondsPerByte: number;
}

const BYTES = 64 * 2 ** 20;
const ROUNDS = 5;

/** Measures it, in this thread: about 100 ms. */
export function measureMachine(): MachineCosts {
  const from = Buffer.from(new SharedArrayBuffer(BYTES));
  const to = Buffer.alloc(BYTES);
  // Touched, and out of the kernel's one page of zeros.
  from.fill(1);
  to.fill(1);
  const copies = Array.from({ length: ROUNDS }, () => seconds(() => from.copy(to)));
  from.fill(0);
  const checks = Array.from({ length: ROUNDS }, () => seconds(() => countZeroPages(from)));
  return {
    memoryCopyBytesPerSecond: BYTES / median(copies),
    zeroCpuSecondsPerByte: median(checks) / BYTES,
  };
}

function countZeroPages(bytes: Uint8Array): number {
  let count = 0;
  for (let at = 0; at < bytes.length; at += TARGET_PAGE_BYTES) if (isZeroPage(bytes, at)) count++;
  return count;
}

function seconds(action: () => unknown): number {
  const start = performance.now();
  action();
  return (performance.now() - start) / 1000;
}

/** Packages that compress, beside what Node brings. */
const PACKAGES = ['minizlib', 'pako', '@mongodb-js/zstd', 'lz4-napi'];

/** Versions of the compression libraries, by name. */
export function libraryVersions(): Record<string, string> {
  const versions: Record<string, string> = {};
  for (const name of ['zlib', 'zstd'] as const) {
    const version = process.versions[name];
    if (version !== undefined) versions[name] = version;
  }
  for (const name of PACKAGES) {
    const version = packageVersion(name);
    if (version !== undefined) versions[name] = version;
  }
  return versions;
}

/** A package need not let its manifest be imported: it is looked for above its entry. */
function packageVersion(name: string): string | undefined {
  try {
    let folder = dirname(fileURLToPath(import.meta.resolve(name)));
    while (dirname(folder) !== folder) {
      const manifest = readManifest(join(folder, 'package.json'));
      if (manifest?.name === name) return manifest.version;
      folder = dirname(folder);
    }
  } catch {
    // Not installed for this platform: it has no version here.
  }
  return undefined;
}

function readManifest(path: string): { name?: string; version?: string } | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as { name?: string; version?: string };
  } catch {
    return undefined;
  }
}
