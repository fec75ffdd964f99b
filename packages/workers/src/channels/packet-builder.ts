import { MigrationError } from '@pageferry/core';
import { type BlockView, runLength, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import {
  MULTIFD_PAGES_PER_PACKET,
  MULTIFD_PAYLOAD_LIMIT_BYTES,
  MultifdFlag,
  type MultifdPacket,
} from '@pageferry/core/wire';
import type { Job } from './job-ring.ts';
import type { PoolWords } from './pool-words.ts';

/** Turns jobs into packets: flags, number, and the pages sorted into normal ones and zero pages. */
export class PacketBuilder {
  readonly #words: PoolWords;
  readonly #blocks: readonly BlockView[];
  readonly #methodFlag: number;
  readonly #zeroPagesInPackets: boolean;
  readonly #zeroPages = new Uint32Array(MULTIFD_PAGES_PER_PACKET);

  /** @param methodFlag the compression method's bits in the flags of packets with pages */
  constructor(
    words: PoolWords,
    blocks: readonly BlockView[],
    methodFlag: number,
    zeroPagesInPackets: boolean,
  ) {
    this.#words = words;
    this.#blocks = blocks;
    this.#methodFlag = methodFlag;
    this.#zeroPagesInPackets = zeroPagesInPackets;
  }

  sync(packet: MultifdPacket): void {
    packet.packetNumber = this.#words.nextPacketNumber();
    packet.flags = MultifdFlag.sync;
    packet.payloadBytes = 0;
    packet.pagesAlloc = 0;
    packet.normalPages = 0;
    packet.zeroPages = 0;
  }

  /** Fills everything but the payload's length. Returns the pages' block. */
  pages(packet: MultifdPacket, job: Job): BlockView {
    const block = this.#blocks[job.block]!;
    packet.packetNumber = this.#words.nextPacketNumber();
    packet.flags = this.#methodFlag;
    packet.payloadBytes = 0;
    packet.pagesAlloc = MULTIFD_PAGES_PER_PACKET;
    packet.blockName = block.name;
    this.#sortPages(packet, block, job);
    return block;
  }

  /** Normal pages first, then zero pages, both ascending. */
  #sortPages(packet: MultifdPacket, block: BlockView, job: Job): void {
    const { pages } = packet;
    let normal = 0;
    let zero = 0;
    if (this.#zeroPagesInPackets) {
      for (let i = 0; i < job.count; i++) {
        const page = job.pages[i]!;
        if (block.isZero(page)) this.#zeroPages[zero++] = page;
        else pages[normal++] = page;
      }
      for (let i = 0; i < zero; i++) pages[normal + i] = this.#zeroPages[i]!;
    } else {
      for (let i = 0; i < job.count; i++) pages[i] = job.pages[i]!;
      normal = job.count;
    }
    packet.normalPages = normal;
    packet.zeroPages = zero;
  }
}

/** Copies a packet's normal pages to the start of `target`: a compressor must not see a page change. */
export function copyPages(packet: MultifdPacket, block: BlockView, target: Buffer): void {
  for (let i = 0; i < packet.normalPages; ) {
    const run = runLength(packet.pages, i, packet.normalPages);
    block.copyOut(packet.pages[i]!, run, target, i * TARGET_PAGE_BYTES);
    i += run;
  }
}

/** @throws MigrationError `internal` for a payload that no receiver takes */
export function checkPayload(payload: Uint8Array, channel: string, offset: number): void {
  if (payload.length <= MULTIFD_PAYLOAD_LIMIT_BYTES) return;
  throw new MigrationError('internal', 'a compressed payload is above the limit of a receiver', {
    channel,
    offset,
    found: `${payload.length} bytes`,
    expected: `at most ${MULTIFD_PAYLOAD_LIMIT_BYTES}`,
  });
}
