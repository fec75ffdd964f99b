import { MigrationError } from '@pageferry/core';
import { type BlockView, runLength, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { encodeMultifdPacket, MULTIFD_PACKET_BYTES, MULTIFD_PAGES_PER_PACKET } from '@pageferry/core/wire';
import type { PageCompressor } from '../codecs/codec.ts';
import { type ChannelSocket, END } from '../system/blocking-socket.ts';
import { IoVector } from '../system/io-vector.ts';
import type { SystemCalls } from '../system/system-calls.ts';
import type { ChannelCells } from './channel-cells.ts';
import { createJob, createOwnJob, JobKind, JobRing } from './job-ring.ts';
import { checkPayload, copyPages, type PacketBuilder } from './packet-builder.ts';
import { PacketSlot } from './packet-slot.ts';
import { givenUp, lostConnection, PEER_END_GRACE_MS } from './peer-errors.ts';
import type { PoolWords } from './pool-words.ts';

/** How long the thread sleeps at most before it looks after the peer and the event loop, ms. */
const IDLE_SLICE_MS = 50;
/** How often the event loop gets a turn, ms: native memory is freed there. */
const BREATH_MS = 20;
/** Received bytes are thrown away: a destination sends nothing here but its end. */
const DISCARD_BYTES = 64;

export interface BlockingSendChannelParts {
  readonly channel: string;
  readonly calls: SystemCalls;
  readonly socket: ChannelSocket;
  readonly cells: ChannelCells;
  /** The other channels of this side, whose pages are sent here when they do not get on. */
  readonly others: readonly ChannelCells[];
  readonly words: PoolWords;
  readonly builder: PacketBuilder;
  /** Synchronous; absent for none. */
  readonly compressor: PageCompressor | undefined;
  /** Nobody writes the guest's RAM. */
  readonly isStill: boolean;
}

/** Jobs in another channel's queue that it will not get to soon: one may be about to be taken. */
const MIN_QUEUE_TO_STEAL = 2;

interface JobSource {
  readonly cells: ChannelCells;
  readonly ring: JobRing;
}

/**
 * Turns the jobs of one channel's ring into packets, until the job that ends it. The thread sleeps in
 * `Atomics.wait` and in the kernel, never in the event loop, and hands each packet over in one system call,
 * header and pages where they lie.
 */
export class BlockingSendChannel {
  readonly #parts: BlockingSendChannelParts;
  readonly #ring: JobRing;
  readonly #own: JobSource;
  readonly #others: readonly JobSource[];
  readonly #job = createOwnJob();
  /** The job at the head of the ring that is none of pages. */
  readonly #control = createJob();
  readonly #slot = new PacketSlot();
  readonly #vector: IoVector;
  readonly #discard: IoVector;
  readonly #discarded = new Uint8Array(new ArrayBuffer(DISCARD_BYTES));
  readonly #headerAddress: number;
  readonly #targetAddress: number;
  #stalledMs = 0;
  /** When the peer's end makes this channel fail. */
  #graceEndMs: number | undefined;

  constructor(parts: BlockingSendChannelParts) {
    const { calls } = parts;
    this.#parts = parts;
    this.#ring = new JobRing(parts.cells);
    this.#own = { cells: parts.cells, ring: this.#ring };
    this.#others = parts.others.map((cells) => ({ cells, ring: new JobRing(cells) }));
    // The header, and at worst a piece for each page.
    this.#vector = new IoVector(calls, 1 + MULTIFD_PAGES_PER_PACKET);
    this.#discard = new IoVector(calls, 1);
    this.#headerAddress = calls.addressOf(this.#slot.header);
    this.#targetAddress = parts.compressor === undefined ? 0 : calls.addressOf(this.#slot.target);
  }

  /** Returns when the channel was ended or cancelled. Throws its error. */
  async run(): Promise<void> {
    const { cells, words, socket } = this.#parts;
    let breathAtMs = performance.now() + BREATH_MS;
    let idleSinceMs = performance.now();
    while (!words.cancelled) {
      const nowMs = performance.now();
      if (nowMs >= breathAtMs) {
        await new Promise((resolve) => setImmediate(resolve));
        breathAtMs = performance.now() + BREATH_MS;
      }
      if (this.#graceEndMs !== undefined && nowMs >= this.#graceEndMs) {
        throw givenUp(this.#parts.channel, cells.bytes);
      }
      const seen = cells.workerBell.count;
      const owner = this.#takePages();
      if (owner !== undefined) {
        this.#sendPages(owner, nowMs - idleSinceMs);
        idleSinceMs = performance.now();
      } else if (!this.#ring.peek(this.#control)) {
        words.coordinatorBell.ring();
        if (!cells.workerBell.wait(seen, IDLE_SLICE_MS)) this.#watchPeer();
      } else if (this.#control.kind === JobKind.sync) {
        this.#sendSync();
      } else if (this.#control.kind === JobKind.end) {
        socket.end();
        return;
      }
    }
  }

  /** Takes pages to send: this channel's own, or those of one that does not get on. Returns whose they were. */
  #takePages(): JobSource | undefined {
    const { cells } = this.#parts;
    if (this.#ring.claim(this.#job)) return this.#own;
    // At a SYNC the others' last jobs are all that is left of the pass.
    const least = this.#ring.length === 0 ? MIN_QUEUE_TO_STEAL : 1;
    for (const other of this.#others) {
      if (other.ring.steal(this.#job, cells.syncs, least)) return other;
    }
    return undefined;
  }

  #sendPages(owner: JobSource, waitedMs: number): void {
    const { words, builder, compressor } = this.#parts;
    const { packet } = this.#slot;
    if (owner.ring.isHalfEmpty) words.coordinatorBell.ring();
    this.#begin();
    const block = builder.pages(packet, this.#job);
    if (packet.normalPages > 0) {
      if (compressor === undefined) this.#addRaw(block);
      else this.#addCompressed(this.#job.block, block, compressor);
    }
    const writeMs = this.#finish(owner.cells);
    words.countSent(MULTIFD_PACKET_BYTES + packet.payloadBytes);
    compressor?.observe?.(waitedMs, writeMs, packet.payloadBytes);
  }

  #sendSync(): void {
    const { cells, builder } = this.#parts;
    this.#begin();
    builder.sync(this.#slot.packet);
    // In this order: see JobRing.steal.
    cells.countSync();
    this.#ring.shift();
    this.#finish(cells);
  }

  #begin(): void {
    this.#vector.clear();
    this.#vector.add(this.#headerAddress, MULTIFD_PACKET_BYTES);
  }

  /** Sends the packet, and counts the job as done for the channel that it was given to. Returns the time it took, ms. */
  #finish(owner: ChannelCells): number {
    const { cells, words } = this.#parts;
    const { packet, header } = this.#slot;
    encodeMultifdPacket(packet, header);
    const writeMs = this.#write();
    cells.count(MULTIFD_PACKET_BYTES + packet.payloadBytes, 1, packet.normalPages, packet.zeroPages);
    if (owner.complete()) words.coordinatorBell.ring();
    return writeMs;
  }

  /** Straight from guest RAM: a page that changes meanwhile is dirty again. */
  #addRaw(block: BlockView): void {
    const { packet } = this.#slot;
    const { addressOf } = this.#parts.calls;
    for (let i = 0; i < packet.normalPages; ) {
      const run = runLength(packet.pages, i, packet.normalPages);
      this.#vector.add(block.pageAddress(packet.pages[i]!, addressOf), run * TARGET_PAGE_BYTES);
      i += run;
    }
    packet.payloadBytes = packet.normalPages * TARGET_PAGE_BYTES;
  }

  #addCompressed(blockIndex: number, block: BlockView, compressor: PageCompressor): void {
    const { packet, target } = this.#slot;
    compressor.locate?.(blockIndex, packet.pages[0]!);
    if (compressor.sendsRaw?.(packet.normalPages * TARGET_PAGE_BYTES) === true) {
      this.#addRaw(block);
      return;
    }
    const payload = compressor.compress(this.#still(block, compressor) ?? this.#copy(block), target);
    if (!(payload instanceof Uint8Array)) {
      throw new MigrationError(
        'internal',
        'a backend that compresses elsewhere was given to a blocking channel',
      );
    }
    checkPayload(payload, this.#parts.channel, this.#parts.cells.bytes);
    packet.payloadBytes = payload.length;
    // Nearly always a part of the target, whose place is known.
    const inTarget = payload.buffer === target.buffer;
    const address = inTarget
      ? this.#targetAddress + payload.byteOffset - target.byteOffset
      : this.#parts.calls.addressOf(payload);
    this.#vector.add(address, payload.length);
  }

  /** The packet's pages where they lie, when they lie side by side and nobody writes them. */
  #still(block: BlockView, { takesGuestRam }: PageCompressor): Uint8Array | undefined {
    if (takesGuestRam !== true || !this.#parts.isStill) return undefined;
    const { pages, normalPages } = this.#slot.packet;
    return runLength(pages, 0, normalPages) < normalPages ? undefined : block.view(pages[0]!, normalPages);
  }

  #copy(block: BlockView): Uint8Array {
    const { packet, pages } = this.#slot;
    copyPages(packet, block, pages);
    return pages.subarray(0, packet.normalPages * TARGET_PAGE_BYTES);
  }

  /** Until the last byte is in the kernel's hands, or the channel is cancelled. Returns the time it took. */
  #write(): number {
    const { socket, words } = this.#parts;
    const startMs = performance.now();
    try {
      while (this.#vector.bytes > 0) {
        socket.send(this.#vector);
        if (words.cancelled) break;
        if (this.#vector.bytes > 0) this.#watchPeer();
        if (this.#graceEndMs !== undefined && performance.now() >= this.#graceEndMs) {
          throw givenUp(this.#parts.channel, this.#parts.cells.bytes);
        }
      }
    } catch (cause) {
      throw this.#lost(cause);
    }
    const tookMs = performance.now() - startMs;
    this.#stalledMs += tookMs;
    this.#parts.cells.stalledMs = this.#stalledMs;
    return tookMs;
  }

  /** A destination that gave up may only shut its channels down. */
  #watchPeer(): void {
    if (this.#graceEndMs !== undefined) return;
    const { socket, calls } = this.#parts;
    try {
      this.#discard.clear();
      this.#discard.add(calls.addressOf(this.#discarded), DISCARD_BYTES);
      if (socket.receiveNow(this.#discard) === END) this.#graceEndMs = performance.now() + PEER_END_GRACE_MS;
    } catch (cause) {
      throw this.#lost(cause);
    }
  }

  #lost(cause: unknown): MigrationError {
    if (cause instanceof MigrationError) return cause;
    return lostConnection(cause as Error, this.#parts.channel, this.#parts.cells.bytes);
  }
}
