import type { ResolvedReceiveOptions } from '../control/options.ts';
import type { StallWatch } from '../control/watchdog.ts';
import { MigrationError } from '../error.ts';
import type { DeviceState, IncomingGuest } from '../guest/contract.ts';
import { guestCall } from '../guest/guest-call.ts';
import { BlockView } from '../memory/block-view.ts';
import { RamBlock, type RamBlockMemory, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { ReceivedBitmap } from '../memory/received-bitmap.ts';
import type { DecompressThreads, PageReceiver } from '../page-channels.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import type {
  ConfigurationSection,
  DeviceSection,
  DeviceStateMessage,
  PageSink,
  RamBlockDescriptor,
  StreamMessage,
} from '../wire/messages.ts';
import { encodeReturnPath } from '../wire/return-path.ts';
import { StreamDecoder } from '../wire/stream-decoder.ts';
import { isNilUuid } from '../wire/uuid.ts';
import { decodeXbzrle } from '../wire/xbzrle.ts';
import { checkBlocks, checkConfiguration } from './agreement.ts';
import type { PageConnection } from './channel-set.ts';
import { handleCommand } from './commands.ts';
import { CompressedPages } from './compressed-pages.ts';
import type { IncomingStats } from './stats.ts';

interface LoaderParts {
  readonly main: ByteChannel;
  readonly guest: Pick<IncomingGuest, 'uuid' | 'prepare' | 'readyForSwitchover'>;
  readonly receiver: PageReceiver<PageConnection> | undefined;
  /** With the capability `compress`. */
  readonly decompressThreads: DecompressThreads | undefined;
  readonly options: ResolvedReceiveOptions;
  /** UUID of the multifd handshakes. */
  readonly handshakeUuid: Uint8Array | undefined;
  readonly signal: AbortSignal;
  readonly stats: IncomingStats;
  readonly watch: StallWatch;
  /** Takes an error of what runs beside the loading. */
  onError(error: Error): void;
}

interface LoadedStream {
  readonly state: DeviceState;
  /** The blocks whose content stayed at the source. */
  readonly absent: readonly string[];
}

/**
 * Reads the main stream: puts its pages into the guest's RAM, keeps main channel and page channels in step
 * at the sync points, and gives the device state at the end.
 */
export class MainStreamLoader implements PageSink {
  /** Whether the source opened the return path. */
  returnPath = false;
  readonly #parts: LoaderParts;
  readonly #decoder: StreamDecoder;
  readonly #early: DeviceSection[] = [];
  readonly #compressed: CompressedPages;
  #configuration: ConfigurationSection | undefined;
  #ramSectionId = 0;
  #blocks: readonly RamBlockMemory[] = [];
  #views: readonly BlockView[] = [];
  /** All of the memory that the last page was in. */
  #chunk: Buffer = Buffer.alloc(0);
  /** The guest can do without blocks that did not come. */
  #mayLack = false;
  #inStart = true;
  /**
   * One wait per FLUSH word, or one per section end: the stream says which by whether a FLUSH word stands
   * before the end of the first section.
   */
  #flushAfterEachSection: boolean | undefined;
  #state: DeviceStateMessage | undefined;

