import type { Server, Socket } from 'node:net';
import { MigrationError } from '../error.ts';
import { AcceptQueue, type Arrival } from './accept-queue.ts';
import type { BoundServer } from './bind.ts';
import { type FirstBytes, readFirstBytes } from './first-bytes.ts';
import { cancellation, errnoOf } from './limits.ts';
import type { AcceptedChannel, Listener, ListenOptions } from './listener.ts';
import { SocketChannel } from './socket-channel.ts';
import { rewrap, SocketReader } from './socket-reader.ts';

/** Connections that nobody took yet, whether they said what they are or not: a main and 255 multifd channels fit. */
const WAITING_LIMIT = 300;

/**
 * Accepts connections on a TCP or unix socket and finds out at the same time for each what it is, so that a
 * silent one keeps no other waiting.
 */
export class SocketListener implements Listener {
  readonly address: string;
  readonly #server: Server;
  readonly #options: ListenOptions;
  readonly #queue: AcceptQueue;
  readonly #closing = new AbortController();
  readonly #unknown = new Map<Socket, Promise<void>>();
  #closed: Promise<void> | undefined;

  constructor({ server, address }: BoundServer, options: ListenOptions) {
    this.address = address;
    this.#server = server;
    this.#options = options;
    const { signal } = options;
    this.#queue = new AcceptQueue(signal, () => void this.#close(cancellation(signal!)));
    server.on('connection', (socket) => this.#arrived(socket));
    server.on('error', (cause) => {
      const error = new MigrationError('listen-failed', `${address} cannot be listened on any more`, {
        found: errnoOf(cause),
        cause,
      });
      void this.#close(error);
    });
  }

  accept(): Promise<AcceptedChannel> {
    return this.#queue.accept();
  }

  close(): Promise<void> {
    return this.#close();
  }

  #close(error?: MigrationError): Promise<void> {
    this.#closed ??= this.#shutDown(error);
    return this.#closed;
  }

  async #shutDown(error?: MigrationError): Promise<void> {
    this.#queue.close(error);
    this.#closing.abort();
    // Its callback would wait for the connections that were given away too.
    this.#server.close();
    for (const socket of this.#unknown.keys()) socket.destroy();
    await Promise.all(this.#unknown.values());
  }

  #arrived(socket: Socket): void {
    const name = socket.remotePort === undefined ? 'a connection' : `connection from ${peer(socket)}`;
    if (this.#closing.signal.aborted) {
      socket.destroy();
    } else if (this.#unknown.size + this.#queue.length >= WAITING_LIMIT) {
      this.#reject(
        socket,
        new MigrationError('limit-exceeded', 'too many connections are waiting to be told apart or taken', {
          expected: `at most ${WAITING_LIMIT}`,
          channel: name,
        }),
      );
    } else {
      socket.on('error', ignore);
      const work = readFirstBytes(socket, name, this.#options.firstBytesTimeoutMs, this.#closing.signal).then(
        (first) => {
          this.#unknown.delete(socket);
          this.#queue.offer(this.#arrival(socket, first));
        },
        (error: unknown) => {
          this.#unknown.delete(socket);
          this.#reject(socket, MigrationError.from(error, 'internal', { channel: name }));
        },
      );
      this.#unknown.set(socket, work);
    }
  }

  #arrival(socket: Socket, first: FirstBytes): Arrival {
    const drop = (): void => {
      socket.destroy();
    };
    if (first.kind === 'multifd') {
      const { channel, uuid } = first;
      const give = (): AcceptedChannel => {
        socket.removeListener('error', ignore);
        return { kind: 'multifd', channel, uuid, connection: socket };
      };
      return { give, drop };
    }
    const give = (): AcceptedChannel => {
      const { name = 'main', closeTimeoutMs } = this.#options;
      const reader = new SocketReader(first.consumed);
      const connection = rewrap(socket, reader.onread, { writable: true });
      const channel = new SocketChannel({ name, socket: connection, reader, writable: true, closeTimeoutMs });
      return { kind: 'main', channel };
    };
    return { give, drop };
  }

  #reject(socket: Socket, error: MigrationError): void {
    socket.destroy();
    if (this.#queue.length >= 2 * WAITING_LIMIT) return;
    this.#queue.offer({ give: () => ({ kind: 'rejected', error }), drop: ignore });
  }
}

function ignore(): void {}

function peer(socket: Socket): string {
  const { remoteAddress = '?', remotePort } = socket;
  return remoteAddress.includes(':') ? `[${remoteAddress}]:${remotePort}` : `${remoteAddress}:${remotePort}`;
}
