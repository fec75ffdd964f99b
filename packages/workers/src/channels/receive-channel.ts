import { Socket, type SocketConstructorOpts } from 'node:net';
import { performance } from 'node:perf_hooks';
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { MigrationError } from '@pageferry/core';
import type { RamBlockMemory } from '@pageferry/core/memory';
import { BlockView } from '@pageferry/core/memory';
import type { ChannelCells } from './channel-cells.ts';
import type { PacketReceiver } from './packet-receiver.ts';
import type { PoolWords } from './pool-words.ts';

/** A connection as it reaches the channel's thread: a socket that moved here, or a descriptor of ours. */
export type MovedConnection = { readonly socket: Socket } | { readonly fd: number };

export interface ReceiveChannelParts {
  readonly channel: string;
  readonly receiver: PacketReceiver;
  readonly cells: ChannelCells;
  readonly words: PoolWords;
  /** Brings the blocks once. They are sent before the release that lets pages come. */
  readonly blocks: MessagePort;
}

/** Feeds a PacketReceiver from a socket, straight into the memory it asks for, and keeps the sync points. */
export class ReceiveChannel {
  readonly #parts: ReceiveChannelParts;
  readonly #ended = Promise.withResolvers<void>();
  readonly #socket: Socket;
  #idleStartMs = performance.eventLoopUtilization().idle;

  constructor(parts: ReceiveChannelParts, connection: MovedConnection) {
    this.#parts = parts;
    this.#socket = this.#open(connection);
  }

  /** Returns at the end of the channel or when it was cancelled. Throws its error. */
  async run(): Promise<void> {
    const socket = this.#socket;
    socket.on('end', () => this.#atEnd());
    socket.on('error', (cause) => this.#lost(cause));
    socket.on('close', () => this.#ended.resolve());
    this.#parts.words.untilCancelled().then(() => socket.destroy());
    // Reading starts here; flowing, so that the end is seen.
    socket.resume();
    try {
      await this.#ended.promise;
    } finally {
      socket.destroy();
    }
  }

  #open(connection: MovedConnection): Socket {
    const { receiver } = this.#parts;
    const onread = { buffer: () => receiver.space()!, callback: (count: number) => this.#onBytes(count) };
    if ('fd' in connection) return new Socket({ fd: connection.fd, onread });
    // A socket's own way of reading allocates a buffer per read; its handle can be given to one that does not.
    const moved = connection.socket as Socket & { _handle: object | null };
    const handle = moved._handle;
    moved._handle = null;
    moved.destroy();
    return new Socket({ handle, onread } as SocketConstructorOpts);
  }

  /** Returns whether reading goes on. */
  #onBytes(count: number): boolean {
    const { receiver, cells, words } = this.#parts;
    cells.count(count, 0, 0, 0);
    if (words.cancelled) return false;
    try {
      const event = receiver.filled(count);
      if (event === 'none') return true;
      cells.count(0, 1, receiver.packet.normalPages, receiver.packet.zeroPages);
      cells.stalledMs = performance.eventLoopUtilization().idle - this.#idleStartMs;
      return event === 'packet' || this.#sync();
    } catch (error) {
      this.#ended.reject(error);
      this.#socket.destroy();
      return false;
    }
  }

  /** Posts a SYNC. Returns whether it is released already; otherwise reading goes on when it is. */
  #sync(): boolean {
    const { cells, words } = this.#parts;
    cells.setPlacing(false);
    const round = cells.countSync();
    words.coordinatorBell.ring();
    if (words.released >= round) {
      this.#takeBlocks();
      return true;
    }
    this.#resumeAfter(round).catch((error) => this.#ended.reject(error));
    return false;
  }

  async #resumeAfter(round: number): Promise<void> {
    const { words } = this.#parts;
    const idleMs = performance.eventLoopUtilization().idle;
    // First of all the caller stops reading.
    await undefined;
    for (;;) {
      const seen = words.releaseBell.count;
      if (words.cancelled) return;
      if (words.released >= round) break;
      await words.releaseBell.changed(seen);
    }
    this.#takeBlocks();
    // Waiting for the release is not waiting for the socket.
    this.#idleStartMs += performance.eventLoopUtilization().idle - idleMs;
    this.#socket.resume();
  }

  #takeBlocks(): void {
    const { receiver, blocks } = this.#parts;
    if (receiver.hasBlocks) return;
    const received = receiveMessageOnPort(blocks);
    if (received === undefined) return;
    const memory = received.message as readonly RamBlockMemory[];
    receiver.setBlocks(memory.map((block) => new BlockView(block)));
  }

  #atEnd(): void {
    const { receiver } = this.#parts;
    try {
      if (!receiver.atPacketBoundary) throw receiver.truncated();
      this.#ended.resolve();
    } catch (error) {
      this.#ended.reject(error);
    }
  }

  #lost(cause: Error): void {
    const { receiver, words, channel } = this.#parts;
    // After the last page it does not matter how the source leaves.
    if (words.sealed && receiver.atPacketBoundary) {
      this.#ended.resolve();
      return;
    }
    const details = { channel, offset: receiver.offset, found: cause.message, cause };
    this.#ended.reject(new MigrationError('connection-lost', 'the source no longer sends', details));
  }
}
