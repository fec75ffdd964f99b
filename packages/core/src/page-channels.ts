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

/** Records that a compress thread has made. */
export interface CompressedBatch {
  /** COMPRESS_PAGE and ZERO records, each with CONTINUE; the caller's own. */
  readonly records: Uint8Array;
  readonly compressedPages: number;
  readonly zeroPages: number;
}

/** The compress threads of a source (capability `compress`). */
export interface CompressThreads {
  /** Starts the threads. Resolves when the first can work. */
  open(blocks: readonly RamBlockMemory[]): Promise<void>;
  readonly pagesPerSubmit: number;
  /**
   * Hands `pages[from..end)` of one block, at most `pagesPerSubmit`, to a thread. Returns false, having taken
   * nothing, when as many batches are under way as there may be threads: await `done()` and take what `next` has.
   */
  submit(blockIndex: number, pages: Uint32Array, from: number, end: number): boolean;
  /** The records of pages that were submitted, those first that were done first; undefined: none now. */
  next(): CompressedBatch | undefined;
  /** Resolves when `next` has something, or never will. Rejects like `failed`. */
  done(): Promise<void>;
  /** Pages that were submitted and not taken with `next`. */
  readonly pendingPages: number;
  /** Rejects with the first error of any thread; never resolves. */
  readonly failed: Promise<never>;
  /** Ends the threads. Whoever waits gets the error, if there is one. Never rejects. */
  end(error?: Error): Promise<void>;
}

/** The decompress threads of a destination (capability `compress`). Pages may be put in their places in any order. */
export interface DecompressThreads {
  /**
   * Starts the threads. Resolves when the first can work.
   * @param checkErrors whether a page that cannot be inflated is an error, or is left as it is
   */
  open(blocks: readonly RamBlockMemory[], checkErrors: boolean): Promise<void>;
  /**
   * Takes a page's zlib stream, copied. Returns false, having taken nothing, when no thread is free: await `drained()`.
   * @param offset where the stream begins in the main channel, for errors
   */
  add(blockIndex: number, pageIndex: number, bytes: Uint8Array, offset: number): boolean;
  /** Whether content of the page was taken and may not be in its place yet. */
  holds(blockIndex: number, pageIndex: number): boolean;
  /** Resolves when a thread has become free. Rejects like `failed`. */
  drained(): Promise<void>;
  /** Resolves when all that was taken is in its place. Rejects like `failed`. */
  finished(): Promise<void>;
  /** Rejects with the first error of any thread; never resolves. */
  readonly failed: Promise<never>;
  /** Ends the threads. Whoever waits gets the error, if there is one. Never rejects. */
  end(error?: Error): Promise<void>;
}
