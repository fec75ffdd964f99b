import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { MessageChannel } from 'node:worker_threads';
import { BlockView, RamBlock, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { connectSocket, parseUri, type SocketAddress } from '@pageferry/core/transport';
import {
  createMultifdPacket,
  encodeMultifdPacket,
  MULTIFD_PACKET_BYTES,
  MULTIFD_PAGES_PER_PACKET,
} from '@pageferry/core/wire';
import type { PageCompressor } from '../codecs/codec.ts';
import { BlockingSocket, type ChannelSocket, END, takeDescriptor } from '../system/blocking-socket.ts';
import type { SystemCalls } from '../system/system-calls.ts';
import { BlockingReceiveChannel } from './blocking-receive-channel.ts';
import { BlockingSendChannel } from './blocking-send-channel.ts';
import { ChannelCells } from './channel-cells.ts';
import { JOB_RING_BYTES, JobKind, JobRing } from './job-ring.ts';
import { PacketBuilder } from './packet-builder.ts';
import { PacketReceiver } from './packet-receiver.ts';
import { PoolWords } from './pool-words.ts';

/**
 * Channels that go nowhere: what a thread does for each packet runs often enough to be compiled before the
 * first real one. The block that they work on has two packets of pages, a third of them zero.
 */
const BLOCK_PAGES = 2 * MULTIFD_PAGES_PER_PACKET;
const PACKETS = 1500;
const COMPRESSED_PACKETS = 8;
const CONNECT_LIMIT_MS = 1000;
const NAME = 'rehearsal';

/** Rehearses a sending channel, with a few packets for the compressor. */
export async function rehearseSending(
  calls: SystemCalls,
  compressor: PageCompressor | undefined,
): Promise<void> {
  await connectOnce(calls).catch(() => {
    // Nothing depends on it.
  });
  const block = content();
  await send(calls, block, PACKETS, undefined);
  if (compressor !== undefined) await send(calls, block, COMPRESSED_PACKETS, compressor);
}

/** The first connection of a thread takes ten times as long as the next. */
async function connectOnce(calls: SystemCalls): Promise<void> {
  const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  try {
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const address = parseUri(`tcp:127.0.0.1:${port}`) as SocketAddress;
    const socket = await connectSocket(address, { timeoutMs: CONNECT_LIMIT_MS });
    socket.on('error', () => {});
    const fd = takeDescriptor(calls, socket);
    if (fd !== undefined) new BlockingSocket(calls, fd).close();
  } finally {
    server.close();
  }
}

async function send(
  calls: SystemCalls,
  block: RamBlock,
  packets: number,
  compressor: PageCompressor | undefined,
): Promise<void> {
  const cells = ChannelCells.create(JOB_RING_BYTES);
  const words = new PoolWords();
  const builder = new PacketBuilder(words, [new BlockView(block)], 0, true);
  const ring = new JobRing(cells);
  const pages = Uint32Array.from({ length: MULTIFD_PAGES_PER_PACKET }, (_, i) => i);
  let queued = 0;
  const refill = () => {
    while (queued < packets && ring.push(JobKind.pages, 0, pages, pages.length)) queued++;
    if (queued === packets) ring.push(JobKind.end);
  };
  const socket: ChannelSocket = {
    send(vector) {
      const { bytes } = vector;
      vector.advance(bytes);
      refill();
      return bytes;
    },
    receive: () => END,
    receiveNow: () => 0,
    end() {},
  };
  refill();
  const parts = { channel: NAME, calls, cells, others: [], words, builder, compressor, offset: 0 };
  await new BlockingSendChannel({ ...parts, socket }).run();
}

/** Rehearses a receiving channel of raw pages; a decompressor is a library's work and needs none. */
export async function rehearseReceiving(calls: SystemCalls): Promise<void> {
  const cells = ChannelCells.create();
  const words = new PoolWords();
  const receiver = new PacketReceiver({
    channel: NAME,
    offset: 0,
    methodFlag: 0,
    decompressor: undefined,
    scatter: true,
  });
  receiver.setBlocks([new BlockView(content())]);
  const header = packetHeader();
  let packets = 0;
  const socket: ChannelSocket = {
    send: () => 0,
    receive(vector) {
      const space = receiver.space();
      if (space !== undefined) {
        if (packets++ === PACKETS) return END;
        space.set(header);
      }
      const { bytes } = vector;
      vector.advance(bytes);
      return bytes;
    },
    receiveNow: () => 0,
    end() {},
  };
  const { port1, port2 } = new MessageChannel();
  await new BlockingReceiveChannel({
    channel: NAME,
    calls,
    socket,
    receiver,
    cells,
    words,
    blocks: port1,
  }).run();
  port2.close();
}

function packetHeader(): Uint8Array {
  const packet = createMultifdPacket();
  packet.blockName = NAME;
  packet.pagesAlloc = MULTIFD_PAGES_PER_PACKET;
  packet.normalPages = 100;
  packet.zeroPages = 28;
  packet.payloadBytes = packet.normalPages * TARGET_PAGE_BYTES;
  // Runs of ten pages.
  for (let i = 0; i < MULTIFD_PAGES_PER_PACKET; i++) packet.pages[i] = i + Math.floor(i / 10);
  const header = new Uint8Array(MULTIFD_PACKET_BYTES);
  encodeMultifdPacket(packet, header);
  return header;
}

function content(): RamBlock {
  const block = RamBlock.allocate(NAME, BLOCK_PAGES * TARGET_PAGE_BYTES);
  for (let page = 0; page < BLOCK_PAGES; page++) {
    if (page % 3 === 0) continue;
    const start = page * TARGET_PAGE_BYTES;
    for (let i = 0; i < TARGET_PAGE_BYTES; i++) block.bytes[start + i] = (i * page) % 61;
  }
  return block;
}
