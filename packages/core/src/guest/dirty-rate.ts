import { setTimeout as delay } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { checkInteger } from '../check-integer.ts';
import { MigrationError } from '../error.ts';
import { BlockView } from '../memory/block-view.ts';
import { openDirtyLog } from '../memory/dirty-log.ts';
import { type RamBlockMemory, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import type { Guest } from './contract.ts';
import { isMoving } from './moving.ts';
import { VcpuThrottle } from './vcpu-throttle.ts';

/**
 * How the rate is found, QEMU's names:
 * - `page-sampling`: pages chosen by chance are hashed at both ends of the time; works with any guest.
 * - `dirty-bitmap`: the pages that were marked in the dirty log.
 * - `dirty-ring`: the pages that went through the vCPUs' dirty rings; for each vCPU.
 */
export const DIRTY_RATE_MODES = ['page-sampling', 'dirty-ring', 'dirty-bitmap'] as const;
export type DirtyRateMode = (typeof DIRTY_RATE_MODES)[number];

export interface DirtyRateOptions {
  /** 50 to 60,000. */
  readonly calcTimeMs: number;
  /** `page-sampling` by default. */
  readonly mode?: DirtyRateMode;
  /** Pages that are hashed for each GiB of RAM, 128 to 16,384; 512 by default. */
  readonly samplePages?: number;
}

/** What `query-dirty-rate` tells. Rates in MiB/s. */
export interface DirtyRateInfo {
  readonly status: 'unstarted' | 'measuring' | 'measured';
  /** Only when measured. */
  readonly dirtyRate?: number;
  /** When the last measurement began, ms since the epoch; 0: there was none. */
  readonly startTimeMs: number;
  readonly calcTimeMs: number;
  /** 0 where no pages are sampled. */
  readonly samplePages: number;
  readonly mode: DirtyRateMode;
  /** Only when measured by dirty rings. */
  readonly vcpuDirtyRate?: readonly { readonly id: number; readonly dirtyRate: number }[];
}

const DEFAULT_SAMPLE_PAGES = 512;
/** Smaller blocks tell nothing about a guest's RAM. */
const SMALLEST_SAMPLED_BYTES = 128 * 1024;
/** So many pages are hashed before the event loop gets its turn. */
const HASHES_AT_ONCE = 512;

/** What a measurement found, MiB/s. */
interface Rates {
  readonly dirtyRate: number;
  readonly vcpuDirtyRate?: DirtyRateInfo['vcpuDirtyRate'];
}

/** Gives the rates once the time is over; told how long it really was. */
type Reader = (elapsedMs: number) => Promise<Rates>;

/** Measures how fast a guest dirties its memory (`calc-dirty-rate`), whether or not it is being migrated. */
export class DirtyRateMeter {
  readonly #guest: Pick<Guest, 'memory'>;
  readonly #stop = new AbortController();
  #info: DirtyRateInfo = {
    status: 'unstarted',
    startTimeMs: 0,
    calcTimeMs: 0,
    samplePages: 0,
    mode: 'page-sampling',
  };

  /** @param guest the very object that is given to `migrate`: the marks of a dirty log that moves it are left alone */
  constructor(guest: Pick<Guest, 'memory'>) {
    this.#guest = guest;
  }

  query(): DirtyRateInfo {
    return this.#info;
  }

  /** Ends what is being measured. */
  close(): void {
    this.#stop.abort();
  }

  /**
   * Measures; the promise resolves when `query` has the result.
   * @throws MigrationError `bad-option` for options that cannot be, also while another measurement is under way;
   *   `unsupported` for a mode that this guest has not
   */
  async measure(options: DirtyRateOptions): Promise<void> {
    const { calcTimeMs, mode = 'page-sampling', samplePages = DEFAULT_SAMPLE_PAGES } = options;
    if (this.#info.status === 'measuring') {
      throw new MigrationError('bad-option', 'the dirty rate is being measured already');
    }
    checkInteger('calc-time', calcTimeMs, 50, 60_000);
    checkInteger('sample-pages', samplePages, 128, 16_384);
    if (options.samplePages !== undefined && mode !== 'page-sampling') {
      throw new MigrationError('bad-option', `sample-pages does not go with mode ${mode}`);
    }
    const sampled = mode === 'page-sampling' ? samplePages : 0;
    const begin = this.#reader(mode, sampled);
    const startTimeMs = Date.now();
    const info = { startTimeMs, calcTimeMs, samplePages: sampled, mode };
    this.#info = { status: 'measuring', ...info };
    const read = await begin();
    const startMs = performance.now();
    await delay(calcTimeMs, undefined, { signal: this.#stop.signal }).catch(() => {});
    const rates = await read(performance.now() - startMs);
    this.#info = { status: 'measured', ...info, ...rates };
  }

  #reader(mode: DirtyRateMode, samplePages: number): () => Promise<Reader> {
    const { throttle, dirtyLog, blocks } = this.#guest.memory;
    if (mode === 'page-sampling') return () => sampling(blocks, samplePages);
    if (throttle === undefined) {
      throw new MigrationError('unsupported', `this guest's vCPUs do not count what they write: no ${mode}`, {
        expected: 'page-sampling',
      });
    }
    const vcpus = new VcpuThrottle(throttle);
    if (mode === 'dirty-ring') return async () => fromRings(vcpus);
    return async () => {
      if (!isMoving(this.#guest)) openDirtyLog(dirtyLog, blocks).start();
      return fromLog(vcpus);
    };
  }
}

function fromRings(vcpus: VcpuThrottle): Reader {
  const count = counter(vcpus.vcpuCount, (vcpu) => vcpus.ringPages(vcpu));
  return async (elapsedMs) => {
    const vcpuDirtyRate = count().map((pages, id) => ({ id, dirtyRate: mibPerSecond(pages, elapsedMs) }));
    return { dirtyRate: vcpuDirtyRate.reduce((sum, { dirtyRate }) => sum + dirtyRate, 0), vcpuDirtyRate };
  };
}

function fromLog(vcpus: VcpuThrottle): Reader {
  const count = counter(vcpus.vcpuCount, (vcpu) => vcpus.markedPages(vcpu));
  return async (elapsedMs) => {
    const pages = count().reduce((sum, each) => sum + each, 0);
    return { dirtyRate: mibPerSecond(pages, elapsedMs) };
  };
}

/** What each vCPU's count, which wraps at 2^32, has grown by. */
function counter(vcpuCount: number, read: (vcpu: number) => number): () => number[] {
  const before = Array.from({ length: vcpuCount }, (_, vcpu) => read(vcpu));
  return () => before.map((count, vcpu) => (read(vcpu) - count) >>> 0);
}

async function sampling(blocks: readonly RamBlockMemory[], pagesPerGiB: number): Promise<Reader> {
  const sampled = blocks.filter(({ usedLengthBytes }) => usedLengthBytes >= SMALLEST_SAMPLED_BYTES);
  const samples = sampled.map((block) => new BlockSample(block, pagesPerGiB));
  for (const sample of samples) await sample.hash();
  return async (elapsedMs) => {
    let pages = 0;
    for (const sample of samples) pages += (await sample.changedShare()) * sample.pageCount;
    return { dirtyRate: mibPerSecond(pages, elapsedMs) };
  };
}

/** Pages of a block, chosen by chance, and what they held. */
class BlockSample {
  readonly pageCount: number;
  readonly #view: BlockView;
  readonly #pages: Uint32Array;
  readonly #hashes: Uint32Array;

  constructor(memory: RamBlockMemory, pagesPerGiB: number) {
    const view = new BlockView(memory);
    const count = Math.max(1, Math.round((memory.usedLengthBytes / 2 ** 30) * pagesPerGiB));
    this.pageCount = view.pageCount;
    this.#view = view;
    this.#pages = Uint32Array.from({ length: count }, () => Math.floor(Math.random() * view.pageCount));
    this.#hashes = new Uint32Array(count);
  }

  hash(): Promise<void> {
    return this.#each((hash, sample) => {
      this.#hashes[sample] = hash;
    });
  }

  async changedShare(): Promise<number> {
    let changed = 0;
    await this.#each((hash, sample) => {
      if (hash !== this.#hashes[sample]) changed++;
    });
    return changed / this.#pages.length;
  }

  async #each(use: (hash: number, sample: number) => void): Promise<void> {
    for (const [sample, page] of this.#pages.entries()) {
      use(crc32(this.#view.view(page, 1)), sample);
      if (sample % HASHES_AT_ONCE === HASHES_AT_ONCE - 1)
        await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

function mibPerSecond(pages: number, elapsedMs: number): number {
  return Math.round(((pages * TARGET_PAGE_BYTES) / 2 ** 20 / elapsedMs) * 1000);
}
