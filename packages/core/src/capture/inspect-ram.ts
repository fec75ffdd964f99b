import { MigrationError } from '../error.ts';
import { checkCancelled } from '../file-error.ts';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import type { RamBlockDescriptor, StreamMessage } from '../wire/messages.ts';
import { MULTIFD_ALONE } from './capture.ts';
import type { CaptureFile } from './capture-file.ts';
import { DeltaPages } from './delta-pages.ts';
import { mappedRuns } from './mapped-pages.ts';
import { PageCensus, type PageCounts } from './page-census.ts';
import { PageSet } from './page-set.ts';
import type { CaptureReadOptions, ReadProgress } from './read-progress.ts';
import type { BlockReport, Damage, PageReport, RamReport } from './report.ts';
import { salvageMappedBlocks } from './salvage-blocks.ts';

const RUN_PAGES = (1024 * 1024) / TARGET_PAGE_BYTES;

/** What was read of one block. */
interface BlockState {
  readonly block: RamBlockDescriptor;
  pagesInFile: number;
  compressedRecords: number;
  zeroRecords: number;
  xbzrleRecords: number;
  readonly recorded: PageSet;
  readonly deltas: DeltaPages;
}

/** Counts the pages of a capture as they pass; only pages that came as differences (XBZRLE) are held. */
export class RamInspector {
  readonly #file: CaptureFile;
  readonly #options: CaptureReadOptions;
  readonly #progress: ReadProgress;
  #sectionId: number | undefined;
  #offset = 0;
  #totalBytes = 0;
  #blocks: BlockState[] | undefined;
  #census = new PageCensus([]);
  #flushOffset: number | undefined;

  constructor(file: CaptureFile, options: CaptureReadOptions, progress: ReadProgress) {
    this.#file = file;
    this.#options = options;
    this.#progress = progress;
  }

  take(message: StreamMessage, offset: number, endOffset: number): Promise<void> | undefined {
    switch (message.type) {
      case 'section-start':
        this.#sectionId = message.section.sectionId;
        this.#offset = offset;
        return undefined;
      case 'ram-blocks':
        this.#start(message.blocks, message.totalBytes);
        return message.blocks[0]?.mappedRam === undefined ? undefined : this.#countMapped();
      case 'ram-page': {
        const state = this.#blocks![message.blockIndex]!;
        state.pagesInFile++;
        state.recorded.add(message.pageIndex);
        state.deltas.placed(message.pageIndex, endOffset - TARGET_PAGE_BYTES);
        this.#census.record(message.blockIndex, message.pageIndex, message.data);
        return undefined;
      }
      case 'ram-compressed-page': {
        const state = this.#blocks![message.blockIndex]!;
        state.compressedRecords++;
        state.deltas.compressed(message.pageIndex);
        return undefined;
      }
      case 'ram-zero': {
        const state = this.#blocks![message.blockIndex]!;
        state.zeroRecords++;
        state.recorded.add(message.pageIndex);
        state.deltas.zeroed(message.pageIndex);
        this.#census.recordZero(message.blockIndex, message.pageIndex);
        return undefined;
      }
      case 'ram-xbzrle':
        return this.#change(message.blockIndex, message.pageIndex, message.data);
      case 'ram-multifd-flush':
        this.#flushOffset ??= offset;
        return undefined;
      default:
        return undefined;
    }
  }

