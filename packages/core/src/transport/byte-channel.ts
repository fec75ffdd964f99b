/**
 * A byte stream in one or both directions, whatever is below it (TCP or unix socket, file, child process,
 * inherited descriptor). What the main channel of a migration runs over.
 */
export interface ByteChannel {
  /** For messages: `main`, or what the creator called it. */
  readonly name: string;
  /** Whether the peer can answer on the same channel. */
  readonly duplex: boolean;
  readonly bytesWritten: number;
  readonly bytesRead: number;
  /**
   * Queues bytes without copying them: they must not change before `drained()` or `flushed()` resolved.
   * Returns false when more than the high-water mark is queued: the caller should await `drained()`.
   * Writing after a failure does nothing; the failure is in `drained`, `flushed` and `failed`.
   */
  write(bytes: Uint8Array): boolean;
  /** Resolves when less than the high-water mark is queued. Rejects on failure. */
  drained(): Promise<void>;
  /** Resolves when everything was handed to the kernel. Rejects on failure. */
  flushed(): Promise<void>;
  /** The next bytes from the peer, or undefined at its end. Rejects on failure. One call at a time. */
  read(): Promise<Uint8Array | undefined>;
  /** Flushes, ends the write direction, and closes. */
  close(): Promise<void>;
  /** Closes at once; pending operations reject with `error`. Never throws. */
  destroy(error: Error): void;
}
