import { MigrationError } from '../error.ts';
import { AcceptQueue } from './accept-queue.ts';
import { bind } from './bind.ts';
import type { ByteChannel } from './byte-channel.ts';
import { openCommand } from './exec-channel.ts';
import { openDescriptor } from './fd-channel.ts';
import { FileReadChannel, openFileAddress } from './file-channel.ts';
import { cancellation, within } from './limits.ts';
import type { AcceptedChannel, Listener, ListenOptions } from './listener.ts';
import { SocketListener } from './socket-listener.ts';
import { formatUri, type MigrationAddress } from './uri.ts';

/**
 * Listens on a destination's address: opens the listening socket, or what the one main channel is read from.
 *
 * @throws MigrationError `listen-failed`, `file-failed`, `unsupported` or `cancelled`
 */
export async function listen(address: MigrationAddress, options: ListenOptions): Promise<Listener> {
  const { signal } = options;
  if (signal?.aborted) throw cancellation(signal);
  return within(open(address, options), { signal, onLate: (listener) => void listener.close() });
}

async function open(address: MigrationAddress, options: ListenOptions): Promise<Listener> {
  const { signal, name = 'main', closeTimeoutMs } = options;
  const uri = formatUri(address);
  switch (address.transport) {
    case 'tcp':
    case 'unix':
      return new SocketListener(await bind(address, options.backlog), options);
    case 'file': {
      const file = await openFileAddress(address, 'read');
      return new SingleChannelListener(uri, new FileReadChannel(name, file), signal);
    }
    case 'exec': {
      const channel = await openCommand(address.command, { name, direction: 'read', closeTimeoutMs });
      return new SingleChannelListener(uri, channel, signal);
    }
    case 'fd': {
      const channel = openDescriptor(address.fd, { name, direction: 'read', closeTimeoutMs });
      return new SingleChannelListener(uri, channel, signal);
    }
  }
}

/** Where there is nothing to accept: one main channel, open from the start. */
class SingleChannelListener implements Listener {
  readonly address: string;
  readonly #queue: AcceptQueue;

  constructor(address: string, channel: ByteChannel, signal: AbortSignal | undefined) {
    this.address = address;
    this.#queue = new AcceptQueue(signal, () => this.#queue.close(cancellation(signal!)));
    this.#queue.offer({
      give: () => ({ kind: 'main', channel }),
      drop: () => channel.destroy(new MigrationError('cancelled', 'the listener was closed')),
    });
  }

  accept(): Promise<AcceptedChannel> {
    return this.#queue.accept();
  }

  close(): Promise<void> {
    this.#queue.close();
    return Promise.resolve();
  }
}