  constructor(parts: LoaderParts) {
    this.#parts = parts;
    const { sendConfiguration, sendSectionFooter, ignoreShared, machine } = parts.options;
    this.#decoder = new StreamDecoder({
      channel: 'main',
      configuration: sendConfiguration,
      footers: sendSectionFooter,
      ignoreShared,
      pages: this,
    });
    if (machine !== undefined) this.#configuration = { machine };
    this.#flushAfterEachSection = parts.options.multifdFlushAfterEachSection;
    this.#compressed = new CompressedPages(parts.decompressThreads);
  }

  /** Loads everything up to the end of the stream. @throws MigrationError */
  async loadRam(): Promise<LoadedStream> {
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
    const state = { early: this.#early, sections, ...(vmdesc !== undefined && { vmdesc }) };
    return { state, absent: this.#absentBlocks() };
  }

  /** A page of the main stream, from the decoder. */
  page(blockIndex: number, pageIndex: number, bytes: Uint8Array, at: number): boolean {
    if (this.#compressed.holds(blockIndex, pageIndex)) return false;
    const { buffer, byteOffset } = bytes;
    // `Buffer.copy` of a part of a buffer is three times as fast as that of all of it.
    if (this.#chunk.buffer !== buffer) this.#chunk = Buffer.from(buffer);
    const block = this.#blockOfPage(blockIndex);
    block.copyIn(this.#chunk, byteOffset + at, pageIndex, 1);
    block.markReceived(pageIndex, 1);
    this.#parts.stats.normalPages++;
    return true;
  }

  /** A zero page of the main stream, from the decoder. */
  zero(blockIndex: number, pageIndex: number): boolean {
    if (this.#compressed.holds(blockIndex, pageIndex)) return false;
    this.#blockOfPage(blockIndex).clear(pageIndex);
    this.#parts.stats.zeroPages++;
    return true;
  }

  /** What is different in a page of the main stream, from the decoder. */
  xbzrle(blockIndex: number, pageIndex: number, bytes: Uint8Array, at: number, length: number): boolean {
    if (this.#compressed.holds(blockIndex, pageIndex)) return false;
    const block = this.#blockOfPage(blockIndex);
    decodeXbzrle(bytes, at, length, block.bytesAround(pageIndex), block.startOf(pageIndex));
    block.markReceived(pageIndex, 1);
    this.#parts.stats.xbzrlePages++;
    return true;
  }

  #blockOfPage(blockIndex: number): BlockView {
    const block = this.#views[blockIndex]!;
    if (block.shared) {
      throw new MigrationError('bad-page', `a page of ${block.name}, which is shared with the source`, {
        channel: 'main',
        offset: this.#decoder.offset,
        expected: 'none (x-ignore-shared)',
      });
    }
    block.markArrived();
    return block;
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
        this.#blockOfPage(message.blockIndex);
        this.#parts.stats.compressedPages++;
        return this.#compressed.take(message, this.#decoder.offset - message.data.length);
      case 'ram-page':
      case 'ram-zero':
      case 'ram-xbzrle':
        return this.#compressed.placeAfter(message, this);
      case 'ram-multifd-flush':
        return this.#flush();
      case 'ram-eos':
        return this.#endOfSection();
      case 'command':
        if (handleCommand(message, this.#parts.main, this.returnPath, this.#decoder.offset))
          this.#openReturnPath();
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

  #openReturnPath(): void {
    if (this.returnPath) return;
    this.returnPath = true;
    const { options, guest, main, signal } = this.#parts;
    if (!options.switchoverAck) return;
    const acknowledge = () => main.write(encodeReturnPath({ type: 'switchover-ack' }));
    if (guest.readyForSwitchover === undefined) {
      acknowledge();
      return;
    }
    guestCall(guest.readyForSwitchover(), 'could not get ready for the switch-over').then(() => {
      if (!signal.aborted) acknowledge();
    }, this.#parts.onError);
  }

  #configure(configuration: ConfigurationSection): void {
    const { guest, handshakeUuid, options } = this.#parts;
    const known = handshakeUuid && !isNilUuid(handshakeUuid) ? handshakeUuid : undefined;
    checkConfiguration(configuration, { options, uuid: guest.uuid ?? known }, this.#decoder.offset);
    this.#configuration = configuration;
  }

  async #prepare(descriptors: readonly RamBlockDescriptor[]): Promise<void> {
    const { guest, handshakeUuid, receiver, stats, watch, options } = this.#parts;
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
    checkBlocks(descriptors, memory.blocks, options.ignoreShared, this.#decoder.offset);
    this.#mayLack = memory.partial === true;
    this.#blocks = memory.blocks.map((block) => this.#forPages(new RamBlock(block), memory.zeroed === true));
    this.#views = this.#blocks.map((block) => new BlockView(block));
    stats.totalBytes = this.#blocks.reduce(
      (sum, block) => (block.shared === true ? sum : sum + block.usedLengthBytes),
      0,
    );
    receiver?.setBlocks(this.#blocks);
    await this.#compressed.open(this.#blocks, this.#configuration?.machine, options.decompressErrorCheck);
    stats.ready();
  }

  /**
   * A block as pages are put into it. Knowing what has come, a channel need not look at memory that was zero at the
   * start; with x-ignore-shared it shows which blocks did not come at all.
   */
  #forPages(block: RamBlock, zeroed: boolean): RamBlockMemory {
    const { idstr, usedLengthBytes, pageSizeBytes, buffer, byteOffset } = block;
    const plain = { idstr, usedLengthBytes, pageSizeBytes, buffer, byteOffset };
    const { ignoreShared } = this.#parts.options;
    if (ignoreShared && block.shared) return { ...plain, shared: true };
    return {
      ...plain,
      ...(zeroed && { received: new ReceivedBitmap(usedLengthBytes / TARGET_PAGE_BYTES).buffer }),
      ...(ignoreShared && { arrived: new SharedArrayBuffer(4) }),
    };
  }

  /** The blocks of which nothing came, because the source shares them, and that are not shared here. */
  #absentBlocks(): string[] {
    const absent = this.#blocks.flatMap(({ idstr, arrived }) =>
      arrived !== undefined && new Int32Array(arrived)[0] === 0 ? [idstr] : [],
    );
    if (absent.length === 0 || this.#mayLack) return absent;
    throw new MigrationError('block-mismatch', 'blocks that the source shares are not shared here', {
      channel: 'main',
      offset: this.#decoder.offset,
      found: `no page of ${absent.join(', ')}`,
      expected: 'all pages, or the same memory mapped shared on both sides',
    });
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
    if (receiver === undefined) return this.#compressed.finished();
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
