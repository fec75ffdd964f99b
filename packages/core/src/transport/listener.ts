import type { Socket } from 'node:net';
import type { MigrationError } from '../error.ts';
import type { ByteChannel } from './byte-channel.ts';

/** A destination's address that is being listened on. */
export interface Listener {
  /** The URI to connect to, with the real port: `tcp:127.0.0.1:49152`. */
  readonly address: string;
  /**
   * The next connection that was told apart by its first bytes, in the order in which they became known;
   * a `file:`, `exec:` or `fd:` address gives exactly one, its main channel. Rejects with `cancelled` once
   * the listener is closed, with `listen-failed` when it broke.
   */
  accept(): Promise<AcceptedChannel>;
  /** Stops listening and closes every connection that `accept` has not given away. Never rejects. */
  close(): Promise<void>;
}

export type AcceptedChannel =
  /** The main channel: its magic is not consumed, `channel.read()` gives it. */
  | { readonly kind: 'main'; readonly channel: ByteChannel }
  /**
   * A multifd channel. The 64 bytes of its handshake are consumed; `connection` is paused, nothing was read
   * through it, so that a TCP connection can still move to another thread. It has no `error` listener.
   */
  | {
      readonly kind: 'multifd';
      readonly channel: number;
      readonly uuid: Uint8Array;
      readonly connection: Socket;
    }
  /** A connection that was closed because it sent something else, nothing in time, or ended early. */
  | { readonly kind: 'rejected'; readonly error: MigrationError };

export interface ListenOptions {
  /** Connections that the kernel holds until they are accepted. */
  readonly backlog: number;
  /** How long a connection may take to say what it is, a multifd handshake included. */
  readonly firstBytesTimeoutMs: number;
  /** Closes the listener when aborted. */
  readonly signal?: AbortSignal | undefined;
  /** The name of the main channel in messages; `main` if absent. */
  readonly name?: string;
  /** How long a closing main channel waits without progress for its bytes to be taken; 10 s if absent. */
  readonly closeTimeoutMs?: number;
}
