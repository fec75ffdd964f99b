import type { ResolvedReceiveOptions } from '../control/options.ts';
import type { StallWatch } from '../control/watchdog.ts';
import { MigrationError } from '../error.ts';
import type { DeviceState, IncomingGuest } from '../guest/contract.ts';
import { guestCall } from '../guest/guest-call.ts';
import { BlockView } from '../memory/block-view.ts';
import { RamBlock, type RamBlockMemory, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { ReceivedBitmap } from '../memory/received-bitmap.ts';
import type { PageReceiver } from '../page-channels.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import type {
  ConfigurationSection,
  DeviceSection,
  DeviceStateMessage,
  PageSink,
  RamBlockDescriptor,
  StreamMessage,
} from '../wire/messages.ts';
import { StreamDecoder } from '../wire/stream-decoder.ts';
import { formatUuid, isNilUuid, sameUuid } from '../wire/uuid.ts';
import { decodeXbzrle } from '../wire/xbzrle.ts';
import type { PageConnection } from './channel-set.ts';
import { handleCommand } from './commands.ts';
import type { IncomingStats } from './stats.ts';

interface LoaderParts {
  readonly main: ByteChannel;
  readonly guest: Pick<IncomingGuest, 'uuid' | 'prepare'>;
  readonly receiver: PageReceiver<PageConnection> | undefined;
  readonly options: ResolvedReceiveOptions;
  /** UUID of the multifd handshakes. */
  readonly handshakeUuid: Uint8Array | undefined;
  readonly signal: AbortSignal;
  readonly stats: IncomingStats;
  readonly watch: StallWatch;
}

/**
 * Reads the main stream: puts its pages into the guest's RAM, keeps main channel and page channels in step
 * at the sync points, and gives the device state at the end.
 */
export class MainStreamLoader implements PageSink {
  /** Whether the source opened the return path. */
  returnPath = false;
  readonly #parts: LoaderParts;
  readonly #decoder = new StreamDecoder({ channel: 'main', pages: this });
  readonly #early: DeviceSection[] = [];
  #configuration: ConfigurationSection | undefined;
  #ramSectionId = 0;
  #blocks: readonly RamBlock[] = [];
  #views: readonly BlockView[] = [];
  /** All of the memory that the last page was in. */
  #chunk: Buffer = Buffer.alloc(0);
  #inStart = true;
  /**
   * One wait per FLUSH word, or one per section end: the stream says which by whether a FLUSH word stands
   * before the end of the first section.
   */
  #flushAfterEachSection: boolean | undefined;
  #state: DeviceStateMessage | undefined;

  constructor(parts: LoaderParts) {
    this.#parts = parts;
    this.#flushAfterEachSection = parts.options.multifdFlushAfterEachSection;
  }

