import { createServer, type Socket } from 'node:net';
import type { ChannelStats, PageSender } from '@pageferry/core';
import {
  type MultifdCompression,
  resolveMigrateOptions,
  resolveReceiveOptions,
} from '@pageferry/core/control';
import { IncomingMigration } from '@pageferry/core/incoming';
import { BlockView, RamBlock, type RamBlockMemory, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { OutgoingMigration } from '@pageferry/core/outgoing';
import { connect, connectSocket, listen, parseUri, type SocketAddress } from '@pageferry/core/transport';
import {
  createMultifdPacket,
  encodeMultifdHandshake,
  encodeMultifdPacket,
  MULTIFD_PACKET_BYTES,
  MULTIFD_PAGES_PER_PACKET,
  MultifdFlag,
} from '@pageferry/core/wire';
import type { ChannelPool } from '../channels/channel-pool.ts';
import { createThreadedPageReceiver } from '../channels/receiver.ts';
import { createThreadedPageSender } from '../channels/sender.ts';
import type { Preparation } from './protocol.ts';
import { bothHalves, LIMIT_MS, stillGuest, takingGuest } from './rehearsal.ts';

/**
 * A migration over the very threads, sockets and classes of the one that comes, so that V8 has compiled them for it.
 * Stand-ins would not do: what they have been compiled for is thrown away when the real ones come.
 *
 * The guest is one piece of memory under many names: enough packets for the compiler, few bytes.
 */
const BLOCK_PACKETS = 17;
/** An odd number of packets: each channel gets each of them in turn. */
const BLOCK_PAGES = BLOCK_PACKETS * MULTIFD_PAGES_PER_PACKET;
/** Two pages of so many are not zero; */
const NORMAL_EVERY = 64;
/** nor are these: a run that covers whole words of a bitmap, and parts. */
const RUN = { first: 16, end: 100 } as const;
/** The last block is shorter by this: it ends within a packet, and within a word. */
const ODD_PAGES = 100;
const BLOCKS_PER_CHANNEL = 64;
const MAX_BLOCKS = 256;
/** What a compressor is shown. */
const COMPRESSED_BLOCKS = 12;
const ADDRESS = 'tcp:127.0.0.1:0';
const NAME = 'rehearsal';

/** Rehearses a source's channels, with some packets for the compressor. */
export async function rehearseSending(pool: ChannelPool, preparation: Preparation): Promise<void> {
  const { channels, compression } = preparation;
  await send(pool, preparation, 'none', Math.min(MAX_BLOCKS, channels * BLOCKS_PER_CHANNEL));
  if (compression !== 'none') await send(pool, preparation, compression, COMPRESSED_BLOCKS);
}

async function send(
  pool: ChannelPool,
  { channels, level, backend }: Preparation,
  compression: MultifdCompression,
  blocks: number,
): Promise<void> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).resume();
  });
  try {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const address = parseUri(`tcp:127.0.0.1:${port}`) as SocketAddress;
    await new OutgoingMigration({
      guest: stillGuest(content(blocks)),
      options: resolveMigrateOptions({
        ...options(channels),
        multifdCompression: compression,
        returnPath: false,
      }),
      connect: (signal) => connect(address, { name: 'main', timeoutMs: LIMIT_MS, signal }),
      createSender: () =>
        createThreadedPageSender({
          address,
          channels,
          compression,
          backend: compression === 'none' ? undefined : backend,
          zlibLevel: level ?? 1,
          zstdLevel: level ?? 1,
          zeroPagesInPackets: true,
          connectTimeoutMs: LIMIT_MS,
          pool: pool.borrow(),
        }),
    }).run();
  } finally {
    server.close();
    for (const socket of sockets) socket.destroy();
  }
}

/** Rehearses a destination's channels with raw pages; a decompressor is a library's work and needs none. */
export async function rehearseReceiving(pool: ChannelPool, { channels }: Preparation): Promise<void> {
  const listener = await listen(parseUri(ADDRESS), { backlog: 1 + channels, firstBytesTimeoutMs: LIMIT_MS });
  const blocks = Math.min(MAX_BLOCKS, channels * BLOCKS_PER_CHANNEL);
  const address = parseUri(listener.address) as SocketAddress;
  const incoming = new IncomingMigration({
    guest: takingGuest(() => aliases(room(), blocks)),
    options: resolveReceiveOptions(options(channels)),
    listener,
    createReceiver: () =>
      createThreadedPageReceiver({
        channels,
        compression: 'none',
        pool: pool.borrow(),
        closeTimeoutMs: LIMIT_MS,
      }),
  });
  const outgoing = new OutgoingMigration({
    guest: stillGuest(content(blocks)),
    options: resolveMigrateOptions(options(channels)),
    connect: (signal) => connect(address, { name: 'main', timeoutMs: LIMIT_MS, signal }),
    createSender: () => new PlainSender(address, channels),
  });
  await bothHalves(incoming, outgoing);
}

