import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError, type PageSender } from '@pageferry/core';
import { AtomicFile } from '@pageferry/core/capture';
import type { ResolvedMigrateOptions } from '@pageferry/core/control';
import { type MigrationAddress, type SeekableChannel, within } from '@pageferry/core/transport';
import type { ChannelPool } from '../channels/channel-pool.ts';
import { FilePageSender } from './file-sender.ts';
import { FileMainChannel } from './main-channel.ts';

export { writingPool } from './file-sender.ts';

/** What of a migration's options the file takes. */
type RamFileOptions = Pick<ResolvedMigrateOptions, 'connectTimeoutMs' | 'multifd' | 'multifdChannels'>;

/** How long a discarded file is waited for: a file system that hangs must not hold up the guest. */
const DISCARD_LIMIT_MS = 700;

/**
 * A mapped-ram file as the target of a live migration: a main channel for the stream, and threads that write the
 * pages. It has its name when the main channel was closed, and until then another one in the same directory;
 * a migration that fails leaves nothing of it.
 */
export class RamFile {
  readonly #path: string;
  readonly #options: RamFileOptions;
  #opening: Promise<AtomicFile> | undefined;
  #discarded: Promise<void> | undefined;

  /** @throws MigrationError `bad-option` for a transport that has no fixed places, `unsupported` for an offset */
  constructor(address: MigrationAddress, options: RamFileOptions) {
    if (address.transport !== 'file') {
      throw new MigrationError('bad-option', 'mapped-ram needs a file', {
        found: `${address.transport}:`,
        expected: 'file:PATH',
      });
    }
    if (address.offset !== 0) {
      throw new MigrationError('unsupported', 'mapped-ram behind other content of a file', {
        found: `offset=${address.offset}`,
        expected: 'file:PATH',
      });
    }
    this.#path = address.path;
    this.#options = options;
  }

  /**
   * Creates the file and opens its main channel.
   * @throws MigrationError `file-failed`, `connect-timeout`, `cancelled`
   */
  async connect(signal: AbortSignal): Promise<SeekableChannel> {
    this.#opening = AtomicFile.create(this.#path);
    const limitMs = this.#options.connectTimeoutMs;
    const onTimeout = () =>
      new MigrationError('connect-timeout', `${this.#path} was not opened within ${limitMs} ms`);
    const file = await within(this.#opening, {
      signal,
      time: { limitMs, onTimeout },
      onLate: (late) => void late.discard(),
    });
    return new FileMainChannel('main', file);
  }

  /**
   * Makes the threads that write pages, one without multifd; the migration's `abort` of them removes the file.
   *
   * @param detectZero whether zero pages are left out
   * @param pool threads from `writingPool` with as many channels, started before
   */
  createSender(detectZero: boolean, pool: ChannelPool | undefined): PageSender {
    const { multifd, multifdChannels } = this.#options;
    const channels = multifd ? multifdChannels : 1;
    const file = () => {
      if (this.#opening === undefined) throw new MigrationError('internal', 'pages before the main channel');
      return this.#opening;
    };
    const sender = new FilePageSender({ channels, detectZero, pool, file, discard: () => this.discard() });
    // The threads start while the file is created.
    sender.warmUp();
    return sender;
  }

  /** Removes the file, unless it has its name already. Never rejects. */
  discard(): Promise<void> {
    this.#discarded ??= Promise.race([this.#discard(), delay(DISCARD_LIMIT_MS, undefined, { ref: false })]);
    return this.#discarded;
  }

  async #discard(): Promise<void> {
    const file = await this.#opening?.catch(() => undefined);
    await file?.discard();
  }
}
