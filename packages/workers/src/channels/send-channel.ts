import { type BlockView, runLength, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { MULTIFD_PACKET_BYTES } from '@pageferry/core/wire';
import type { PageCompressor } from '../codecs/codec.ts';
import type { ChannelCells } from './channel-cells.ts';
import { createJob, type Job, JobKind, JobRing } from './job-ring.ts';
import { checkPayload, copyPages, type PacketBuilder } from './packet-builder.ts';
import type { PacketSlot } from './packet-slot.ts';
import type { PacketWriter } from './packet-writer.ts';
import type { PoolWords } from './pool-words.ts';

/**
 * Runs of pages shorter than this are gathered by copying: as fast as a piece of its own for each, without an
 * object for each.
 */
const SHORT_RUN_PAGES = 8;

/**
 * While the kernel takes everything at once, nothing here waits for the event loop: it gets a turn all the
 * same, for the ends of connections and for native memory, which is freed there.
 */
const BREATH_MS = 10;

const NO_PARTS: readonly Uint8Array[] = [];

export interface SendChannelParts {
  readonly channel: string;
  readonly cells: ChannelCells;
  readonly words: PoolWords;
  readonly writer: PacketWriter;
  readonly builder: PacketBuilder;
  readonly compressor: PageCompressor | undefined;
}

/**
 * Turns the jobs of one channel's ring into packets, until the job that ends it: on the event loop, for
 * backends that compress elsewhere, and where `BlockingSendChannel` cannot be.
 */
export class SendChannel {
  readonly #parts: SendChannelParts;
  readonly #ring: JobRing;
  /** With packets compressed elsewhere: the writes in their order. */
  #writes = Promise.resolve();
  /** Since the last packet with pages: waited for a job, and for a packet to leave. */
  #waitedMs = 0;
  #blockedMs = 0;

  constructor(parts: SendChannelParts) {
    this.#parts = parts;
    this.#ring = new JobRing(parts.cells);
  }

  /** Returns when the channel was ended or cancelled. Throws its error. */
  async run(): Promise<void> {
    const { cells, words, writer } = this.#parts;
    const job = createJob();
    let breathAtMs = performance.now() + BREATH_MS;
    while (!words.cancelled) {
      if (performance.now() >= breathAtMs) {
        await new Promise((resolve) => setImmediate(resolve));
        breathAtMs = performance.now() + BREATH_MS;
      }
      const seen = cells.workerBell.count;
      writer.checkAlive();
      if (!this.#ring.peek(job)) {
        const startMs = performance.now();
        await cells.workerBell.changed(seen);
        this.#waitedMs += performance.now() - startMs;
        continue;
      }
      if (job.kind === JobKind.end) {
        await writer.end();
        return;
      }
      const slot = writer.take();
      if (slot === undefined) {
        const startMs = performance.now();
        await writer.room();
        this.#blockedMs += performance.now() - startMs;
      } else this.#start(slot, job);
    }
  }

  #start(slot: PacketSlot, job: Job): void {
    const { packet } = slot;
    const { builder, compressor, words } = this.#parts;
    if (job.kind === JobKind.sync) {
      builder.sync(packet);
      this.#shift();
      this.#write(slot, NO_PARTS);
      return;
    }
    const block = builder.pages(packet, job);
    this.#shift();
    if (packet.normalPages === 0) this.#write(slot, NO_PARTS);
    else if (compressor === undefined) this.#sendRaw(slot, block);
    else {
      compressor.locate?.(job.block, packet.pages[0]!);
      this.#sendCompressed(slot, block, compressor);
    }
    words.countSent(MULTIFD_PACKET_BYTES + packet.payloadBytes);
    compressor?.observe?.(this.#waitedMs, this.#blockedMs, packet.payloadBytes);
    this.#waitedMs = 0;
    this.#blockedMs = 0;
  }

  /** Frees the job's place in the ring, and wakes the coordinator when it may be waiting for some. */
  #shift(): void {
    if (this.#ring.shift()) this.#parts.words.coordinatorBell.ring();
  }

  /** Long runs straight from guest RAM: a page that changes meanwhile is dirty again. */
  #sendRaw(slot: PacketSlot, block: BlockView): void {
    const { packet } = slot;
    const parts: Uint8Array[] = [];
    let gathered = 0;
    let partStart = 0;
    for (let i = 0; i < packet.normalPages; ) {
      const run = runLength(packet.pages, i, packet.normalPages);
      const page = packet.pages[i]!;
      if (run < SHORT_RUN_PAGES) {
        block.copyOut(page, run, slot.pages, gathered);
        gathered += run * TARGET_PAGE_BYTES;
      } else {
        if (gathered > partStart) parts.push(slot.pages.subarray(partStart, gathered));
        partStart = gathered;
        parts.push(block.view(page, run));
      }
      i += run;
    }
    if (gathered > partStart) parts.push(slot.pages.subarray(partStart, gathered));
    packet.payloadBytes = packet.normalPages * TARGET_PAGE_BYTES;
    this.#write(slot, parts);
  }

  /** A compressor must not see a page change: it works on a copy. */
  #sendCompressed(slot: PacketSlot, block: BlockView, compressor: PageCompressor): void {
    const { packet } = slot;
    if (compressor.sendsRaw?.(packet.normalPages * TARGET_PAGE_BYTES) === true) {
      this.#sendRaw(slot, block);
      return;
    }
    copyPages(packet, block, slot.pages);
    const pages = slot.pages.subarray(0, packet.normalPages * TARGET_PAGE_BYTES);
    const payload = compressor.compress(pages, slot.target);
    if (payload instanceof Uint8Array) this.#writeCompressed(slot, payload);
    else this.#writeLater(payload.then((bytes) => () => this.#writeCompressed(slot, bytes)));
  }

  #writeCompressed(slot: PacketSlot, payload: Uint8Array): void {
    checkPayload(payload, this.#parts.channel, this.#parts.writer.offset);
    slot.packet.payloadBytes = payload.length;
    this.#parts.writer.write(slot, [payload]);
  }

  #write(slot: PacketSlot, parts: readonly Uint8Array[]): void {
    const { compressor, writer } = this.#parts;
    if (compressor === undefined || compressor.concurrency === 1) writer.write(slot, parts);
    else this.#writeLater(Promise.resolve(() => writer.write(slot, parts)));
  }

  /** Keeps the order of packets whose payloads become ready in any order: a SYNC must not overtake pages. */
  #writeLater(write: Promise<() => void>): void {
    this.#writes = this.#writes.then(async () => (await write)());
    this.#writes.catch((error: Error) => this.#parts.writer.fail(error));
  }
}
