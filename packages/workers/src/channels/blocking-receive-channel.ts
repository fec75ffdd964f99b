import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { MigrationError } from '@pageferry/core';
import { BlockView, type RamBlockMemory, runLength, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { MULTIFD_PAGES_PER_PACKET } from '@pageferry/core/wire';
import { type ChannelSocket, END } from '../system/blocking-socket.ts';
import { IoVector } from '../system/io-vector.ts';
import type { SystemCalls } from '../system/system-calls.ts';
import type { ChannelCells } from './channel-cells.ts';
import type { PacketReceiver } from './packet-receiver.ts';
import type { PoolWords } from './pool-words.ts';

/** How long the thread waits for a release before it looks whether it was cancelled, ms. */
const SLICE_MS = 100;
/** How often the event loop gets a turn, ms: native memory is freed there. */
const BREATH_MS = 20;

export interface BlockingReceiveChannelParts {
  readonly channel: string;
  readonly calls: SystemCalls;
  readonly socket: ChannelSocket;
  /** Made with `scatter`. */
  readonly receiver: PacketReceiver;
  readonly cells: ChannelCells;
  readonly words: PoolWords;
  /** Brings the blocks once. They are sent before the release that lets pages come. */
  readonly blocks: MessagePort;
}

/**
 * Feeds a PacketReceiver from a socket and keeps the sync points. The thread sleeps in the kernel, which puts
 * all raw pages of a packet in their places in one call.
 */
export class BlockingReceiveChannel {
  readonly #parts: BlockingReceiveChannelParts;
  readonly #vector: IoVector;
  /** Addresses of the memory that `space` gives parts of; there are two or three. */
  readonly #addresses = new WeakMap<ArrayBufferLike, number>();
  #stalledMs = 0;

  constructor(parts: BlockingReceiveChannelParts) {
    this.#parts = parts;
    this.#vector = new IoVector(parts.calls, MULTIFD_PAGES_PER_PACKET);
  }

  /** Returns at the end of the channel or when it was cancelled. Throws its error. */
  async run(): Promise<void> {
    const { receiver, cells, words } = this.#parts;
    let breathAtMs = performance.now() + BREATH_MS;
    while (!words.cancelled) {
      if (performance.now() >= breathAtMs) {
        await new Promise((resolve) => setImmediate(resolve));
        breathAtMs = performance.now() + BREATH_MS;
      }
      if (this.#vector.bytes === 0) this.#aim();
      const count = this.#receive();
      if (count === END) return;
      if (count === 0) continue;
      cells.count(count, 0, 0, 0);
      const event = receiver.filled(count);
      if (event === 'none') continue;
      cells.count(0, 1, receiver.packet.normalPages, receiver.packet.zeroPages);
      if (event === 'sync') this.#sync();
    }
  }

  /** Points the vector to where the next bytes go. */
  #aim(): void {
    const { receiver, calls } = this.#parts;
    const vector = this.#vector;
    vector.clear();
    const space = receiver.space();
    if (space !== undefined) {
      vector.add(this.#addressOf(space), space.length);
      return;
    }
    const { block, packet } = receiver;
    const { pages, normalPages } = packet;
    for (let i = 0; i < normalPages; ) {
      const run = runLength(pages, i, normalPages);
      vector.add(block.pageAddress(pages[i]!, calls.addressOf), run * TARGET_PAGE_BYTES);
      i += run;
    }
  }

  #addressOf(space: Uint8Array): number {
    let base = this.#addresses.get(space.buffer);
    if (base === undefined) {
      base = this.#parts.calls.addressOf(space.buffer);
      this.#addresses.set(space.buffer, base);
    }
    return base + space.byteOffset;
  }

  /** Bytes received, 0 after a slice without any, or END at the end of the channel. */
  #receive(): number {
    const { socket, receiver, words, cells } = this.#parts;
    const startMs = performance.now();
    try {
      const count = socket.receive(this.#vector);
      if (count === END && !receiver.atPacketBoundary) throw receiver.truncated();
      return count;
    } catch (cause) {
      // After the last page it does not matter how the source leaves.
      if (words.sealed && receiver.atPacketBoundary) return END;
      throw cause instanceof MigrationError ? cause : this.#lost(cause as Error);
    } finally {
      this.#stalledMs += performance.now() - startMs;
      cells.stalledMs = this.#stalledMs;
    }
  }

  /** Posts a SYNC and waits until it is released. */
  #sync(): void {
    const { cells, words } = this.#parts;
    cells.setPlacing(false);
    const round = cells.countSync();
    words.coordinatorBell.ring();
    for (;;) {
      const seen = words.releaseBell.count;
      if (words.cancelled) return;
      if (words.released >= round) break;
      words.releaseBell.wait(seen, SLICE_MS);
    }
    this.#takeBlocks();
  }

  #takeBlocks(): void {
    const { receiver, blocks } = this.#parts;
    if (receiver.hasBlocks) return;
    const received = receiveMessageOnPort(blocks);
    if (received === undefined) return;
    const memory = received.message as readonly RamBlockMemory[];
    receiver.setBlocks(memory.map((block) => new BlockView(block)));
  }

  #lost(cause: Error): MigrationError {
    const { receiver, channel } = this.#parts;
    const details = { channel, offset: receiver.offset, found: cause.message, cause };
    return new MigrationError('connection-lost', 'the source no longer sends', details);
  }
}
