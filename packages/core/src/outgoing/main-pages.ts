import { BlockView } from '../memory/block-view.ts';
import { type RamBlock, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import { RamFlag } from '../wire/messages.ts';
import { encodePageHeader } from '../wire/ram-records.ts';
import { encodeCountedString } from '../wire/text.ts';

/** Writes page records to the main channel. */
export interface MainPageWriter {
  readonly normalPages: number;
  readonly zeroPages: number;
  /** Bytes of all records that were handed to the channel. */
  readonly recordBytes: number;
  /** Whether a page is all zero now. */
  isZero(blockIndex: number, page: number): boolean;
  /** Queues one raw page. Returns false when the caller must await `drained()` before the next. */
  addPage(blockIndex: number, page: number): boolean;
  /** Queues one ZERO record; as `addPage`. */
  addZero(blockIndex: number, page: number): boolean;
  /**
   * Queues a record of which the bytes behind its head are given: `length` bytes, `RECORD_BODY_LIMIT_BYTES` at
   * most, from `at` on, which are copied. As `addPage`.
   */
  addRecord(
    blockIndex: number,
    page: number,
    flag: number,
    bytes: Buffer,
    at: number,
    length: number,
  ): boolean;
  /** Bytes of the block name that the next record has if it is of that block: 0 behind a record of the same. */
  nameBytes(blockIndex: number): number;
  drained(): Promise<void>;
  /** Hands everything to the channel, so that something else can be written behind it. */
  flush(): void;
}

/**
 * Page records on the main channel. They are gathered with their headers into large buffers: one copy of a
 * page costs less than two more pieces of a vectored write.
 *
 * The buffers rotate, each used to its end before the next. The caller waits while more than the channel's
 * high-water mark (1 MiB) is queued, so a buffer that comes round again, 4 MiB later, has long been sent.
 */
const BUFFER_BYTES = 256 * 1024;
const BUFFER_COUNT = 16;
/** A page, and what else a record with an encoded one may hold. */
export const RECORD_BODY_LIMIT_BYTES = TARGET_PAGE_BYTES + 64;
/** A word, a counted name, and the body. */
const RECORD_LIMIT_BYTES = 8 + 256 + RECORD_BODY_LIMIT_BYTES;

export class MainPages implements MainPageWriter {
  normalPages = 0;
  zeroPages = 0;
  recordBytes = 0;
  readonly #channel: ByteChannel;
  readonly #blocks: readonly BlockView[];
  readonly #names: readonly Uint8Array[];
  readonly #buffers: Buffer[] = [];
  #current = 0;
  #used = 0;
  /** Up to here the current buffer was handed to the channel. */
  #flushed = 0;
  /** Block of the last record: the next one in it says CONTINUE instead of the name. */
  #lastBlock = -1;

  constructor(channel: ByteChannel, blocks: readonly RamBlock[]) {
    this.#channel = channel;
    this.#blocks = blocks.map((block) => new BlockView(block));
    this.#names = blocks.map((block) => encodeCountedString(block.idstr));
  }

  /** Whether a page is all zero now. */
  isZero(blockIndex: number, page: number): boolean {
    return this.#blocks[blockIndex]!.isZero(page);
  }

  /** Queues one raw page. Returns false when the caller should await `drained()`. */
  addPage(blockIndex: number, page: number): boolean {
    const buffer = this.#room();
    const at = this.#header(buffer, blockIndex, page, RamFlag.page);
    this.#blocks[blockIndex]!.copyOut(page, 1, buffer, at);
    this.#used = at + TARGET_PAGE_BYTES;
    this.normalPages++;
    return this.#used + RECORD_LIMIT_BYTES <= BUFFER_BYTES || this.flush();
  }

  /** Queues one ZERO record. */
  addZero(blockIndex: number, page: number): boolean {
    const buffer = this.#room();
    const at = this.#header(buffer, blockIndex, page, RamFlag.zero);
    buffer[at] = 0;
    this.#used = at + 1;
    this.zeroPages++;
    return this.#used + RECORD_LIMIT_BYTES <= BUFFER_BYTES || this.flush();
  }

  addRecord(
    blockIndex: number,
    page: number,
    flag: number,
    bytes: Buffer,
    at: number,
    length: number,
  ): boolean {
    const buffer = this.#room();
    const bodyAt = this.#header(buffer, blockIndex, page, flag);
    bytes.copy(buffer, bodyAt, at, at + length);
    this.#used = bodyAt + length;
    if (flag === RamFlag.page) this.normalPages++;
    return this.#used + RECORD_LIMIT_BYTES <= BUFFER_BYTES || this.flush();
  }

  nameBytes(blockIndex: number): number {
    return blockIndex === this.#lastBlock ? 0 : this.#names[blockIndex]!.length;
  }

  drained(): Promise<void> {
    return this.#channel.drained();
  }

  /** Hands the gathered records to the channel, so that something else can be written behind them. */
  flush(): boolean {
    if (this.#used === this.#flushed) return true;
    const written = this.#channel.write(this.#buffers[this.#current]!.subarray(this.#flushed, this.#used));
    this.recordBytes += this.#used - this.#flushed;
    this.#flushed = this.#used;
    if (this.#used + RECORD_LIMIT_BYTES > BUFFER_BYTES) {
      this.#current = (this.#current + 1) % BUFFER_COUNT;
      this.#used = 0;
      this.#flushed = 0;
    }
    return written;
  }

  #header(buffer: Buffer, blockIndex: number, page: number, flags: number): number {
    const name = blockIndex === this.#lastBlock ? undefined : this.#names[blockIndex];
    this.#lastBlock = blockIndex;
    return encodePageHeader(buffer, this.#used, name, page, flags);
  }

  #room(): Buffer {
    this.#buffers[this.#current] ??= Buffer.allocUnsafeSlow(BUFFER_BYTES);
    return this.#buffers[this.#current]!;
  }
}
