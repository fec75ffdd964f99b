import type { ResolvedMigrateOptions } from '../control/options.ts';
import { MigrationError } from '../error.ts';
import type { RamBlockMemory } from '../memory/ram-block.ts';
import type { CompressThreads, PageSender } from '../page-channels.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import type { MappedRamPlace } from '../wire/mapped-ram-layout.ts';
import type { MainStreamWriter } from './main-stream.ts';
import type { OutgoingParts } from './parts.ts';
import { ReturnPathReader } from './return-path.ts';
import type { ProtocolSwitches } from './switches.ts';

/** What connects a source to its destination: the main channel, the return path on it, and what moves pages beside it. */
export class SourceLink {
  readonly sender: PageSender | undefined;
  readonly compressThreads: CompressThreads | undefined;
  returnPath: ReturnPathReader | undefined;
  readonly #connect: OutgoingParts['connect'];
  readonly #onFailure: (error: Error) => void;
  #channel: ByteChannel | undefined;

  /**
   * Makes what works beside the main channel; its threads start while that connects.
   * @param onFailure told of whatever breaks while nobody waits for it
   */
  constructor(
    parts: OutgoingParts,
    live: Readonly<ResolvedMigrateOptions>,
    switches: ProtocolSwitches,
    onFailure: (error: Error) => void,
  ) {
    this.#connect = parts.connect.bind(parts);
    this.#onFailure = onFailure;
    if (live.multifd || live.mappedRam) {
      if (parts.createSender === undefined)
        throw new MigrationError('internal', 'no page channels were given');
      this.sender = parts.createSender(switches, live);
      this.sender.failed.catch(onFailure);
    }
    if (live.compress) {
      if (parts.createCompressThreads === undefined)
        throw new MigrationError('internal', 'no compress threads were given');
      this.compressThreads = parts.createCompressThreads(switches, live);
      this.compressThreads.failed.catch(onFailure);
    }
  }

  /** The main channel, once `connect` has resolved. */
  get channel(): ByteChannel | undefined {
    return this.#channel;
  }

  /** @throws MigrationError `connect-failed`, `connect-timeout` */
  async connect(signal: AbortSignal): Promise<ByteChannel> {
    const channel = await this.#connect(signal);
    if (signal.aborted) channel.destroy(signal.reason);
    signal.throwIfAborted();
    this.#channel = channel;
    return channel;
  }

  /** Opens what works beside the main channel. */
  async open(blocks: readonly RamBlockMemory[], places?: readonly MappedRamPlace[]): Promise<void> {
    await this.sender?.open(blocks, places);
    await this.compressThreads?.open(blocks);
  }

  /** Tells the destination to answer on the main channel. */
  openReturnPath(stream: MainStreamWriter): void {
    stream.openReturnPath();
    this.returnPath = new ReturnPathReader(this.#channel!);
    this.returnPath.verdict.catch(this.#onFailure);
  }

  /** Ends everything in order. @throws MigrationError when not all could be sent */
  async close(): Promise<void> {
    await this.compressThreads?.end();
    await this.sender?.close();
    await this.#channel!.close();
  }

  /** Ends everything at once; the main channel before this returns. Never rejects. */
  async abort(error: MigrationError): Promise<void> {
    this.#channel?.destroy(error);
    await Promise.all([this.sender?.abort(error), this.compressThreads?.end(error)]);
  }
}