function options(multifdChannels: number) {
  return {
    multifd: true,
    multifdChannels,
    connectTimeoutMs: LIMIT_MS,
    channelTimeoutMs: LIMIT_MS,
    stallTimeoutMs: LIMIT_MS,
  };
}

function room(): RamBlock {
  return RamBlock.allocate(NAME, BLOCK_PAGES * TARGET_PAGE_BYTES);
}

function content(blocks: number): RamBlockMemory[] {
  const block = room();
  for (let page = 0; page < BLOCK_PAGES; page += NORMAL_EVERY) {
    block.bytes.fill(page + 1, page * TARGET_PAGE_BYTES, (page + 2) * TARGET_PAGE_BYTES);
  }
  block.bytes.fill(1, RUN.first * TARGET_PAGE_BYTES, RUN.end * TARGET_PAGE_BYTES);
  return aliases(block, blocks);
}

function aliases(
  { buffer, byteOffset, usedLengthBytes, pageSizeBytes }: RamBlock,
  count: number,
): RamBlock[] {
  return Array.from({ length: count }, (_, i) => {
    const missing = i === count - 1 ? ODD_PAGES * TARGET_PAGE_BYTES : 0;
    const memory = { buffer, byteOffset, usedLengthBytes: usedLengthBytes - missing, pageSizeBytes };
    return new RamBlock({ idstr: `${NAME} ${i}`, ...memory });
  });
}

/** The other end of a rehearsing destination: page channels without threads. */
class PlainSender implements PageSender {
  readonly pagesPerSubmit = MULTIFD_PAGES_PER_PACKET;
  readonly failed = new Promise<never>(() => {});
  readonly #address: SocketAddress;
  readonly #channels: number;
  readonly #sockets: Socket[] = [];
  #blocks: BlockView[] = [];
  #next = 0;
  #pages = 0;

  constructor(address: SocketAddress, channels: number) {
    this.#address = address;
    this.#channels = channels;
  }

  async open(blocks: readonly RamBlockMemory[]): Promise<void> {
    this.#blocks = blocks.map((block) => new BlockView(block));
    for (let channel = 0; channel < this.#channels; channel++) {
      const socket = await connectSocket(this.#address, { timeoutMs: LIMIT_MS });
      socket.on('error', () => {}).write(encodeMultifdHandshake({ channel, uuid: undefined }));
      this.#sockets.push(socket);
    }
  }

  submit(blockIndex: number, pages: Uint32Array, count: number): boolean {
    const socket = this.#sockets[this.#next]!;
    if (socket.writableNeedDrain) return false;
    this.#next = (this.#next + 1) % this.#channels;
    const block = this.#blocks[blockIndex]!;
    const all = Array.from(pages.subarray(0, count));
    const normal = all.filter((page) => !block.isZero(page));
    const packet = createMultifdPacket();
    packet.blockName = block.name;
    packet.pagesAlloc = MULTIFD_PAGES_PER_PACKET;
    packet.normalPages = normal.length;
    packet.zeroPages = count - normal.length;
    packet.payloadBytes = normal.length * TARGET_PAGE_BYTES;
    packet.pages.set([...normal, ...all.filter((page) => !normal.includes(page))]);
    const bytes = Buffer.alloc(MULTIFD_PACKET_BYTES + packet.payloadBytes + 1);
    encodeMultifdPacket(packet, bytes);
    for (const [i, page] of normal.entries()) {
      block.copyOut(page, 1, bytes, MULTIFD_PACKET_BYTES + i * TARGET_PAGE_BYTES);
    }
    socket.write(bytes.subarray(0, -1));
    this.#pages += count;
    return true;
  }

  /** The sockets' own event would say it; a look now and then does. */
  async drained(): Promise<void> {
    while (this.#sockets[this.#next]!.writableNeedDrain)
      await new Promise((resolve) => setTimeout(resolve, 1));
  }

  async sync(): Promise<void> {
    const packet = createMultifdPacket();
    packet.flags = MultifdFlag.sync;
    const bytes = Buffer.alloc(MULTIFD_PACKET_BYTES);
    encodeMultifdPacket(packet, bytes);
    for (const socket of this.#sockets) socket.write(bytes);
  }

  async flushed(): Promise<void> {}

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.end();
  }

  async abort(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
  }

  stats(): ChannelStats[] {
    return [{ channel: 0, bytes: 0, packets: 0, normalPages: this.#pages, zeroPages: 0, stalledMs: 0 }];
  }
}
