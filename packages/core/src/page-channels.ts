import type { RamBlockMemory } from './memory/ram-block.ts';
import type { MappedRamPlace } from './wire/mapped-ram-layout.ts';

/**
 * What the state machines need of page channels (multifd), and are given: core knows neither threads nor
 * the sockets behind these. `@pageferry/workers` implements both over its worker pools.
 */

/** Counters of one channel, read at any time. */
export interface ChannelStats {
  /** Channel id, from 0. */
  readonly channel: number;
  /** Bytes on the wire, packet headers and handshake included. */
  readonly bytes: number;
  /** Packets sent or received; writes to a mapped-ram file. */
  readonly packets: number;
  readonly normalPages: number;
  readonly zeroPages: number;
  /** Milliseconds spent waiting for the socket, or in writes to a mapped-ram file. */
  readonly stalledMs: number;
}

export interface PageSender {
  /**
   * Connects every channel and sends its handshake; or opens the file, when `places` says where in a
   * mapped-ram file each block is.
   */
  open(blocks: readonly RamBlockMemory[], places?: readonly MappedRamPlace[]): Promise<void>;
  /**
   * Queues pages of one block; `pages[0..count)` are page numbers in ascending order, at most
   * `pagesPerSubmit`. Returns false, having taken nothing, when every queue is full: await `drained()`.
   */
  submit(blockIndex: number, pages: Uint32Array, count: number): boolean;
  readonly pagesPerSubmit: number;
  /** Resolves when a `submit` or `sync` can be taken again. */
  drained(): Promise<void>;
  /**
   * Queues a SYNC packet on every channel, behind everything submitted so far. With a file there is no such
   * packet: resolves when everything submitted so far was written, so that no later page is overtaken.
   */
  sync(): Promise<void>;
  /** Resolves when everything queued so far was handed to the kernel. */
  flushed(): Promise<void>;
  /** Ends all channels in order, after `flushed`. */
  close(): Promise<void>;
  /** Ends all channels at once. Never rejects. */
  abort(error: Error): Promise<void>;
  /** Rejects with the first error of any channel; never resolves. */
  readonly failed: Promise<never>;
  stats(): ChannelStats[];
}

/** `Connection` is whatever the transport gives for an accepted channel whose handshake was read. */
export interface PageReceiver<Connection> {
  /** Takes a channel, in any order of ids. */
  adopt(channel: number, connection: Connection): Promise<void>;
  /** The blocks that pages go to. Called before the first `release`; a page before that is an error. */
  setBlocks(blocks: readonly RamBlockMemory[]): void;
  /** Resolves when every channel has read its next SYNC packet; they wait then for `release`. */
  synced(): Promise<void>;
  release(): void;
  /**
   * The main stream is complete: no page may come any more. Throws `sync-mismatch` when the sync points of
   * the channels are not those of the main stream, since pages may be missing then.
   */
  seal(): void;
  /** Waits for the end of every channel (the source closes them last). */
  close(): Promise<void>;
  /** Ends all channels at once. Never rejects. */
  abort(error: Error): Promise<void>;
  /** Rejects with the first error of any channel; never resolves. */
  readonly failed: Promise<never>;
  stats(): ChannelStats[];
}
