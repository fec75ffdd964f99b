import type { Socket } from 'node:net';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { type ChannelStats, MigrationError, type PageReceiver, workerEntry } from '@pageferry/core';
import type { CodecBackend, MultifdCompression } from '@pageferry/core/control';
import type { RamBlockMemory } from '@pageferry/core/memory';
import { CODECS, resolveBackend } from '../codecs/registry.ts';
import { ChannelCells } from './channel-cells.ts';
import type { ChannelIo } from './channel-io.ts';
import { ChannelPool, type WarmUp } from './channel-pool.ts';
import { type DepartingConnection, departingConnection } from './move-connection.ts';
import type { ReceiveTask } from './receive-worker.ts';

export interface ThreadedPageReceiverOptions {
  /** 1 to 255. */
  readonly channels: number;
  readonly compression: MultifdCompression;
  /** The default (docs/codecs.md) if absent. */
  readonly backend?: CodecBackend | undefined;
  /** How long `close` waits for the source to close its channels, ms; 2000 if absent. */
  readonly closeTimeoutMs?: number;
  /** `blocking` if absent. */
  readonly io?: ChannelIo | undefined;
  /** Threads from `receivingPool` with as many channels, started before. */
  readonly pool?: ChannelPool | undefined;
}

/** Threads for the channels of a destination; not started yet. */
export function receivingPool(channels: number): ChannelPool {
  return new ChannelPool(workerEntry(import.meta.url, './receive-worker'), channels);
}

const CLOSE_LIMIT_MS = 2000;

/**
 * Page channels of a destination, a thread for each. Nothing is started before the first `adopt`, which takes
 * a socket whose handshake was read and nothing else.
 *
 * @throws MigrationError `bad-option` for a backend that does not read the codec
 */
export function createThreadedPageReceiver(
  options: ThreadedPageReceiverOptions,
): PageReceiver<Socket> & WarmUp {
  return new ThreadedPageReceiver(options);
}

class ThreadedPageReceiver implements PageReceiver<Socket>, WarmUp {
  readonly failed: Promise<never>;
  readonly #options: ThreadedPageReceiverOptions;
  readonly #pool: ChannelPool;
  readonly #cells: ChannelCells[];
  /** The ends of the ports that bring the blocks, by channel. */
  readonly #ports: (MessagePort | undefined)[];
  readonly #ended = new Set<number>();
  #blocks: readonly RamBlockMemory[] | undefined;
  #rounds = 0;

  constructor(options: ThreadedPageReceiverOptions) {
    resolveBackend(CODECS[options.compression], 'decompress', options.backend);
    this.#options = options;
    this.#cells = Array.from({ length: options.channels }, () => ChannelCells.create());
    this.#ports = Array.from({ length: options.channels });
    this.#pool = options.pool ?? receivingPool(options.channels);
    this.failed = this.#pool.failed;
  }

  /** Resolves when the connection is on its way to its thread. */
  async adopt(channel: number, connection: Socket): Promise<void> {
    const name = `multifd ${channel}`;
    let departing: DepartingConnection | undefined;
    try {
      if (this.#pool.error !== undefined) throw this.#pool.error;
      this.#checkChannel(channel, name);
      const { port1, port2 } = new MessageChannel();
      this.#ports[channel] = port1;
      // Blocks that are there already go first; a port keeps messages until they are taken.
      if (this.#blocks !== undefined) port1.postMessage(this.#blocks);
      const { io = 'blocking' } = this.#options;
      departing = await departingConnection(name, connection, io);
      const cells = this.#cells[channel]!;
      const task: ReceiveTask = {
        channel,
        name,
        connection: departing.connection,
        io,
        compression: this.#options.compression,
        backend: this.#options.backend,
        blocks: port2,
        cells: cells.buffer,
        words: this.#pool.words.buffer,
      };
      const { recall, transfer } = departing;
      this.#pool.run(name, task, [port2, ...transfer], () => {
        this.#ended.add(channel);
        port1.close();
        if (!cells.isOpen) recall();
      });
    } catch (error) {
      departing?.recall();
      connection.destroy();
      throw error;
    }
  }

  setBlocks(blocks: readonly RamBlockMemory[]): void {
    // Plain objects: a RamBlock's own views would be cloned with it.
    this.#blocks = blocks.map((block) => {
      const { idstr, usedLengthBytes, pageSizeBytes, buffer, byteOffset, received, shared, arrived } = block;
      return { idstr, usedLengthBytes, pageSizeBytes, buffer, byteOffset, received, shared, arrived };
    });
    for (const port of this.#ports) port?.postMessage(this.#blocks);
  }

  async synced(): Promise<void> {
    const round = ++this.#rounds;
    await this.#pool.until(() => {
      let all = true;
      for (const [channel, cells] of this.#cells.entries()) {
        if (cells.syncs >= round) continue;
        if (this.#ended.has(channel)) throw endedBeforeSync(channel, cells);
        all = false;
      }
      return all;
    });
  }

  release(): void {
    this.#pool.words.release(this.#rounds);
  }

  /**
   * A channel says that it places pages and then looks whether it may; here it is the other way round. So whoever
   * places a page after this is refused there, and whoever began before is seen here: no page changes any more.
   */
  seal(): void {
    for (const [channel, { syncs, bytes }] of this.#cells.entries()) {
      if (syncs === this.#rounds && syncs > 0) continue;
      throw new MigrationError(
        'sync-mismatch',
        'the sync points of a channel are not those of the main stream',
        {
          channel: `multifd ${channel}`,
          offset: bytes,
          found: `${syncs} SYNC packets`,
          expected: `${Math.max(1, this.#rounds)}`,
        },
      );
    }
    this.#pool.words.seal();
    for (const [channel, { isPlacing, bytes }] of this.#cells.entries()) {
      if (!isPlacing) continue;
      throw new MigrationError('sync-mismatch', 'pages came behind the last sync of the main stream', {
        channel: `multifd ${channel}`,
        offset: bytes,
      });
    }
  }

  /**
   * Waits for the source to close every channel, or for the time limit: all pages are here, so a source that
   * keeps its channels open is no error. A page that comes from now on is one.
   */
  async close(): Promise<void> {
    try {
      await this.#pool.finish(this.#options.closeTimeoutMs ?? CLOSE_LIMIT_MS);
    } catch (error) {
      await this.abort(MigrationError.from(error, 'internal'));
      throw error;
    }
  }

  abort(error: Error): Promise<void> {
    return this.#pool.abort(error);
  }

  warmUp(): void {
    this.#pool.warmUp();
  }

  stats(): ChannelStats[] {
    return this.#cells.map((cells, channel) => cells.stats(channel));
  }

  #checkChannel(channel: number, name: string): void {
    if (!Number.isInteger(channel) || channel < 0 || channel >= this.#options.channels) {
      throw new MigrationError('bad-channel-id', 'a channel id outside the configured range', {
        channel: name,
        found: String(channel),
        expected: `less than ${this.#options.channels}`,
      });
    }
    if (this.#ports[channel] !== undefined) {
      throw new MigrationError('duplicate-channel', 'a channel id arrived twice', { channel: name });
    }
  }
}

function endedBeforeSync(channel: number, cells: ChannelCells): MigrationError {
  return new MigrationError('truncated', 'a channel ended before the sync that the main channel waits for', {
    channel: `multifd ${channel}`,
    offset: cells.bytes,
  });
}
