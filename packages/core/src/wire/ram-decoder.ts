import type { MigrationError } from '../error.ts';
import type { ByteQueue } from './byte-queue.ts';
import {
  type PageSink,
  type RamBlockDescriptor,
  type RamCompressedPageMessage,
  RamFlag,
  type RamPageMessage,
  type StreamMessage,
} from './messages.ts';
import { COMPRESSED_PAGE_LIMIT_BYTES, RAM_FLAG_MASK } from './ram-records.ts';
import { decodeText, hex, hexOf } from './text.ts';
import { decodeXbzrle, XBZRLE_ENCODING, XBZRLE_PREFIX_BYTES } from './xbzrle.ts';

const PAGE_BYTES = 4096;
const WORD_BYTES = 8;
const LENGTH_BYTES = 4;
/** Offsets are below 2^53. */
const MAX_HIGH_WORD = 0x200000;

/** A record that the sink has taken. */
const SUNK = Symbol('sunk');

/** Flags of records that belong to capabilities that pageferry does not have. */
const UNSUPPORTED: ReadonlyMap<number, string> = new Map([[RamFlag.hook, 'RDMA migration (a HOOK record)']]);

/**
 * Decodes RAM records (layout in ram-records.ts) behind the block list. Holds what lasts across sections:
 * the block of the last page record, which CONTINUE refers to.
 *
 * A record is small, so it is looked at in place until all of it is there: no state within a record, and no
 * generator on the path of the pages. A page costs one view, its message object being reused; with a sink nothing.
 */
