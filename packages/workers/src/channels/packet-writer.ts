import type { Socket } from 'node:net';
import { MigrationError } from '@pageferry/core';
import { encodeMultifdPacket, MULTIFD_HANDSHAKE_BYTES, MULTIFD_PACKET_BYTES } from '@pageferry/core/wire';
import type { ChannelCells } from './channel-cells.ts';
import { PacketSlot } from './packet-slot.ts';
import { givenUp, lostConnection, PEER_END_GRACE_MS } from './peer-errors.ts';

export interface PacketWriterEvents {
  /** A flush waited for the packet that has just left. */
  flushed(): void;
  /** The channel failed: `checkAlive` says whether anything was lost. */
  failed(): void;
}

/**
 * Writes packets to a channel's socket without copying them. A few are on their way at once; who wants a
 * slot for another one waits for the oldest: that is the channel's backpressure.
 */
export class PacketWriter {
  readonly #socket: Socket;
  readonly #channel: string;
  readonly #cells: ChannelCells;
  readonly #slots: PacketSlot[];
  readonly #events: PacketWriterEvents;
  #next = 0;
  #waiting: { resolve: () => void; reject: (error: Error) => void } | undefined;
  #error: MigrationError | undefined;
  /** The error means that bytes may be lost, whether or not any are on their way. */
  #lossy = false;
  #stalledMs = 0;
  #peerEnded: NodeJS.Timeout | undefined;
  /** Bytes given to the socket. */
  #queuedBytes = MULTIFD_HANDSHAKE_BYTES;

  /** @param slots packets that may be on their way at once */
  constructor(
    socket: Socket,
    channel: string,
    cells: ChannelCells,
    slots: number,
    events: PacketWriterEvents,
  ) {
    this.#socket = socket;
    this.#channel = channel;
    this.#cells = cells;
    this.#slots = Array.from({ length: slots }, () => new PacketSlot());
    this.#events = events;
    socket.on('error', (error) => this.#failForGood(error));
    socket.on('close', () => {
      clearTimeout(this.#peerEnded);
      this.fail(new Error('the socket was closed'));
    });
    // Nothing is ever read here but the end: a destination that gave up may only shut its channels down.
    socket.once('end', () => {
      this.#peerEnded = setTimeout(() => this.#givenUp(), PEER_END_GRACE_MS);
    });
    socket.resume();
  }

  /** The byte offset of the next packet in the channel. */
  get offset(): number {
    return this.#queuedBytes;
  }

  /**
   * Throws the channel's error if a packet may be lost by it: after a reset what was handed over may be unread.
   * A connection that ends in order while nothing is on its way is no error yet.
   */
  checkAlive(): void {
    if (this.#error === undefined) return;
    if (this.#lossy || this.#slots.some((slot) => slot.busy)) throw this.#error;
  }

  /** The next slot, taken; undefined when all are on their way. Throws the channel's error. */
  take(): PacketSlot | undefined {
    if (this.#error !== undefined) throw this.#error;
    const slot = this.#slots[this.#next]!;
    if (slot.busy) return undefined;
    slot.busy = true;
    this.#next = (this.#next + 1) % this.#slots.length;
    return slot;
  }

  /** Waits until `take` gives a slot, or, with `all`, until every slot is free. Rejects with the channel's error. */
  async room(all = false): Promise<void> {
    const start = performance.now();
    while (all ? this.#slots.some((slot) => slot.busy) : this.#slots[this.#next]!.busy) {
      if (this.#error !== undefined) throw this.#error;
      await new Promise<void>((resolve, reject) => {
        this.#waiting = { resolve, reject };
      });
    }
    this.#stalledMs += performance.now() - start;
    this.#cells.stalledMs = this.#stalledMs;
  }

  /** Writes the slot's packet: the header from `slot.packet`, then the parts of the payload. */
  write(slot: PacketSlot, parts: readonly Uint8Array[]): void {
    const { packet, header } = slot;
    encodeMultifdPacket(packet, header);
    const bytes = MULTIFD_PACKET_BYTES + packet.payloadBytes;
    this.#queuedBytes += bytes;
    const done = (error?: Error | null) => {
      if (error) this.fail(error);
      else this.#written(slot, bytes);
    };
    const socket = this.#socket;
    if (parts.length === 0) {
      socket.write(header, done);
      return;
    }
    // Header and payload leave in one system call.
    socket.cork();
    socket.write(header);
    for (let i = 0; i < parts.length - 1; i++) socket.write(parts[i]!);
    socket.write(parts[parts.length - 1]!, done);
    socket.uncork();
  }

  /** Ends the channel in order. */
  async end(): Promise<void> {
    clearTimeout(this.#peerEnded);
    await this.room(true);
    this.checkAlive();
    if (this.#socket.closed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    // What happens to the connection now is no longer of interest: every byte was handed over.
    this.#socket.once('close', resolve);
    this.#socket.end(() => this.#socket.destroy());
    await promise;
  }

  /** Takes the channel's first error: whoever waits gets it. */
  fail(cause: Error): void {
    if (this.#error !== undefined) return;
    this.#error =
      cause instanceof MigrationError ? cause : lostConnection(cause, this.#channel, this.#cells.bytes);
    this.#waiting?.reject(this.#error);
    this.#waiting = undefined;
    this.#events.failed();
  }

  #failForGood(error: Error): void {
    this.#lossy ||= this.#error === undefined;
    this.fail(error);
  }

  #givenUp(): void {
    this.#failForGood(givenUp(this.#channel, this.#cells.bytes));
  }

  #written(slot: PacketSlot, bytes: number): void {
    slot.busy = false;
    this.#cells.count(bytes, 1, slot.packet.normalPages, slot.packet.zeroPages);
    if (this.#cells.complete()) this.#events.flushed();
    this.#waiting?.resolve();
    this.#waiting = undefined;
  }
}
