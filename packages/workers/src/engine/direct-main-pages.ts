import { setTimeout as delay } from 'node:timers/promises';
import { BlockView, type RamBlock, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { type MainPageWriter, RECORD_BODY_LIMIT_BYTES } from '@pageferry/core/outgoing';
import type { ByteChannel } from '@pageferry/core/transport';
import { encodeCountedString, encodePageHeader, RamFlag } from '@pageferry/core/wire';
import { IoVector } from '../system/io-vector.ts';
import { Errno, MessageFlag, type SystemCalls } from '../system/system-calls.ts';

/** Records that leave in one system call. */
const BATCH_RECORDS = 128;
/** A RAM word, a counted block name, and what follows them unless it is a page where it lies. */
const HEAD_LIMIT_BYTES = 8 + 256 + RECORD_BODY_LIMIT_BYTES;
/** How long the thread may stand still in one call; between two of them the event loop gets its turn. */
const WAIT_MS = 5;
/** How long a peer that takes nothing is left alone before it is asked again. */
const RETRY_MS = 1;

const NOTHING = Buffer.alloc(0);
/** Of a zero page. */
const FILL = Buffer.alloc(1);

const FULL = -1;
const BROKEN = -2;

/**
 * Page records on the main channel, straight from guest RAM to the socket: heads and pages of a batch leave in
 * one vectored call, by the channel's own descriptor. A page that changes meanwhile is dirty again.
 *
 * Whatever else is written to the channel stays in its place: nothing goes past what the channel has queued, and
 * `flush` gives the channel what the kernel has not taken.
 */
export class DirectMainPages implements MainPageWriter {
  normalPages = 0;
  zeroPages = 0;
  recordBytes = 0;
  readonly #calls: SystemCalls;
  readonly #channel: ByteChannel;
  readonly #blocks: readonly BlockView[];
  readonly #names: readonly Uint8Array[];
  readonly #heads = Buffer.allocUnsafeSlow(BATCH_RECORDS * HEAD_LIMIT_BYTES);
  readonly #headsAddress: number;
  readonly #vector: IoVector;
  /** Of each record of the batch: where its head ends, the block, and the page that follows, or -1. */
  readonly #ends = new Uint32Array(BATCH_RECORDS);
  readonly #blockOf = new Uint32Array(BATCH_RECORDS);
  readonly #pageOf = new Float64Array(BATCH_RECORDS);
  #records = 0;
  #headBytes = 0;
  #lastBlock = -1;

  constructor(calls: SystemCalls, channel: ByteChannel, blocks: readonly RamBlock[]) {
    this.#calls = calls;
    this.#channel = channel;
    this.#blocks = blocks.map((block) => new BlockView(block));
    this.#names = blocks.map((block) => encodeCountedString(block.idstr));
    this.#vector = new IoVector(calls, 2 * BATCH_RECORDS);
    this.#headsAddress = calls.addressOf(this.#heads);
  }

  isZero(blockIndex: number, page: number): boolean {
    return this.#blocks[blockIndex]!.isZero(page);
  }

  addPage(blockIndex: number, page: number): boolean {
    this.normalPages++;
    this.#addHead(blockIndex, page, RamFlag.page, NOTHING, 0, 0);
    const address = this.#blocks[blockIndex]!.pageAddress(page, this.#calls.addressOf);
    this.#vector.add(address, TARGET_PAGE_BYTES);
    this.recordBytes += TARGET_PAGE_BYTES;
    this.#pageOf[this.#records - 1] = page;
    return this.#records < BATCH_RECORDS || this.#send();
  }

  addZero(blockIndex: number, page: number): boolean {
    this.zeroPages++;
    this.#addHead(blockIndex, page, RamFlag.zero, FILL, 0, 1);
    return this.#records < BATCH_RECORDS || this.#send();
  }

  addRecord(
    blockIndex: number,
    page: number,
    flag: number,
    bytes: Buffer,
    at: number,
    length: number,
  ): boolean {
    if (flag === RamFlag.page) this.normalPages++;
    this.#addHead(blockIndex, page, flag, bytes, at, length);
    return this.#records < BATCH_RECORDS || this.#send();
  }

  nameBytes(blockIndex: number): number {
    return blockIndex === this.#lastBlock ? 0 : this.#names[blockIndex]!.length;
  }

  async drained(): Promise<void> {
    for (;;) {
      await this.#channel.flushed();
      if (this.#send()) return;
      await delay(RETRY_MS);
    }
  }

  flush(): void {
    if (this.#records > 0 && !this.#send()) this.#giveToChannel();
  }

  /** Head and body of a record, one behind the other. */
  #addHead(
    blockIndex: number,
    page: number,
    flags: number,
    body: Buffer,
    bodyAt: number,
    length: number,
  ): void {
    const name = blockIndex === this.#lastBlock ? undefined : this.#names[blockIndex];
    this.#lastBlock = blockIndex;
    const start = this.#headBytes;
    const headEnd = encodePageHeader(this.#heads, start, name, page, flags);
    const end = headEnd + length;
    // A call out of JavaScript is not worth it for the one byte of a zero page.
    if (length === 1) this.#heads[headEnd] = body[bodyAt]!;
    else if (length > 0) body.copy(this.#heads, headEnd, bodyAt, bodyAt + length);
    this.recordBytes += end - start;
    this.#vector.add(this.#headsAddress + start, end - start);
    this.#blockOf[this.#records] = blockIndex;
    this.#pageOf[this.#records] = -1;
    this.#ends[this.#records] = end;
    this.#headBytes = end;
    this.#records++;
  }

  /** Returns whether the whole batch is with the kernel. */
  #send(): boolean {
    const vector = this.#vector;
    while (vector.bytes > 0) {
      const bytes = this.#channel.sendDirectly?.((fd) => this.#sendOnce(fd));
      // The channel meets the error of a broken connection itself, and tells it.
      if (bytes === BROKEN) this.#giveToChannel();
      if (bytes === undefined || bytes < 0) return false;
      vector.advance(bytes);
    }
    this.#begin();
    return true;
  }

  /** Bytes that the kernel took, or FULL or BROKEN. */
  #sendOnce(fd: number): number {
    const calls = this.#calls;
    const flags = MessageFlag.dontWait | MessageFlag.noSignal;
    const bytes = calls.sendMessage(fd, this.#vector.message, flags);
    if (bytes >= 0) return bytes;
    const errno = calls.errno();
    if (errno === Errno.again || errno === Errno.interrupted)
      return calls.waitWritable(fd, WAIT_MS) ? 0 : FULL;
    return BROKEN;
  }

  #giveToChannel(): void {
    if (this.#vector.bytes > 0) this.#channel.write(this.#rest());
    this.#begin();
  }

  #begin(): void {
    this.#vector.clear();
    this.#records = 0;
    this.#headBytes = 0;
  }

  /** A copy of what the kernel has not taken of the batch. */
  #rest(): Uint8Array {
    const pages = this.#pageOf.subarray(0, this.#records).filter((page) => page >= 0).length;
    const all = Buffer.allocUnsafeSlow(this.#headBytes + pages * TARGET_PAGE_BYTES);
    let at = 0;
    let start = 0;
    for (let record = 0; record < this.#records; record++) {
      const end = this.#ends[record]!;
      at += this.#heads.copy(all, at, start, end);
      start = end;
      const page = this.#pageOf[record]!;
      if (page < 0) continue;
      this.#blocks[this.#blockOf[record]!]!.copyOut(page, 1, all, at);
      at += TARGET_PAGE_BYTES;
    }
    return all.subarray(all.length - this.#vector.bytes);
  }
}