export class RamDecoder {
  readonly #queue: ByteQueue;
  readonly #blocks: readonly RamBlockDescriptor[];
  readonly #indexByName: ReadonlyMap<string, number>;
  readonly #mappedRam: boolean;
  readonly #page: RamPageMessage = { type: 'ram-page', blockIndex: 0, pageIndex: 0, data: new Uint8Array(0) };
  readonly #compressed: RamCompressedPageMessage = {
    type: 'ram-compressed-page',
    blockIndex: 0,
    pageIndex: 0,
    data: new Uint8Array(0),
  };
  #current = -1;
  #expected = '';

  readonly #sink: PageSink | undefined;

  /** @param sink takes the pages; without one they are messages */
  constructor(
    queue: ByteQueue,
    blocks: readonly RamBlockDescriptor[],
    mappedRam: boolean,
    sink: PageSink | undefined,
  ) {
    this.#queue = queue;
    this.#sink = sink;
    this.#blocks = blocks;
    this.#indexByName = new Map(blocks.map((block, index) => [block.idstr, index]));
    this.#mappedRam = mappedRam;
  }

  /** What `next` waits for when it gave undefined. */
  get expected(): string {
    return this.#expected;
  }

  /**
   * The next record that is a message, or undefined when not all of one is there.
   * @throws MigrationError `unknown-flag`, `unsupported`, `bad-section`, `unknown-block`, `bad-page`
   */
  next(): StreamMessage | undefined {
    for (;;) {
      const message = this.#record();
      if (message !== SUNK) return message;
    }
  }

  #record(): StreamMessage | typeof SUNK | undefined {
    const queue = this.#queue;
    if (!queue.has(WORD_BYTES)) return this.#wait('a RAM record');
    const high = queue.peekU32();
    const low = queue.peekU32(4);
    const flags = low & RAM_FLAG_MASK;
    const kind = flags & ~RamFlag.continue;
    if (!isPageKind(kind) || this.#mappedRam) return this.#control(high, low, flags);
    let block = this.#current;
    let headBytes = WORD_BYTES;
    if (flags === kind) {
      if (!queue.has(WORD_BYTES + 1)) return this.#wait('the block name of a RAM record');
      headBytes += 1 + queue.peekU8(WORD_BYTES);
      if (!queue.has(headBytes)) return this.#wait('the block name of a RAM record');
      block = this.#namedBlock(headBytes);
    } else if (block < 0) {
      throw queue.error('bad-page', 'CONTINUE before any block was named', { found: `flags ${hex(flags)}` });
    }
    const pageIndex = this.#pageIndex(block, high, low);
    switch (kind) {
      case RamFlag.page:
        return this.#whole(block, pageIndex, headBytes);
      case RamFlag.zero:
        return this.#zero(block, pageIndex, headBytes);
      case RamFlag.xbzrle:
        return this.#delta(block, pageIndex, headBytes);
      default:
        return this.#compressedPage(block, pageIndex, headBytes);
    }
  }

  #whole(block: number, pageIndex: number, headBytes: number): RamPageMessage | typeof SUNK | undefined {
    const queue = this.#queue;
    if (!queue.has(headBytes + PAGE_BYTES)) return this.#wait('the 4096 bytes of a page');
    queue.skip(headBytes);
    this.#current = block;
    if (this.#sink !== undefined) {
      const at = queue.locate(PAGE_BYTES);
      if (this.#sink.page(block, pageIndex, queue.memory, at)) {
        queue.skip(PAGE_BYTES);
        return SUNK;
      }
    }
    const page = this.#page;
    page.blockIndex = block;
    page.pageIndex = pageIndex;
    page.data = queue.take(PAGE_BYTES);
    return page;
  }

  #zero(block: number, pageIndex: number, headBytes: number): StreamMessage | typeof SUNK | undefined {
    const queue = this.#queue;
    if (!queue.has(headBytes + 1)) return this.#wait('the fill value of a zero page');
    this.#checkFill(headBytes);
    queue.skip(headBytes + 1);
    this.#current = block;
    if (this.#sink?.zero(block, pageIndex)) return SUNK;
    return { type: 'ram-zero', blockIndex: block, pageIndex };
  }

  /** An XBZRLE record. Its runs are whole and within the page once it is given. */
  #delta(block: number, pageIndex: number, headBytes: number): StreamMessage | typeof SUNK | undefined {
    const queue = this.#queue;
    const runsAt = headBytes + XBZRLE_PREFIX_BYTES;
    if (!queue.has(runsAt)) return this.#wait('the length of an XBZRLE page');
    const length = this.#deltaLength(headBytes);
    if (!queue.has(runsAt + length)) return this.#wait('the runs of an XBZRLE page');
    const at = queue.locate(runsAt + length) + runsAt;
    const fault = decodeXbzrle(queue.memory, at, length);
    if (fault >= 0) {
      const bytes = queue.memory.subarray(fault, Math.min(fault + 4, at + length));
      const found = bytes.length === 0 ? 'the end' : hexOf(bytes);
      const details = { found, expected: 'the length of a run, and the run, within the page' };
      const offset = queue.offset + runsAt + fault - at;
      throw queue.error('bad-compressed-data', 'runs of an XBZRLE page', details, offset);
    }
    this.#current = block;
    if (this.#sink?.xbzrle(block, pageIndex, queue.memory, at, length)) {
      queue.skip(runsAt + length);
      return SUNK;
    }
    queue.skip(runsAt);
    return { type: 'ram-xbzrle', blockIndex: block, pageIndex, data: queue.take(length) };
  }

  #deltaLength(headBytes: number): number {
    const queue = this.#queue;
    const encoding = queue.peekU8(headBytes);
    const at = queue.offset + headBytes;
    if (encoding !== XBZRLE_ENCODING) {
      const details = { found: hex(encoding), expected: hex(XBZRLE_ENCODING) };
      throw queue.error('bad-compressed-data', 'encoding of an XBZRLE page', details, at);
    }
    const length = queue.peekU8(headBytes + 1) * 256 + queue.peekU8(headBytes + 2);
    if (length <= PAGE_BYTES) return length;
    const details = { found: `${length}`, expected: `at most ${PAGE_BYTES}` };
    throw queue.error('limit-exceeded', 'length of an XBZRLE page', details, at + 1);
  }

  /** @param headBytes of the word and the name, which are still in the queue */
  #compressedPage(block: number, pageIndex: number, headBytes: number): RamCompressedPageMessage | undefined {
    const queue = this.#queue;
    if (!queue.has(headBytes + LENGTH_BYTES)) return this.#wait('the length of a compressed page');
    const length = queue.peekU32(headBytes);
    if (length > COMPRESSED_PAGE_LIMIT_BYTES) {
      const details = { found: `${length} bytes`, expected: `at most ${COMPRESSED_PAGE_LIMIT_BYTES}` };
      throw queue.error('limit-exceeded', 'length of a compressed page', details, queue.offset + headBytes);
    }
    if (!queue.has(headBytes + LENGTH_BYTES + length)) return this.#wait('the bytes of a compressed page');
    queue.skip(headBytes + LENGTH_BYTES);
    this.#current = block;
    const message = this.#compressed;
    message.blockIndex = block;
    message.pageIndex = pageIndex;
    message.data = queue.take(length);
    return message;
  }

  #wait(expected: string): undefined {
    this.#expected = expected;
    return undefined;
  }

  /** EOS and MULTIFD_FLUSH; every other flag is refused here. */
  #control(high: number, low: number, flags: number): StreamMessage {
    const bare = high === 0 && low === flags;
    if (flags === RamFlag.eos && bare) {
      this.#queue.skip(WORD_BYTES);
      return { type: 'ram-eos' };
    }
    if (flags === RamFlag.multifdFlush && bare && !this.#mappedRam) {
      this.#queue.skip(WORD_BYTES);
      return { type: 'ram-multifd-flush' };
    }
    throw this.#refusal(flags);
  }

  #refusal(flags: number): MigrationError {
    const queue = this.#queue;
    if (this.#mappedRam) {
      const expected = '0x10 (EOS): the pages of a mapped-ram stream are not among its records';
      return queue.error('unknown-flag', 'flags of a RAM record', { found: hex(flags), expected });
    }
    const unsupported = UNSUPPORTED.get(flags & ~RamFlag.continue);
    if (unsupported !== undefined) {
      return queue.error('unsupported', unsupported, { found: `flags ${hex(flags)}` });
    }
    if (flags === RamFlag.memSize) return queue.error('bad-section', 'a second RAM block list');
    return queue.error('unknown-flag', 'flags of a RAM record', { found: hexOf(queue.peek(WORD_BYTES)) });
  }

  #namedBlock(headBytes: number): number {
    const queue = this.#queue;
    const bytes = queue.peek(headBytes).subarray(WORD_BYTES + 1);
    const name = decodeText(bytes);
    const index = name === undefined ? undefined : this.#indexByName.get(name);
    if (index === undefined) {
      const found = name === undefined ? hexOf(bytes) : JSON.stringify(name);
      throw queue.error('unknown-block', 'block name of a page', { found }, queue.offset + WORD_BYTES);
    }
    return index;
  }

  #pageIndex(blockIndex: number, high: number, low: number): number {
    const block = this.#blocks[blockIndex]!;
    const pageIndex = high * 0x10_0000 + (low >>> 12);
    if (high >= MAX_HIGH_WORD || pageIndex >= block.usedLengthBytes / PAGE_BYTES) {
      const found = high >= MAX_HIGH_WORD ? 'an offset above 2^53' : hex(pageIndex * PAGE_BYTES);
      const expected = `less than ${hex(block.usedLengthBytes)}`;
      throw this.#queue.error('bad-page', `offset of a page in ${block.idstr}`, { found, expected });
    }
    return pageIndex;
  }

  /** QEMU up to 8.x would take any value, but nothing ever sent another than 0. */
  #checkFill(headBytes: number): void {
    const fill = this.#queue.peekU8(headBytes);
    if (fill === 0) return;
    const at = this.#queue.offset + headBytes;
    throw this.#queue.error('bad-page', 'fill value of a zero page', { found: hex(fill), expected: '0' }, at);
  }
}

function isPageKind(kind: number): boolean {
  return (
    kind === RamFlag.page || kind === RamFlag.zero || kind === RamFlag.xbzrle || kind === RamFlag.compressPage
  );
}

/** Whether a RAM record may start with this word: a plausibility check for a search, not for decoding. */
export function isPlausibleRamWord(high: number, low: number): boolean {
  const flags = low & RAM_FLAG_MASK;
  if (flags === RamFlag.eos || flags === RamFlag.multifdFlush) return high === 0 && low === flags;
  const kind = flags & ~RamFlag.continue;
  return isPageKind(kind) && high < 0x4000;
}
