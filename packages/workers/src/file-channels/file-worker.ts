import { closeSync, constants, openSync } from 'node:fs';
import { type ChannelStats, fileError, MigrationError } from '@pageferry/core';
import { ChannelCells } from '../channels/channel-cells.ts';
import { PoolWords } from '../channels/pool-words.ts';
import { meetOthers, type WarmTask } from '../channels/warm-task.ts';
import { FileThread } from './file-thread.ts';
import { PageRing } from './page-ring.ts';
import { PageWriter, type PlacedBlock } from './page-writer.ts';

/** What a thread that writes pages into a file is given. */
export interface FileTask {
  readonly channel: number;
  /** The file to write, under its present name. */
  readonly temporaryPath: string;
  /** The name for messages. */
  readonly path: string;
  readonly detectZero: boolean;
  readonly blocks: readonly PlacedBlock[];
  /** Of all channels, with a `PageRing` in each. */
  readonly cells: readonly SharedArrayBuffer[];
  readonly words: SharedArrayBuffer;
  /** One Int32, 1 while a thread writes. */
  readonly turn: SharedArrayBuffer;
}

/**
 * The life of one of the threads: sleeps in `Atomics.wait` and in the kernel, never in the event loop. Ends with
 * its totals, or throws the plain form of its error.
 */
export default function writePages(task: FileTask): ChannelStats {
  const { channel, path, detectZero } = task;
  const rings = task.cells.map((buffer) => new PageRing(new ChannelCells(buffer)));
  const { cells } = rings[channel]!;
  const words = new PoolWords(task.words);
  let fd: number | undefined;
  try {
    fd = open(task);
    const writer = new PageWriter(fd, path, task.blocks);
    const thread = new FileThread({
      rings,
      channel,
      words,
      turn: new Int32Array(task.turn),
      writer,
      detectZero,
    });
    cells.setOpen();
    words.coordinatorBell.ring();
    thread.run();
  } catch (thrown) {
    if (!words.cancelled) throw MigrationError.from(thrown, 'internal', { channel: path }).toPlain();
  } finally {
    if (fd !== undefined) close(fd);
  }
  return cells.stats(channel);
}

/** Everything that `writePages` needs is loaded with this module. */
export function warm(task: WarmTask): void {
  meetOthers(task);
}

/** A descriptor of this thread's own: it may be closed whatever the others do. */
function open({ temporaryPath, path }: FileTask): number {
  try {
    return openSync(temporaryPath, constants.O_WRONLY);
  } catch (error) {
    throw fileError(error, path, `open ${path}`);
  }
}

/** What is lost in a close is seen when the file is brought to the disk. */
function close(fd: number): void {
  try {
    closeSync(fd);
  } catch {}
}
