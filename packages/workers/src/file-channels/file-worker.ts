import { closeSync, constants, openSync } from 'node:fs';
import { type ChannelStats, fileError, MigrationError } from '@pageferry/core';
import { TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { ChannelCells } from '../channels/channel-cells.ts';
import { createJob, JobKind, JobRing } from '../channels/job-ring.ts';
import { PoolWords } from '../channels/pool-words.ts';
import { meetOthers, type WarmTask } from '../channels/warm-task.ts';
import { PageWriter, type PlacedBlock, type Written } from './page-writer.ts';

/** What a thread that writes pages into a file is given. */
export interface FileTask {
  readonly channel: number;
  /** The file to write, under its present name. */
  readonly temporaryPath: string;
  /** The name for messages. */
  readonly path: string;
  readonly detectZero: boolean;
  readonly blocks: readonly PlacedBlock[];
  readonly cells: SharedArrayBuffer;
  readonly words: SharedArrayBuffer;
}

/** How long the thread sleeps at most before it looks whether it was cancelled; it is woken for that as well. */
const IDLE_SLICE_MS = 1000;

/**
 * The life of one writing thread: sleeps in `Atomics.wait` and in the kernel, never in the event loop. Ends with
 * its totals, or throws the plain form of its error.
 */
export default function writePages(task: FileTask): ChannelStats {
  const cells = new ChannelCells(task.cells);
  const words = new PoolWords(task.words);
  let fd: number | undefined;
  try {
    fd = open(task);
    const writer = new PageWriter(fd, task.path, task.blocks, task.detectZero);
    cells.setOpen();
    words.coordinatorBell.ring();
    serve(cells, words, writer);
  } catch (thrown) {
    if (!words.cancelled) throw MigrationError.from(thrown, 'internal', { channel: task.path }).toPlain();
  } finally {
    if (fd !== undefined) close(fd);
  }
  return cells.stats(task.channel);
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

function serve(cells: ChannelCells, words: PoolWords, writer: PageWriter): void {
  const ring = new JobRing(cells);
  const job = createJob();
  const written: Written = { writes: 0, normalPages: 0, zeroPages: 0, writeMs: 0 };
  let stalledMs = 0;
  while (!words.cancelled) {
    const seen = cells.workerBell.count;
    if (!ring.peek(job)) {
      cells.workerBell.wait(seen, IDLE_SLICE_MS);
      continue;
    }
    if (job.kind === JobKind.end) return;
    writer.write(job.block, job.pages, job.count, written);
    const { writes, normalPages, zeroPages, writeMs } = written;
    stalledMs += writeMs;
    cells.stalledMs = stalledMs;
    cells.count(normalPages * TARGET_PAGE_BYTES, writes, normalPages, zeroPages);
    // Frees the job's place, and wakes the coordinator when it may be waiting for some.
    if (ring.shift()) words.coordinatorBell.ring();
    if (cells.complete()) words.coordinatorBell.ring();
  }
}