  /** Loads everything up to the end of the stream. @throws MigrationError */
  async loadRam(): Promise<DeviceState> {
    const { main, signal } = this.#parts;
    while (!this.#decoder.done) {
      const chunk = await main.read();
      signal.throwIfAborted();
      if (chunk === undefined) this.#decoder.end();
      else this.#decoder.push(chunk);
      for (let message = this.#decoder.next(); message !== undefined; message = this.#decoder.next()) {
        const wait = this.#take(message);
        if (wait === undefined) continue;
        await wait;
        signal.throwIfAborted();
      }
      if (chunk === undefined && !this.#decoder.done) throw this.#truncated();
    }
    if (this.#state === undefined) throw this.#truncated();
    const { sections, vmdesc } = this.#state;
    return { early: this.#early, sections, ...(vmdesc !== undefined && { vmdesc }) };
  }

  /** A page of the main stream, from the decoder. */
  page(blockIndex: number, pageIndex: number, bytes: Uint8Array, at: number): boolean {
    const { buffer, byteOffset } = bytes;
    // `Buffer.copy` of a part of a buffer is three times as fast as that of all of it.
    if (this.#chunk.buffer !== buffer) this.#chunk = Buffer.from(buffer);
    const block = this.#views[blockIndex]!;
    block.copyIn(this.#chunk, byteOffset + at, pageIndex, 1);
    block.markReceived(pageIndex, 1);
    this.#parts.stats.normalPages++;
    return true;
  }

  /** A zero page of the main stream, from the decoder. */
  zero(blockIndex: number, pageIndex: number): boolean {
    this.#views[blockIndex]!.clear(pageIndex);
    this.#parts.stats.zeroPages++;
    return true;
  }

  /** What is different in a page of the main stream, from the decoder. */
  xbzrle(blockIndex: number, pageIndex: number, bytes: Uint8Array, at: number, length: number): boolean {
    const block = this.#views[blockIndex]!;
    decodeXbzrle(bytes, at, length, block.bytesAround(pageIndex), block.startOf(pageIndex));
    block.markReceived(pageIndex, 1);
    this.#parts.stats.xbzrlePages++;
    return true;
  }

  /** Acts on one message; a promise when the next one must wait. */
  #take(message: StreamMessage): Promise<void> | undefined {
    switch (message.type) {
      case 'configuration':
        this.#configure(message.configuration);
        return undefined;
      case 'section-start':
        this.#ramSectionId = message.section.sectionId;
        return undefined;
      case 'ram-blocks':
        return this.#prepare(message.blocks);
      case 'ram-compressed-page':
        throw new MigrationError('unknown-flag', 'a compressed page, but capability compress is off', {
          channel: 'main',
          offset: this.#decoder.offset - message.data.length,
        });
      case 'ram-multifd-flush':
        return this.#flush();
      case 'ram-eos':
        return this.#endOfSection();
      case 'command':
        if (handleCommand(message, this.#parts.main, this.returnPath, this.#decoder.offset))
          this.returnPath = true;
        // Answers that nobody reads must not pile up.
        return this.#parts.main.drained();
      case 'device-section':
        this.#early.push(message.section);
        return undefined;
      case 'device-state':
        this.#state = message;
        return undefined;
      default:
        return undefined;
    }
  }

  #configure(configuration: ConfigurationSection): void {
    const [capability] = configuration.capabilities ?? [];
    if (capability !== undefined) {
      throw new MigrationError('unsupported', `capability ${capability} is on at the source`, {
        channel: 'main',
        offset: this.#decoder.offset,
        expected: 'none of the validated capabilities',
      });
    }
    this.#configuration = configuration;
    const { guest, handshakeUuid } = this.#parts;
    const expected = guest.uuid ?? (handshakeUuid && !isNilUuid(handshakeUuid) ? handshakeUuid : undefined);
    if (
      configuration.uuid !== undefined &&
      expected !== undefined &&
      !sameUuid(configuration.uuid, expected)
    ) {
      throw new MigrationError('uuid-mismatch', 'the configuration carries another UUID', {
        channel: 'main',
        offset: this.#decoder.offset,
        found: formatUuid(configuration.uuid),
        expected: formatUuid(expected),
      });
    }
  }

  async #prepare(descriptors: readonly RamBlockDescriptor[]): Promise<void> {
    const { guest, handshakeUuid, receiver, stats, watch } = this.#parts;
    const known = handshakeUuid && !isNilUuid(handshakeUuid) ? handshakeUuid : undefined;
    const uuid = this.#configuration?.uuid ?? known;
    const prepared = guest.prepare({
      configuration: this.#configuration,
      blocks: descriptors,
      ramSectionId: this.#ramSectionId,
      ...(uuid !== undefined && { uuid }),
    });
    const memory = await watch.pausedDuring(guestCall(prepared, 'could not be prepared')).catch((error) => {
      throw MigrationError.from(error, 'internal').at({ channel: 'main', offset: this.#decoder.offset });
    });
    this.#blocks = memory.blocks.map((block) => new RamBlock(block));
    this.#checkBlocks(descriptors);
    const blocks = memory.zeroed === true ? memory.blocks.map(withReceivedBitmap) : memory.blocks;
    this.#views = blocks.map((block) => new BlockView(block));
    stats.totalBytes = this.#blocks.reduce((sum, block) => sum + block.usedLengthBytes, 0);
    receiver?.setBlocks(blocks);
    stats.ready();
  }

  /** Whatever the guest's own checks are: pages go by index and number, so both lists must be the same. */
  #checkBlocks(descriptors: readonly RamBlockDescriptor[]): void {
    const name = (block: { idstr: string; usedLengthBytes: number } | undefined) =>
      block === undefined ? 'no block' : `${block.idstr} of ${block.usedLengthBytes} bytes`;
    for (let i = 0; i < Math.max(descriptors.length, this.#blocks.length); i++) {
      const found = name(descriptors[i]);
      const expected = name(this.#blocks[i]);
      if (found === expected) continue;
      const offset = this.#decoder.offset;
      throw new MigrationError('block-mismatch', 'the block lists disagree', {
        channel: 'main',
        offset,
        found,
        expected,
      });
    }
  }

  #flush(): Promise<void> | undefined {
    const { receiver } = this.#parts;
    if (receiver === undefined || this.#flushAfterEachSection === true) {
      throw new MigrationError('sync-mismatch', 'a MULTIFD_FLUSH word where none can be', {
        channel: 'main',
        offset: this.#decoder.offset,
        expected: receiver === undefined ? 'a stream without multifd' : 'a sync at every end of a section',
      });
    }
    this.#flushAfterEachSection = false;
    return this.#sync(receiver);
  }

  #endOfSection(): Promise<void> | undefined {
    const { receiver } = this.#parts;
    if (receiver === undefined) return undefined;
    if (this.#inStart) this.#flushAfterEachSection ??= true;
    this.#inStart = false;
    return this.#flushAfterEachSection ? this.#sync(receiver) : undefined;
  }

  async #sync(receiver: PageReceiver<PageConnection>): Promise<void> {
    await receiver.synced();
    receiver.release();
    this.#parts.stats.syncs++;
  }

  #truncated(): MigrationError {
    return new MigrationError('truncated', 'the stream ended before it was complete', {
      channel: 'main',
      offset: this.#decoder.offset,
    });
  }
}

/** Knowing what has come, a channel need not look at memory that was zero at the start. */
function withReceivedBitmap(block: RamBlockMemory): RamBlockMemory {
  const { idstr, usedLengthBytes, pageSizeBytes, buffer, byteOffset } = block;
  const received = new ReceivedBitmap(usedLengthBytes / TARGET_PAGE_BYTES).buffer;
  return { idstr, usedLengthBytes, pageSizeBytes, buffer, byteOffset, received };
}
