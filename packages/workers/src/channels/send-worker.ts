import type { Socket } from 'node:net';
import { type ChannelStats, MigrationError } from '@pageferry/core';
import type { CodecBackend, MultifdCompression } from '@pageferry/core/control';
import type { RamBlockMemory } from '@pageferry/core/memory';
import { BlockView } from '@pageferry/core/memory';
import { connectSocket, type SocketAddress } from '@pageferry/core/transport';
import { encodeMultifdHandshake, MULTIFD_HANDSHAKE_BYTES } from '@pageferry/core/wire';
import type { PageCompressor } from '../codecs/codec.ts';
import { CODECS, createCompressor } from '../codecs/registry.ts';
import { BlockingSocket, takeDescriptor } from '../system/blocking-socket.ts';
import { loadSystemCalls, type SystemCalls } from '../system/system-calls.ts';
import { BlockingSendChannel } from './blocking-send-channel.ts';
import { ChannelCells } from './channel-cells.ts';
import type { ChannelIo } from './channel-io.ts';
import { linkOf } from './link-of.ts';
import { PacketBuilder } from './packet-builder.ts';
import { PacketWriter } from './packet-writer.ts';
import { PoolWords } from './pool-words.ts';
import { SendChannel } from './send-channel.ts';
import { meetOthers, type WarmTask } from './warm-task.ts';

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
  readonly isStill: boolean;
  readonly io: ChannelIo;
  readonly channels: number;
  readonly blocks: readonly RamBlockMemory[];
  readonly cells: SharedArrayBuffer;
  /** The cells of the other channels. */
  readonly others: readonly SharedArrayBuffer[];
  readonly words: SharedArrayBuffer;
}

/** Packets on their way at once, beside those that a backend has in work. */
const PACKETS_ON_THEIR_WAY = 3;

/**
 * What the kernel may hold of a channel within one host, until the receiver takes it: little enough to stay in the
 * processor's caches. What the kernel chooses by itself is many times that, and each byte is then read from memory
 * twice.
 */
const LOCAL_SEND_BUFFER_BYTES = 256 * 1024;

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
  let blocking: BlockingSocket | undefined;
  let compressor: PageCompressor | undefined;
  try {
    const codec = CODECS[task.compression];
    compressor = await createCompressor(codec, task.level, task.backend);
    const blocks = task.blocks.map((block) => new BlockView(block));
    const builder = new PacketBuilder(words, blocks, codec.methodFlag, task.zeroPagesInPackets);
    const calls = await blockingCalls(task.io, compressor);
    socket = await connectSocket(task.address, { timeoutMs: task.connectTimeoutMs, signal: stop.signal });
    // Whoever uses the connection meets its errors there; this one only keeps them from ending the thread.
    socket.on('error', () => {});
    await sendHandshake(socket, task);
    cells.count(MULTIFD_HANDSHAKE_BYTES, 0, 0, 0);
    const parts = { channel: task.name, cells, words, builder, compressor };
    const opened = () => {
      cells.setOpen();
      words.coordinatorBell.ring();
    };
    if (calls === undefined) {
      const slots = PACKETS_ON_THEIR_WAY + (compressor?.concurrency ?? 1) - 1;
      const writer = new PacketWriter(socket, task.name, cells, slots, {
        flushed: () => words.coordinatorBell.ring(),
        failed: () => cells.workerBell.ring(),
      });
      compressor?.attach?.(linkOf(words, task.channels));
      opened();
      await new SendChannel({ ...parts, writer }).run();
    } else {
      const own = takeSocket(calls, socket, task);
      blocking = own;
      compressor?.attach?.(linkOf(words, task.channels, (into) => own.progress(into)));
      opened();
      await new BlockingSendChannel({
        ...parts,
        calls,
        socket: blocking,
        isStill: task.isStill,
        others: task.others.map((other) => new ChannelCells(other)),
      }).run();
    }
  } catch (thrown) {
    if (!words.cancelled) {
      const error = MigrationError.from(thrown, 'internal', { channel: task.name });
      error.channel ??= task.name;
      throw error.toPlain();
    }
  } finally {
    socket?.destroy();
    blocking?.close();
    compressor?.close();
  }
  return cells.stats(task.channel);
}

/** Loads what `sendChannel` will need. */
export async function warm(task: WarmTask): Promise<void> {
  try {
    const compressor = await createCompressor(CODECS[task.compression], task.level, task.backend);
    compressor?.warmUp?.(linkOf(new PoolWords(), 1));
    compressor?.close();
    await loadSystemCalls();
  } finally {
    meetOthers(task);
  }
}

/** What a thread needs to block in the kernel; undefined where it must not or cannot. */
async function blockingCalls(
  io: ChannelIo,
  compressor: PageCompressor | undefined,
): Promise<SystemCalls | undefined> {
  // What compresses elsewhere answers on the event loop.
  if (io === 'event-loop' || (compressor?.concurrency ?? 1) > 1) return undefined;
  return loadSystemCalls();
}

function takeSocket(calls: SystemCalls, socket: Socket, { name }: SendTask): BlockingSocket {
  // A connection to this very host has no link that must be kept busy.
  const staysHere = socket.remoteAddress !== undefined && socket.remoteAddress === socket.localAddress;
  const fd = takeDescriptor(calls, socket);
  if (fd !== undefined && staysHere) calls.limitSendBuffer(fd, LOCAL_SEND_BUFFER_BYTES);
  if (fd !== undefined) return new BlockingSocket(calls, fd);
  throw new MigrationError('connection-lost', 'the connection was closed at once', { channel: name });
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
