import { type ErrorCode, MigrationError } from '../error.ts';
import type { PageReceiver } from '../page-channels.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import type { AcceptedChannel, Listener } from '../transport/index.ts';
import { formatUuid, sameUuid } from '../wire/uuid.ts';

type PageChannel = Extract<AcceptedChannel, { kind: 'multifd' }>;
export type PageConnection = PageChannel['connection'];

interface ChannelSetOptions {
  /** 0 without multifd. */
  readonly channels: number;
  /** Time for all channels to come, from the first one's arrival, ms. */
  readonly channelTimeoutMs: number;
  /** When set, every handshake must carry exactly this. */
  readonly uuid?: Uint8Array;
}

/**
 * The destination's channels: takes connections in any order until the main channel and every page channel
 * are there, and refuses those that should not have come.
 */
export class ChannelSet {
  readonly #listener: Listener;
  readonly #options: ChannelSetOptions;
  readonly #receiver: PageReceiver<PageConnection> | undefined;
  readonly #fail: (error: MigrationError) => void;
  readonly #main = Promise.withResolvers<ByteChannel>();
  readonly #complete = Promise.withResolvers<void>();
  readonly #seen = new Set<number>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #mainChannel: ByteChannel | undefined;
  /** UUID of the handshakes; undefined before the first one. */
  uuid: Uint8Array | undefined;

  /** @param fail called with the first thing that is wrong */
  constructor(
    listener: Listener,
    options: ChannelSetOptions,
    receiver: PageReceiver<PageConnection> | undefined,
    fail: (error: MigrationError) => void,
  ) {
    this.#listener = listener;
    this.#options = options;
    this.#receiver = receiver;
    this.#fail = fail;
    void this.#acceptAll();
  }

  /** The main channel, as soon as it is there. */
  get main(): Promise<ByteChannel> {
    return this.#main.promise;
  }

  /** Resolves when no channel is owed any more. */
  get complete(): Promise<void> {
    return this.#complete.promise;
  }

  /** Stops accepting. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#listener.close();
  }

  async #acceptAll(): Promise<void> {
    try {
      for (;;) {
        const accepted = await this.#listener.accept();
        if (accepted.kind !== 'rejected') {
          this.#timer ??= setTimeout(() => this.#overdue(), this.#options.channelTimeoutMs);
        }
        await this.#take(accepted);
        if (this.#owed()) continue;
        clearTimeout(this.#timer);
        this.#complete.resolve();
      }
    } catch (error) {
      if (!this.#closed) this.#fail(MigrationError.from(error, 'listen-failed'));
    }
  }

  async #take(accepted: AcceptedChannel): Promise<void> {
    if (accepted.kind === 'main') {
      if (this.#mainChannel !== undefined) {
        accepted.channel.destroy(new MigrationError('too-many-channels', 'a migration is already coming in'));
        return;
      }
      this.#mainChannel = accepted.channel;
      this.#main.resolve(accepted.channel);
    } else if (accepted.kind === 'multifd') {
      const error = this.#checkChannel(accepted);
      if (error !== undefined) {
        accepted.connection.destroy();
        throw error;
      }
      this.#seen.add(accepted.channel);
      this.uuid ??= accepted.uuid;
      await this.#receiver!.adopt(accepted.channel, accepted.connection);
    } else if (this.#owed() && !isSilent(accepted.error)) {
      // What came instead of an owed channel says more than that channel's absence; later it is a stranger.
      throw accepted.error;
    }
  }

  #owed(): boolean {
    return this.#mainChannel === undefined || this.#seen.size < this.#options.channels;
  }

  #checkChannel({ channel, uuid }: PageChannel): MigrationError | undefined {
    const { channels } = this.#options;
    const refuse = (code: ErrorCode, message: string, expected: string) =>
      new MigrationError(code, message, {
        channel: `multifd ${channel}`,
        offset: 24,
        found: `channel id ${channel}`,
        expected,
      });
    if (channels === 0)
      return refuse('too-many-channels', 'a multifd channel arrived, but multifd is off here', 'none');
    if (channel >= channels) {
      const code = this.#seen.size >= channels ? 'too-many-channels' : 'bad-channel-id';
      return refuse(code, 'a multifd channel arrived that is not expected here', `ids below ${channels}`);
    }
    if (this.#seen.has(channel))
      return refuse('duplicate-channel', 'a multifd channel arrived twice', 'each id once');
    const expected = this.#options.uuid ?? this.uuid;
    if (expected === undefined || sameUuid(expected, uuid)) return undefined;
    return new MigrationError('uuid-mismatch', 'the handshake of a multifd channel carries another UUID', {
      channel: `multifd ${channel}`,
      offset: 8,
      found: formatUuid(uuid),
      expected: formatUuid(expected),
    });
  }

  #overdue(): void {
    const missing: string[] = this.#mainChannel === undefined ? ['main'] : [];
    for (let id = 0; id < this.#options.channels; id++)
      if (!this.#seen.has(id)) missing.push(`multifd ${id}`);
    this.#fail(
      new MigrationError(
        'channel-timeout',
        `channels did not come within ${this.#options.channelTimeoutMs} ms`,
        {
          channel: missing[0],
          offset: 0,
          found: `${this.#seen.size} multifd channels${this.#mainChannel === undefined ? ', no main channel' : ''}`,
          expected: missing.slice(0, 8).join(', '),
        },
      ),
    );
  }
}

/** A connection that said nothing at all, as a port scan or a health check makes it. */
function isSilent(error: MigrationError): boolean {
  return error.offset === 0 && (error.code === 'truncated' || error.code === 'channel-timeout');
}
