import { closeSync } from 'node:fs';
import type { MessagePort } from 'node:worker_threads';
import { type ChannelStats, MigrationError } from '@pageferry/core';
import type { CodecBackend, MultifdCompression } from '@pageferry/core/control';
import { MULTIFD_HANDSHAKE_BYTES } from '@pageferry/core/wire';
import type { PageDecompressor } from '../codecs/codec.ts';
import { CODECS, createDecompressor } from '../codecs/registry.ts';
import { ChannelCells } from './channel-cells.ts';
import { PacketReceiver } from './packet-receiver.ts';
import { PoolWords } from './pool-words.ts';
import { type MovedConnection, ReceiveChannel } from './receive-channel.ts';

/** What a receiving channel's thread is given. */
export interface ReceiveTask {
  readonly channel: number;
  readonly name: string;
  readonly connection: MovedConnection;
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
  let channel: ReceiveChannel | undefined;
  try {
    const codec = CODECS[task.compression];
    decompressor = await createDecompressor(codec, task.backend);
    const receiver = new PacketReceiver({
      channel: task.name,
      offset: MULTIFD_HANDSHAKE_BYTES,
      methodFlag: codec.methodFlag,
      decompressor,
    });
    cells.count(MULTIFD_HANDSHAKE_BYTES, 0, 0, 0);
    const parts = { channel: task.name, receiver, cells, words, blocks: task.blocks };
    channel = new ReceiveChannel(parts, task.connection);
    await channel.run();
  } catch (thrown) {
    if (!words.cancelled) {
      const error = MigrationError.from(thrown, 'internal', { channel: task.name });
      error.channel ??= task.name;
      throw error.toPlain();
    }
  } finally {
    if (channel === undefined) closeConnection(task.connection);
    task.blocks.close();
    decompressor?.close();
  }
  return cells.stats(task.channel);
}

function closeConnection(connection: MovedConnection): void {
  if ('fd' in connection) closeSync(connection.fd);
  else connection.socket.destroy();
}
