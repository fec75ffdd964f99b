import type { Socket } from 'node:net';
import { type ChannelStats, MigrationError } from '@pageferry/core';
import type { CodecBackend, MultifdCompression } from '@pageferry/core/control';
import type { RamBlockMemory } from '@pageferry/core/memory';
import { BlockView } from '@pageferry/core/memory';
import { connectSocket, type SocketAddress } from '@pageferry/core/transport';
import { encodeMultifdHandshake, MULTIFD_HANDSHAKE_BYTES } from '@pageferry/core/wire';
import type { PageCompressor } from '../codecs/codec.ts';
import { CODECS, createCompressor } from '../codecs/registry.ts';
import { ChannelCells } from './channel-cells.ts';
import { PacketWriter } from './packet-writer.ts';
import { PoolWords } from './pool-words.ts';
import { SendChannel } from './send-channel.ts';

/** What a sending channel's thread is given. */
export interface SendTask {
  readonly channel: number;
  readonly name: string;
  readonly address: SocketAddress;
  readonly uuid: Uint8Array | undefined;
  readonly connectTimeoutMs: number;
  readonly compression: MultifdCompression;
  readonly level: number | undefined;
  readonly backend: CodecBackend | undefined;
  readonly zeroPagesInPackets: boolean;
  readonly blocks: readonly RamBlockMemory[];
  readonly cells: SharedArrayBuffer;
  readonly words: SharedArrayBuffer;
}

/** Packets on their way at once, beside those that a backend has in work. */
const PACKETS_ON_THEIR_WAY = 3;

/** The life of one sending channel: ends with its totals, or throws the plain form of its error. */
export default async function sendChannel(task: SendTask): Promise<ChannelStats> {
  const cells = new ChannelCells(task.cells);
  const words = new PoolWords(task.words);
  const stop = new AbortController();
  let socket: Socket | undefined;
  words.untilCancelled().then(() => {
    stop.abort();
    socket?.destroy();
    cells.workerBell.ring();
  });
  let compressor: PageCompressor | undefined;
  try {
    const codec = CODECS[task.compression];
    compressor = await createCompressor(codec, task.level, task.backend);
    socket = await connectSocket(task.address, { timeoutMs: task.connectTimeoutMs, signal: stop.signal });
    const slots = PACKETS_ON_THEIR_WAY + (compressor?.concurrency ?? 1) - 1;
    const writer = new PacketWriter(socket, task.name, cells, slots, {
      flushed: () => words.coordinatorBell.ring(),
      failed: () => cells.workerBell.ring(),
    });
    await sendHandshake(socket, task);
    cells.count(MULTIFD_HANDSHAKE_BYTES, 0, 0, 0);
    cells.setOpen();
    words.coordinatorBell.ring();
    await new SendChannel({
      channel: task.name,
      cells,
      words,
      writer,
      blocks: task.blocks.map((block) => new BlockView(block)),
      methodFlag: codec.methodFlag,
      compressor,
      zeroPagesInPackets: task.zeroPagesInPackets,
    }).run();
  } catch (thrown) {
    if (!words.cancelled) {
      const error = MigrationError.from(thrown, 'internal', { channel: task.name });
      error.channel ??= task.name;
      throw error.toPlain();
    }
  } finally {
    socket?.destroy();
    compressor?.close();
  }
  return cells.stats(task.channel);
}

function sendHandshake(socket: Socket, task: SendTask): Promise<void> {
  const bytes = encodeMultifdHandshake({ channel: task.channel, uuid: task.uuid });
  return new Promise((resolve, reject) => {
    socket.write(bytes, (cause) => {
      if (!cause) resolve();
      else reject(MigrationError.from(cause, 'connection-lost', { channel: task.name, offset: 0 }));
    });
  });
}