  /** In a file that is damaged within its block list: what the blocks before the damage hold. */
  async salvage(listOffset: number): Promise<void> {
    if (this.#sectionId === undefined || this.#blocks !== undefined) return;
    const { blocks, totalBytes } = await salvageMappedBlocks(this.#file, listOffset);
    this.#start(blocks, totalBytes);
    try {
      await this.#countMapped();
    } catch (error) {
      // The damage is known already; this is more of it.
      if (!(error instanceof MigrationError) || error.code === 'cancelled') throw error;
    }
  }

  /** What makes the RAM incomplete although the stream is well-formed. `endOffset`: where the stream ends. */
  incomplete(endOffset: number | undefined): Damage | undefined {
    const pages = this.report()?.pages;
    const nothing = pages !== undefined && pages.missingPages > 0 && pages.pagesInFile === 0;
    const offset = this.#flushOffset ?? (nothing ? endOffset : undefined);
    return offset === undefined ? undefined : { code: 'missing-channel', message: MULTIFD_ALONE, offset };
  }

  report(): RamReport | undefined {
    if (this.#sectionId === undefined) return undefined;
    const counts = this.#census.count();
    const blocks = (this.#blocks ?? []).map((state, index) => reportBlock(state, counts[index]!));
    return {
      sectionId: this.#sectionId,
      offset: this.#offset,
      totalBytes: this.#totalBytes,
      blocks,
      pages: sum(blocks),
    };
  }

  #start(blocks: readonly RamBlockDescriptor[], totalBytes: number): void {
    this.#totalBytes = totalBytes;
    this.#blocks = blocks.map((block) => ({
      block,
      pagesInFile: 0,
      compressedRecords: 0,
      zeroRecords: 0,
      xbzrleRecords: 0,
      recorded: new PageSet(),
      deltas: new DeltaPages(this.#file),
    }));
    this.#census = new PageCensus(blocks.map((block) => block.usedLengthBytes / TARGET_PAGE_BYTES));
  }

  async #change(blockIndex: number, page: number, runs: Uint8Array): Promise<void> {
    const state = this.#blocks![blockIndex]!;
    state.xbzrleRecords++;
    state.recorded.add(page);
    this.#census.record(blockIndex, page, await state.deltas.change(page, runs));
  }

  async #countMapped(): Promise<void> {
    const buffer = new Uint8Array(RUN_PAGES * TARGET_PAGE_BYTES);
    for (const [index, state] of this.#blocks!.entries()) {
      for (const run of await mappedRuns(this.#file, state.block, RUN_PAGES)) {
        checkCancelled(this.#options.signal, this.#file.path);
        const pages = buffer.subarray(0, run.count * TARGET_PAGE_BYTES);
        await this.#file.readFully(pages, run.offset, `the pages of ${state.block.idstr}`);
        this.#progress.reached(run.offset + pages.length);
        state.pagesInFile += run.count;
        for (let i = 0; i < run.count; i++) {
          const page = pages.subarray(i * TARGET_PAGE_BYTES, (i + 1) * TARGET_PAGE_BYTES);
          this.#census.record(index, run.first + i, page);
        }
      }
    }
  }
}

function reportBlock(state: BlockState, counts: PageCounts): BlockReport {
  const { block, pagesInFile, compressedRecords, zeroRecords, xbzrleRecords, recorded } = state;
  const pages = block.usedLengthBytes / TARGET_PAGE_BYTES;
  return {
    idstr: block.idstr,
    bytes: block.usedLengthBytes,
    pages,
    ...counts,
    pagesInFile,
    compressedRecords,
    zeroRecords,
    xbzrleRecords,
    missingPages: block.mappedRam === undefined ? pages - recorded.size : 0,
    ...(block.mappedRam !== undefined && {
      bitmapOffset: block.mappedRam.bitmapOffset,
      pagesOffset: block.mappedRam.pagesOffset,
    }),
  };
}

function sum(blocks: readonly PageReport[]): PageReport {
  const total: PageReport = {
    pages: 0,
    zeroPages: 0,
    uniquePages: 0,
    duplicatePages: 0,
    pagesInFile: 0,
    compressedRecords: 0,
    zeroRecords: 0,
    xbzrleRecords: 0,
    missingPages: 0,
  };
  for (const block of blocks) {
    for (const key of Object.keys(total) as (keyof PageReport)[]) total[key] += block[key];
  }
  return total;
}
