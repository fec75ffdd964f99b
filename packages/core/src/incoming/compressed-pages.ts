import { MigrationError } from '../error.ts';
import type { RamBlockMemory } from '../memory/ram-block.ts';
import type { DecompressThreads } from '../page-channels.ts';
import { compatOf, machineVersion } from '../wire/machine-compat.ts';
import type { PageSink, RamCompressedPageMessage, StreamMessage } from '../wire/messages.ts';

type OtherPage = StreamMessage & { type: 'ram-page' | 'ram-zero' | 'ram-xbzrle' };

/**
 * Hands the pages of the main stream that are compressed to the decompress threads. A page may come again, in
 * whatever form, while its earlier content is not in place yet: what comes later waits then, since it must win.
 */
export class CompressedPages {
  readonly #threads: DecompressThreads | undefined;

  /** @param threads undefined: capability `compress` is off */
  constructor(threads: DecompressThreads | undefined) {
    this.#threads = threads;
  }

  /**
   * Starts the threads.
   * @param machine decides whether a page that cannot be inflated is an error, unless `errorCheck` does
   */
  async open(
    blocks: readonly RamBlockMemory[],
    machine: string | undefined,
    errorCheck: boolean | undefined,
  ): Promise<void> {
    const version = machine === undefined ? undefined : machineVersion(machine);
    const usual = version === undefined || compatOf(version).decompressErrorCheck;
    await this.#threads?.open(blocks, errorCheck ?? usual);
  }

  /** Whether other content of the page must wait: it goes to `placeAfter` then. */
  holds(blockIndex: number, pageIndex: number): boolean {
    return this.#threads?.holds(blockIndex, pageIndex) ?? false;
  }

  /**
   * Takes a page; a promise when the next message must wait.
   * @param offset where the zlib stream begins
   * @throws MigrationError `unknown-flag` when the capability is off
   */
  take(message: RamCompressedPageMessage, offset: number): Promise<void> | undefined {
    const { blockIndex, pageIndex, data } = message;
    const threads = this.#threads;
    if (threads === undefined) {
      throw new MigrationError('unknown-flag', 'a compressed page, but capability compress is off', {
        channel: 'main',
        offset,
      });
    }
    const free = !threads.holds(blockIndex, pageIndex);
    if (free && threads.add(blockIndex, pageIndex, data, offset)) return undefined;
    return waitAndAdd(threads, message, offset);
  }

  /** Gives a page to the sink when nothing is under way any more. */
  async placeAfter(message: OtherPage, sink: PageSink): Promise<void> {
    await this.finished();
    const { blockIndex, pageIndex } = message;
    switch (message.type) {
      case 'ram-page':
        sink.page(blockIndex, pageIndex, message.data, 0);
        break;
      case 'ram-zero':
        sink.zero(blockIndex, pageIndex);
        break;
      case 'ram-xbzrle':
        sink.xbzrle(blockIndex, pageIndex, message.data, 0, message.data.length);
    }
  }

  /** Resolves when every page that was taken is in its place; undefined when they are. */
  finished(): Promise<void> | undefined {
    return this.#threads?.finished();
  }
}

async function waitAndAdd(
  threads: DecompressThreads,
  { blockIndex, pageIndex, data }: RamCompressedPageMessage,
  offset: number,
): Promise<void> {
  if (threads.holds(blockIndex, pageIndex)) await threads.finished();
  while (!threads.add(blockIndex, pageIndex, data, offset)) await threads.drained();
}
