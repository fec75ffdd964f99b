import { stat } from 'node:fs/promises';
import { type ErrorCode, MigrationError } from '../error.ts';
import { checkCancelled, fileError } from '../file-error.ts';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { IGNORE_SHARED_CAPABILITY } from '../wire/configuration.ts';
import type { RamBlockDescriptor, StreamMessage } from '../wire/messages.ts';
import { AtomicFile } from './atomic-file.ts';
import { MULTIFD_ALONE } from './capture.ts';
import { CaptureFile } from './capture-file.ts';
import { DeltaPages } from './delta-pages.ts';
import { ExtractOutput } from './extract-output.ts';
import { mappedRuns } from './mapped-pages.ts';
import { type CaptureReadOptions, ReadProgress } from './read-progress.ts';
import { walkStream } from './walk.ts';

const RUN_PAGES = (1024 * 1024) / TARGET_PAGE_BYTES;

/**
 * Writes a RAM block's bytes to a file, which is sparse where the block is zero. The pages pass from file to
 * file: neither the guest's RAM nor the block is held in memory, but for pages that came as differences (XBZRLE).
 * `out` appears when it is whole.
 *
 * @returns the size of the block
 * @throws MigrationError `unknown-block` (its message lists the blocks that there are), and what `loadCapture` throws
 */
export async function extractBlock(
  path: string,
  idstr: string,
  out: string,
  options: CaptureReadOptions = {},
): Promise<{ bytes: number }> {
  const file = await CaptureFile.open(path);
  try {
    await refuseSameFile(path, out);
    const output = await AtomicFile.create(out);
    try {
      const extractor = new Extractor(file, idstr, new ExtractOutput(output.handle, out), options);
      const bytes = await extractor.run();
      await output.commit(options.signal);
      return { bytes };
    } finally {
      await output.discard();
    }
  } catch (error) {
    throw fileError(error, path, `extract ${idstr} from ${path}`);
  } finally {
    await file.close();
  }
}

class Extractor {
  readonly #file: CaptureFile;
  readonly #idstr: string;
  readonly #output: ExtractOutput;
  readonly #options: CaptureReadOptions;
  readonly #progress: ReadProgress;
  readonly #deltas: DeltaPages;
  #index = -1;
  #block: RamBlockDescriptor | undefined;
  #ignoreShared = false;
  /** Something was in the file of the block. */
  #found = false;

  constructor(file: CaptureFile, idstr: string, output: ExtractOutput, options: CaptureReadOptions) {
    this.#file = file;
    this.#idstr = idstr;
    this.#output = output;
    this.#options = options;
    this.#deltas = new DeltaPages(file);
    this.#progress = new ReadProgress(file, options);
  }

  /** Reads the whole file, since only a stream that ends well is known to hold the last content of each page. */
  async run(): Promise<number> {
    await walkStream(this.#file, this.#take, this.#options, this.#progress);
    if (this.#block === undefined) throw this.#error('bad-file', 'the stream holds no RAM');
    if (this.#ignoreShared && !this.#found) {
      const message = `${this.#idstr} was shared memory, which stayed where it was (${IGNORE_SHARED_CAPABILITY})`;
      throw this.#error('unsupported', message);
    }
    await this.#output.finish(this.#block.usedLengthBytes);
    return this.#block.usedLengthBytes;
  }

  readonly #take = (
    message: StreamMessage,
    _offset: number,
    endOffset: number,
  ): Promise<void> | undefined => {
    if ('blockIndex' in message && message.blockIndex === this.#index) this.#found = true;
    switch (message.type) {
      case 'configuration':
        this.#ignoreShared = message.configuration.capabilities?.includes(IGNORE_SHARED_CAPABILITY) ?? false;
        return undefined;
      case 'ram-blocks':
        this.#choose(message.blocks);
        return this.#block?.mappedRam === undefined ? undefined : this.#copyMapped(this.#block);
      case 'ram-page':
        if (message.blockIndex !== this.#index) return undefined;
        this.#deltas.placed(message.pageIndex, endOffset - TARGET_PAGE_BYTES);
        return this.#output.page(message.pageIndex, message.data);
      case 'ram-compressed-page':
        if (message.blockIndex === this.#index) this.#deltas.compressed(message.pageIndex);
        return undefined;
      case 'ram-zero':
        if (message.blockIndex !== this.#index) return undefined;
        this.#deltas.zeroed(message.pageIndex);
        return this.#output.zero(message.pageIndex);
      case 'ram-xbzrle':
        return message.blockIndex === this.#index
          ? this.#changePage(message.pageIndex, message.data)
          : undefined;
      case 'ram-multifd-flush':
        throw this.#error('unsupported', MULTIFD_ALONE);
      default:
        return undefined;
    }
  };

  #choose(blocks: readonly RamBlockDescriptor[]): void {
    this.#index = blocks.findIndex((block) => block.idstr === this.#idstr);
    this.#block = blocks[this.#index];
    if (this.#block !== undefined) return;
    throw new MigrationError('unknown-block', 'no such RAM block', {
      channel: this.#file.path,
      found: JSON.stringify(this.#idstr),
      expected: `one of ${blocks.map((block) => block.idstr).join(', ')}`,
    });
  }

  async #changePage(page: number, runs: Uint8Array): Promise<void> {
    await this.#output.page(page, await this.#deltas.change(page, runs));
  }

  async #copyMapped(block: RamBlockDescriptor): Promise<void> {
    const buffer = new Uint8Array(RUN_PAGES * TARGET_PAGE_BYTES);
    for (const run of await mappedRuns(this.#file, block, RUN_PAGES)) {
      checkCancelled(this.#options.signal, this.#file.path);
      const pages = buffer.subarray(0, run.count * TARGET_PAGE_BYTES);
      await this.#file.readFully(pages, run.offset, `the pages of ${block.idstr}`);
      this.#progress.reached(run.offset + pages.length);
      for (let i = 0; i < run.count; i++) {
        const page = pages.subarray(i * TARGET_PAGE_BYTES, (i + 1) * TARGET_PAGE_BYTES);
        await this.#output.page(run.first + i, page);
      }
    }
  }

  #error(code: ErrorCode, message: string): MigrationError {
    return new MigrationError(code, message, { channel: this.#file.path });
  }
}

/** The raw block would take the place of the capture. */
async function refuseSameFile(path: string, out: string): Promise<void> {
  const [from, to] = await Promise.all([stat(path), stat(out).catch(() => undefined)]);
  if (to === undefined || from.dev !== to.dev || from.ino !== to.ino) return;
  throw new MigrationError('bad-option', 'the block would replace the capture file itself', { channel: out });
}
