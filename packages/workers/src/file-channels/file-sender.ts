import { type ChannelStats, MigrationError, type PageSender, workerEntry } from '@pageferry/core';
import { type AtomicFile, writeFully } from '@pageferry/core/capture';
import { DirtyBitmap, type RamBlockMemory, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { type MappedRamPlace, MULTIFD_PAGES_PER_PACKET, mappedRamBitmapBytes } from '@pageferry/core/wire';
import { ChannelPool, type WarmUp } from '../channels/channel-pool.ts';
import type { FileTask } from './file-worker.ts';
import { JobDispatcher } from './job-dispatcher.ts';
import type { PlacedBlock } from './page-writer.ts';

export interface FilePageSenderOptions {
  /** Threads, 1 to 255. */
  readonly channels: number;
  readonly detectZero: boolean;
  /** Threads from `writingPool` with as many channels, started before. */
  readonly pool?: ChannelPool | undefined;
  /** The file; asked for when it is opened for pages. */
  file(): Promise<AtomicFile>;
  /** Removes the file. Never rejects. */
  discard(): Promise<void>;
}

/** Threads that write pages; not started yet. */
export function writingPool(channels: number): ChannelPool {
  return new ChannelPool(workerEntry(import.meta.url, './file-worker'), channels);
}

/** How long the threads may take to end once everything was written. */
const CLOSE_LIMIT_MS = 5000;

/** The bitmap of one block and where in the file it goes. */
interface Bitmap {
  readonly present: DirtyBitmap;
  readonly offset: number;
  readonly bytes: number;
}

/**
 * Page channels into a mapped-ram file, a thread for each. A page's place is fixed, so that later content
 * replaces earlier content; the bitmaps that say which pages are there are written last, in `close`.
 */
export class FilePageSender implements PageSender, WarmUp {
  readonly pagesPerSubmit = MULTIFD_PAGES_PER_PACKET;
  readonly failed: Promise<never>;
  readonly #options: FilePageSenderOptions;
  readonly #pool: ChannelPool;
  readonly #jobs: JobDispatcher;
  #file: AtomicFile | undefined;
  #bitmaps: Bitmap[] = [];
  #endedThreads = 0;

  constructor(options: FilePageSenderOptions) {
    this.#options = options;
    this.#pool = options.pool ?? writingPool(options.channels);
    this.#jobs = new JobDispatcher(this.#pool, options.channels);
    this.failed = this.#pool.failed;
  }

  async open(blocks: readonly RamBlockMemory[], places?: readonly MappedRamPlace[]): Promise<void> {
    if (places === undefined) throw new MigrationError('internal', 'a file needs places for its blocks');
    const file = await this.#options.file();
    this.#file = file;
    const placed = blocks.map((memory, index): PlacedBlock => {
      const { pagesOffset, bitmapOffset } = places[index]!;
      const present = new DirtyBitmap(memory.usedLengthBytes / TARGET_PAGE_BYTES);
      const bytes = mappedRamBitmapBytes(memory.usedLengthBytes);
      this.#bitmaps.push({ present, offset: bitmapOffset, bytes });
      return { memory, pagesOffset, present: present.buffer };
    });
    const turn = new SharedArrayBuffer(4);
    const cells = this.#jobs.cells.map(({ buffer }) => buffer);
    for (let channel = 0; channel < cells.length; channel++) {
      const task: FileTask = {
        channel,
        temporaryPath: file.temporaryPath,
        path: file.path,
        detectZero: this.#options.detectZero,
        blocks: placed,
        cells,
        words: this.#pool.words.buffer,
        turn,
      };
      this.#pool.run(file.path, task, [], () => this.#endedThreads++);
    }
    await this.#jobs.opened();
  }

  submit(blockIndex: number, pages: Uint32Array, count: number): boolean {
    return this.#jobs.submit(blockIndex, pages, count);
  }

  drained(): Promise<void> {
    return this.#jobs.drained();
  }

  /** Two writes of one page never meet: a pass begins when the one before is in the file. */
  sync(): Promise<void> {
    return this.#jobs.flushed();
  }

  flushed(): Promise<void> {
    return this.#jobs.flushed();
  }

  async close(): Promise<void> {
    try {
      await this.#jobs.flushed();
      await Promise.all([this.#writeBitmaps(), this.#endThreads()]);
    } catch (error) {
      await this.abort(MigrationError.from(error, 'internal'));
      throw error;
    }
  }

  async #writeBitmaps(): Promise<void> {
    for (const { present, offset, bytes } of this.#bitmaps) {
      await writeFully(this.#file!.handle, this.#file!.path, encodeBitmap(present, bytes), offset);
    }
  }

  /** Waits until each thread has closed the file; that the pool takes them down needs not be waited for. */
  async #endThreads(): Promise<void> {
    await this.#jobs.end();
    const gone = this.#pool.finish(CLOSE_LIMIT_MS);
    gone.catch(() => {});
    await Promise.race([this.#pool.until(() => this.#endedThreads === this.#options.channels), gone]);
  }

  /** Ends the threads and removes the file. */
  async abort(error: Error): Promise<void> {
    const ended = this.#pool.abort(error);
    // They sleep in `Atomics.wait`, where only their own bell wakes them.
    this.#jobs.wake();
    await Promise.all([ended, this.#options.discard()]);
  }

  warmUp(): void {
    this.#pool.warmUp();
  }

  stats(): ChannelStats[] {
    return this.#jobs.cells.map((cells, channel) => cells.stats(channel));
  }
}

/** As the file has it: bit 0 of the first byte is page 0, whatever the byte order here. */
function encodeBitmap(present: DirtyBitmap, bytes: number): Uint8Array {
  const words = new Uint32Array(present.buffer);
  const encoded = new DataView(new ArrayBuffer(bytes));
  for (let word = 0; word < words.length; word++) encoded.setUint32(word * 4, words[word]!, true);
  return new Uint8Array(encoded.buffer);
}
