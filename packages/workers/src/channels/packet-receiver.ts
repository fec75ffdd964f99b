import { MigrationError } from '@pageferry/core';
import { type BlockView, runLength, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import {
  checkMultifdPacketHead,
  createMultifdPacket,
  decodeMultifdPacket,
  MULTIFD_COMPRESSION_MASK,
  MULTIFD_PACKET_BYTES,
  MULTIFD_PAGES_PER_PACKET,
  MULTIFD_PAYLOAD_LIMIT_BYTES,
  MultifdFlag,
  type MultifdPacket,
} from '@pageferry/core/wire';
import type { PageDecompressor, PayloadPlace } from '../codecs/codec.ts';

/**
 * A run of pages of at least this size is read straight into guest RAM. A shorter one costs less as a part of
 * a larger read and a copy than as a read of its own.
 */
const DIRECT_RUN_PAGES = 8;

/** Magic, version and flags: what decides whether the rest of a header is one that is known here. */
const MULTIFD_PACKET_HEAD_BYTES = 12;

/** What the bytes just received have completed. */
export type PacketEvent = 'none' | 'packet' | 'sync';

export interface PacketReceiverOptions {
  /** For errors. */
  readonly channel: string;
  /** Bytes of the channel that were read already: its handshake. */
  readonly offset: number;
  /** The configured method's bits in the flags. */
  readonly methodFlag: number;
  /** Absent for none. */
  readonly decompressor: PageDecompressor | undefined;
  /** The caller reads raw pages itself, all of a payload at once: `rawPages` instead of `space`. */
  readonly scatter?: boolean;
  /** Asked before a packet's first page is touched; false once the guest's memory is complete. */
  mayPlace(): boolean;
}

/**
 * The state machine of one receiving channel: takes bytes in pieces of any size and puts pages in their place.
 * It is asked for the memory that the next bytes go to, which is guest RAM itself where that is worth it.
 *
 * It accepts what QEMU sends since 5.0: SYNC in a packet of its own or on one with pages, packets without
 * anything, and stale lengths, names and offsets in packets without pages.
 */
export class PacketReceiver {
  readonly #options: PacketReceiverOptions;
  readonly #header = Buffer.alloc(MULTIFD_PACKET_BYTES);
  readonly #scratch: Buffer;
  readonly #packet = createMultifdPacket();
  #blocks: ReadonlyMap<string, BlockView> | undefined;
  #block: BlockView | undefined;
  /**
   * Bytes of the channel so far, and of them those before the current packet. Not fields: at 2 GiB their type would
   * change, and with it all compiled code of this class be thrown away.
   */
  readonly #offsets: Float64Array;
  #inPayload = false;
  /** The memory that the current piece (header, payload, or a part of it) goes to, and how much of it is there. */
  #target: Uint8Array;
  #got = 0;
  /** In a raw payload: the pages of the current piece. */
  #firstPage = 0;
  #pieceEnd = 0;
  #inScratch = false;
  #scattering = false;
  /** What a decompressor's pages lie in. */
  #pagesMemory: Buffer = Buffer.alloc(0);

  constructor(options: PacketReceiverOptions) {
    this.#options = options;
    this.#offsets = new Float64Array([options.offset, options.offset]);
    this.#target = this.#header;
    const pagesBytes = MULTIFD_PAGES_PER_PACKET * TARGET_PAGE_BYTES;
    // A byte longer than its pages: see BlockView.
    const rawBytes = options.scatter === true ? 0 : pagesBytes + 1;
    this.#scratch = Buffer.alloc(options.decompressor === undefined ? rawBytes : MULTIFD_PAYLOAD_LIMIT_BYTES);
  }

  /** The header of the packet that was just completed. */
  get packet(): Readonly<MultifdPacket> {
    return this.#packet;
  }

  /** Bytes of the channel so far. */
  get offset(): number {
    return this.#offsets[0]!;
  }

  /** Where the current packet starts in the channel. */
  get #packetOffset(): number {
    return this.#offsets[1]!;
  }

  /** Whether a channel may end here. */
  get atPacketBoundary(): boolean {
    return !this.#inPayload && this.#got === 0;
  }

  get hasBlocks(): boolean {
    return this.#blocks !== undefined;
  }

  /** The blocks that pages go to; a packet with pages before this is an error. */
  setBlocks(blocks: readonly BlockView[]): void {
    this.#blocks = new Map(blocks.map((block) => [block.name, block]));
  }

  /** The memory for the next bytes; never empty. Undefined when they are raw pages for the caller to place. */
  space(): Uint8Array | undefined {
    if (this.#scattering) return undefined;
    return this.#got === 0 ? this.#target : this.#target.subarray(this.#got);
  }

  /** The block of the packet's pages, while `space` is undefined: the next bytes are its normal pages, in order. */
  get block(): BlockView {
    return this.#block!;
  }

  /**
   * Takes `count` bytes that were put into `space()`. Allocates nothing per page.
   *
   * @returns `sync` at the end of a packet that asks for a sync: the caller posts it and waits
   * @throws MigrationError; the channel cannot go on after it
   */
  filled(count: number): PacketEvent {
    this.#got += count;
    this.#offsets[0]! += count;
    if (this.#got < this.#needed) return 'none';
    this.#got = 0;
    if (this.#inPayload) return this.#takePayload();
    this.#takeHeader();
    if (this.#packet.normalPages > 0) return 'none';
    return this.#endPacket();
  }

  /** The error of a channel that ends inside a packet. Throws a more telling one where the bytes so far have one. */
  truncated(): MigrationError {
    if (!this.#inPayload && this.#got >= MULTIFD_PACKET_HEAD_BYTES) {
      checkMultifdPacketHead(this.#header, { channel: this.#options.channel, offset: this.#packetOffset });
    }
    const what = this.#inPayload ? 'payload' : 'packet header';
    return this.#error('truncated', `the channel ends inside a ${what}`, {
      offset: this.offset,
      found: `${this.offset - this.#packetOffset} bytes of the packet`,
    });
  }

  /** Bytes of the current piece. */
  get #needed(): number {
    return this.#scattering ? this.#packet.normalPages * TARGET_PAGE_BYTES : this.#target.length;
  }

  #takeHeader(): void {
    const packet = this.#packet;
    decodeMultifdPacket(this.#header, packet, { channel: this.#options.channel, offset: this.#packetOffset });
    this.#checkMethod();
    if (packet.normalPages + packet.zeroPages === 0) return;
    this.#block = this.#findBlock();
    this.#checkPages(this.#block);
    this.#placePages(this.#block);
    if (packet.normalPages === 0) return;
    this.#inPayload = true;
    const { decompressor, scatter } = this.#options;
    // A compressed payload as long as its pages is these pages, where the codec says so.
    const raw =
      decompressor?.takesRaw === true && packet.payloadBytes === packet.normalPages * TARGET_PAGE_BYTES;
    if (decompressor === undefined || (raw && scatter === true)) {
      if (scatter === true) this.#scattering = true;
      else this.#nextPiece(0);
    } else this.#target = this.#scratch.subarray(0, packet.payloadBytes);
  }

  /** QEMU demands the method's bits in every packet with pages, and sends none in the others. */
  #checkMethod(): void {
    const { flags, normalPages, zeroPages } = this.#packet;
    const method = flags & MULTIFD_COMPRESSION_MASK;
    const { methodFlag } = this.#options;
    if (method === methodFlag || (method === 0 && normalPages + zeroPages === 0)) return;
    throw this.#error('compression-mismatch', 'a packet of another compression method', {
      offset: this.#packetOffset + 8,
      found: methodName(method),
      expected: methodName(methodFlag),
    });
  }

  #findBlock(): BlockView {
    const { blockName } = this.#packet;
    if (!this.#options.mayPlace()) {
      throw this.#error('sync-mismatch', 'a packet with pages after the last of them', { found: 'pages' });
    }
    if (this.#block?.name === blockName) return this.#block;
    if (this.#blocks === undefined) {
      throw this.#error('sync-mismatch', 'a packet with pages before the list of RAM blocks', {
        found: 'pages',
      });
    }
    const block = this.#blocks.get(blockName);
    if (block?.shared === true) {
      throw this.#error('bad-page', `pages of ${blockName}, which is shared with the source`, {
        offset: this.#packetOffset + 64,
        expected: 'none (x-ignore-shared)',
      });
    }
    if (block !== undefined) return block;
    throw this.#error('unknown-block', 'a packet for a block that is not in the list', {
      offset: this.#packetOffset + 64,
      found: JSON.stringify(blockName),
      expected: [...this.#blocks.keys()].slice(0, 16).join(', '),
    });
  }

  #checkPages(block: BlockView): void {
    const { pages, normalPages, zeroPages } = this.#packet;
    for (let i = 0; i < normalPages + zeroPages; i++) {
      if (pages[i]! < block.pageCount) continue;
      throw this.#error('bad-page', `a page outside block ${block.name}`, {
        offset: this.#packetOffset + 320 + 8 * i,
        found: `page ${pages[i]}`,
        expected: `less than ${block.pageCount}`,
      });
    }
  }

  /** Clears the zero pages, and notes that the others come now: whatever breaks off ends the migration. */
  #placePages(block: BlockView): void {
    const { pages, normalPages, zeroPages } = this.#packet;
    block.markArrived();
    for (let i = 0; i < normalPages; ) {
      const run = runLength(pages, i, normalPages);
      block.markReceived(pages[i]!, run);
      i += run;
    }
    for (let i = normalPages; i < normalPages + zeroPages; i++) block.clear(pages[i]!);
  }

  /** Chooses the next piece of a raw payload: one long run, or all short runs up to the next long one. */
  #nextPiece(from: number): void {
    const { pages, normalPages } = this.#packet;
    this.#firstPage = from;
    const run = runLength(pages, from, normalPages);
    if (run >= DIRECT_RUN_PAGES) {
      this.#pieceEnd = from + run;
      this.#inScratch = false;
      this.#target = this.#block!.view(pages[from]!, run);
      return;
    }
    let end = from + run;
    while (end < normalPages) {
      const next = runLength(pages, end, normalPages);
      if (next >= DIRECT_RUN_PAGES) break;
      end += next;
    }
    this.#pieceEnd = end;
    this.#inScratch = true;
    this.#target = this.#scratch.subarray(0, (end - from) * TARGET_PAGE_BYTES);
  }

  #takePayload(): PacketEvent {
    const { decompressor, channel } = this.#options;
    const { normalPages } = this.#packet;
    if (this.#scattering) return this.#endPacket();
    if (decompressor !== undefined) {
      const place = { channel, offset: this.#packetOffset };
      if (this.#decompressInPlace(decompressor, place)) return this.#endPacket();
      const bytes = decompressor.decompress(this.#target, normalPages * TARGET_PAGE_BYTES, place);
      // All of the memory that the pages lie in: see BlockView about copies of a whole buffer.
      if (this.#pagesMemory.buffer !== bytes.buffer) this.#pagesMemory = Buffer.from(bytes.buffer);
      this.#copyIn(this.#pagesMemory, bytes.byteOffset, 0, normalPages);
      return this.#endPacket();
    }
    if (this.#inScratch) this.#copyIn(this.#scratch, 0, this.#firstPage, this.#pieceEnd);
    if (this.#pieceEnd === normalPages) return this.#endPacket();
    this.#nextPiece(this.#pieceEnd);
    return 'none';
  }

  /** Pages that lie side by side need not be put into place one by one. */
  #decompressInPlace(decompressor: PageDecompressor, place: PayloadPlace): boolean {
    const { pages, normalPages } = this.#packet;
    if (decompressor.decompressTo === undefined || runLength(pages, 0, normalPages) < normalPages)
      return false;
    return decompressor.decompressTo(this.#target, this.#block!.view(pages[0]!, normalPages), place);
  }

  /** Puts pages [from, end) of the packet into place; the first of them is at `at` in `bytes`. */
  #copyIn(bytes: Buffer, at: number, from: number, end: number): void {
    const { pages } = this.#packet;
    for (let i = from; i < end; ) {
      const run = runLength(pages, i, end);
      this.#block!.copyIn(bytes, at + (i - from) * TARGET_PAGE_BYTES, pages[i]!, run);
      i += run;
    }
  }

  #endPacket(): PacketEvent {
    this.#inPayload = false;
    this.#scattering = false;
    this.#target = this.#header;
    this.#offsets[1] = this.offset;
    return (this.#packet.flags & MultifdFlag.sync) === 0 ? 'packet' : 'sync';
  }

  #error(
    code: 'truncated' | 'compression-mismatch' | 'sync-mismatch' | 'unknown-block' | 'bad-page',
    message: string,
    details: { offset?: number; found?: string; expected?: string },
  ): MigrationError {
    return new MigrationError(code, message, {
      channel: this.#options.channel,
      offset: this.#packetOffset,
      ...details,
    });
  }
}

const METHOD_NAMES = new Map<number, string>([
  [0, 'none'],
  [MultifdFlag.zlib, 'zlib'],
  [MultifdFlag.zstd, 'zstd'],
  [MultifdFlag.lz4, 'lz4'],
  [MultifdFlag.qpl, 'qpl'],
  [MultifdFlag.adaptive, 'adaptive'],
  [MultifdFlag.uadk, 'uadk'],
  [MultifdFlag.qatzip, 'qatzip'],
]);

function methodName(method: number): string {
  return METHOD_NAMES.get(method) ?? `method 0x${method.toString(16)}`;
}
