/**
 * A byte stream in one or both directions, whatever is below it (TCP or unix socket, file, child process,
 * inherited descriptor). What the main channel of a migration runs over.
 */
export interface ByteChannel {
  /** For messages: `main`, or what the creator called it. */
  readonly name: string;
  /** Whether the peer can answer on the same channel. */
  readonly duplex: boolean;
  /** Bytes handed to the kernel; grows when a write is finished, so that it shows what the peer takes. */
  readonly bytesWritten: number;
  /** Bytes given by `read`. */
  readonly bytesRead: number;
  /**
   * Rejects with the first failure; never resolves. A failure is only seen while something is written or
   * read; a clean end of the peer is none. Nobody has to listen to it.
   */
  readonly failed: Promise<never>;
  /**
   * Queues bytes without copying them: they must not change while they are queued, which they are until
   * `flushed()` resolved or `bytesWritten` has passed them (after `drained()` up to the high-water mark still
   * is). Guest RAM, which may change, is the exception: a page that changes is sent again anyway.
   * Returns false when more than the high-water mark is queued: the caller should await `drained()`.
   * Writing after a failure does nothing; the failure is in `drained`, `flushed` and `failed`.
   */
  write(bytes: Uint8Array): boolean;
  /**
   * Lets `send` hand bytes to the kernel by the channel's descriptor, and counts what it returns. Gives undefined,
   * without calling it, while anything is queued or after the end. Absent where there is no descriptor for it.
   */
  sendDirectly?(send: (fd: number) => number): number | undefined;
  /** Resolves when less than the high-water mark is queued. Rejects on failure. */
  drained(): Promise<void>;
  /** Resolves when everything written so far was handed to the kernel. Rejects on failure. */
  flushed(): Promise<void>;
  /**
   * The next bytes from the peer, or undefined at its end and after `close`. Rejects on failure. One call at
   * a time. The bytes are valid until the next call: their memory is used again.
   */
  read(): Promise<Uint8Array | undefined>;
  /**
   * Flushes, ends the write direction, waits a limited time for the peer's end, and closes. Rejects when not
   * everything could be flushed, and after a failure with that failure.
   */
  close(): Promise<void>;
  /** Closes at once; pending operations reject with `error`. Never throws. */
  destroy(error: Error): void;
}

/** A channel that writes a file, whose writer can jump: what is left out is others' to write, or a hole. */
export interface SeekableChannel extends ByteChannel {
  /** Where the next byte goes, counted from the file's first one. */
  readonly position: number;
  /** Moves `position` forward, behind everything that was written so far. */
  skipTo(position: number): void;
}
