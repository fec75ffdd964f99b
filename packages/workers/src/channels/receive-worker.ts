import { closeSync } from 'node:fs';
import type { MessagePort } from 'node:worker_threads';
import { type ChannelStats, MigrationError } from '@pageferry/core';
import type { CodecBackend, MultifdCompression } from '@pageferry/core/control';
import { MULTIFD_HANDSHAKE_BYTES } from '@pageferry/core/wire';
import type { PageDecompressor } from '../codecs/codec.ts';
import { CODECS, createDecompressor } from '../codecs/registry.ts';
import { BlockingSocket } from '../system/blocking-socket.ts';
import { loadSystemCalls } from '../system/system-calls.ts';
import { BlockingReceiveChannel } from './blocking-receive-channel.ts';
import { ChannelCells } from './channel-cells.ts';
import type { ChannelIo } from './channel-io.ts';
import { PacketReceiver } from './packet-receiver.ts';
import { PoolWords } from './pool-words.ts';
import { type MovedConnection, ReceiveChannel } from './receive-channel.ts';
import { meetOthers, type WarmTask } from './warm-task.ts';

/** What a receiving channel's thread is given. */
export interface ReceiveTask {
  readonly channel: number;
  readonly name: string;
  readonly connection: MovedConnection;
  readonly io: ChannelIo;
  readonly compression: MultifdCompression;
  readonly backend: CodecBackend | undefined;
  readonly blocks: MessagePort;
  readonly cells: SharedArrayBuffer;
  readonly words: SharedArrayBuffer;
}

/** The life of one receiving channel: ends with its totals, or throws the plain form of its error. */
export default async function receiveChannel(task: ReceiveTask): Promise<ChannelStats> {
  const cells = new ChannelCells(task.cells);
  const words = new PoolWords(task.words);
  // From here on the connection is closed here.
  cells.setOpen();
  let decompressor: PageDecompressor | undefined;
  /** Ours until a channel has it. */
  let connection: MovedConnection | undefined = task.connection;
  let socket: BlockingSocket | undefined;
  try {
    const codec = CODECS[task.compression];
    decompressor = await createDecompressor(codec, task.backend);
    const calls = task.io === 'blocking' && 'fd' in connection ? await loadSystemCalls() : undefined;
    const receiver = new PacketReceiver({
      channel: task.name,
      offset: MULTIFD_HANDSHAKE_BYTES,
      methodFlag: codec.methodFlag,
      decompressor,
      scatter: calls !== undefined,
      mayPlace: () => {
        // In this order: see `ThreadedPageReceiver.seal`.
        cells.setPlacing(true);
        return !words.sealed;
      },
    });
    cells.count(MULTIFD_HANDSHAKE_BYTES, 0, 0, 0);
    const parts = { channel: task.name, receiver, cells, words, blocks: task.blocks };
    if (calls !== undefined && 'fd' in connection) {
      socket = new BlockingSocket(calls, connection.fd);
      connection = undefined;
      await new BlockingReceiveChannel({ ...parts, calls, socket }).run();
    } else {
      const channel = new ReceiveChannel(parts, connection);
      connection = undefined;
      await channel.run();
    }
  } catch (thrown) {
    if (!words.cancelled) {
      const error = MigrationError.from(thrown, 'internal', { channel: task.name });
      error.channel ??= task.name;
      throw error.toPlain();
    }
  } finally {
    if (connection !== undefined) closeConnection(connection);
    socket?.close();
    task.blocks.close();
    decompressor?.close();
  }
  return cells.stats(task.channel);
}

/** Loads what `receiveChannel` will need. */
export async function warm(task: WarmTask): Promise<void> {
  const decompressor = await createDecompressor(CODECS[task.compression], task.backend);
  decompressor?.close();
  await loadSystemCalls();
  meetOthers(task);
}

function closeConnection(connection: MovedConnection): void {
  if ('fd' in connection) closeSync(connection.fd);
  else connection.socket.destroy();
}
