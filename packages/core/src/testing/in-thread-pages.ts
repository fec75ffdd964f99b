import { MigrationError } from '../error.ts';
import { RamBlock, type RamBlockMemory, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { isZeroPage } from '../memory/zero-page.ts';
import type { ChannelStats, PageReceiver, PageSender } from '../page-channels.ts';
import { MULTIFD_PAGES_PER_PACKET } from '../wire/multifd.ts';

type Job = { blockIndex: number; normal: number[]; zero: number[] } | 'sync';

/** The queue of one page channel between an in-thread sender and receiver. */
class Channel {
  readonly jobs: Job[] = [];
  packets = 0;
  normalPages = 0;
  zeroPages = 0;
}

/**
 * Page channels in one thread, for tests of the state machines: a page is copied when its job is delivered,
 * in a later turn of the event loop and with the channels out of step, as on a network.
 */
export class InThreadPages implements PageSender, PageReceiver<number> {
  readonly pagesPerSubmit = MULTIFD_PAGES_PER_PACKET;
  readonly failed: Promise<never>;
  /** Sync rounds asked for by the sender. */
  syncs = 0;
  aborted: Error | undefined;
  readonly #channels: Channel[];
  readonly #zeroInPackets: boolean;
  readonly #waiting = new Set<Channel>();
  #from: RamBlock[] = [];
  #to: RamBlock[] | undefined;
  #arrived: (Int32Array | undefined)[] = [];
  #next = 0;
  #timer: NodeJS.Timeout | undefined;
  #fail: (error: Error) => void;
  #synced = Promise.withResolvers<void>();
  #idle = Promise.withResolvers<void>();

  constructor(channels: number, zeroInPackets: boolean) {
    this.#channels = Array.from({ length: channels }, () => new Channel());
    this.#zeroInPackets = zeroInPackets;
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.failed = promise;
    this.#fail = reject;
  }

  async open(blocks: readonly RamBlockMemory[]): Promise<void> {
    this.#from = blocks.map((block) => new RamBlock(block));
    this.#timer = setInterval(() => this.#deliver(), 1);
  }

  submit(blockIndex: number, pages: Uint32Array, count: number): boolean {
    const channel = this.#channels[this.#next]!;
    if (channel.jobs.length >= 4) return false;
    this.#next = (this.#next + 1) % this.#channels.length;
    const bytes = this.#from[blockIndex]!.bytes;
    const all = Array.from(pages.subarray(0, count));
    const isZero = (page: number) => this.#zeroInPackets && isZeroPage(bytes, page * TARGET_PAGE_BYTES);
    channel.jobs.push({
      blockIndex,
      normal: all.filter((page) => !isZero(page)),
      zero: all.filter((page) => isZero(page)),
    });
    return true;
  }

  async drained(): Promise<void> {
    await this.#idle.promise;
  }

  async sync(): Promise<void> {
    this.syncs++;
    for (const channel of this.#channels) channel.jobs.push('sync');
  }

  async flushed(): Promise<void> {
    while (this.#channels.some((channel) => channel.jobs.length > 0 && !this.#waiting.has(channel))) {
      await this.#idle.promise;
    }
  }

  async adopt(): Promise<void> {}

  setBlocks(blocks: readonly RamBlockMemory[]): void {
    this.#to = blocks.map((block) => new RamBlock(block));
    this.#arrived = blocks.map(({ arrived }) => arrived && new Int32Array(arrived));
  }

  async synced(): Promise<void> {
    while (this.#waiting.size < this.#channels.length) await this.#synced.promise;
  }

  release(): void {
    this.#waiting.clear();
  }

  seal(): void {
    if (this.#waiting.size > 0) throw new MigrationError('sync-mismatch', 'a channel waits for a sync');
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
  }

  async abort(error: Error): Promise<void> {
    this.aborted = error;
    clearInterval(this.#timer);
    this.#fail(error);
  }

  /** Lets the channels break. */
  breakWith(error: MigrationError): void {
    clearInterval(this.#timer);
    this.#fail(error);
  }

  stats(): ChannelStats[] {
    return this.#channels.map(({ packets, normalPages, zeroPages }, channel) => {
      const bytes = packets * 1344 + normalPages * TARGET_PAGE_BYTES;
      return { channel, bytes, packets, normalPages, zeroPages, stalledMs: 0 };
    });
  }

  #deliver(): void {
    for (const channel of this.#channels) {
      if (this.#waiting.has(channel) || Math.random() < 0.3) continue;
      const job = channel.jobs.shift();
      if (job === undefined) continue;
      if (job === 'sync') {
        this.#waiting.add(channel);
        this.#synced.resolve();
        this.#synced = Promise.withResolvers<void>();
      } else {
        this.#place(channel, job);
      }
    }
    this.#idle.resolve();
    this.#idle = Promise.withResolvers<void>();
  }

  #place(channel: Channel, job: Exclude<Job, 'sync'>): void {
    if (this.#to === undefined) {
      this.#fail(new MigrationError('bad-packet', 'pages before the block list'));
      return;
    }
    const from = this.#from[job.blockIndex]!.bytes;
    const to = this.#to[job.blockIndex]!.bytes;
    this.#arrived[job.blockIndex]?.fill(1);
    for (const page of job.normal) {
      const at = page * TARGET_PAGE_BYTES;
      to.set(from.subarray(at, at + TARGET_PAGE_BYTES), at);
    }
    for (const page of job.zero) to.fill(0, page * TARGET_PAGE_BYTES, (page + 1) * TARGET_PAGE_BYTES);
    channel.packets++;
    channel.normalPages += job.normal.length;
    channel.zeroPages += job.zero.length;
  }
}
