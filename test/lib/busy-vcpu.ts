import { workerData } from 'node:worker_threads';
import { RunControl } from '@pageferry/core/guest';
import { DirtyBitmap, TARGET_PAGE_BYTES } from '@pageferry/core/memory';

/** What the thread is given. */
export interface BusyVcpuData {
  readonly buffer: SharedArrayBuffer;
  readonly bitmap: SharedArrayBuffer;
  readonly control: SharedArrayBuffer;
  /** The pages that are written. */
  readonly firstPage: number;
  readonly pageCount: number;
}

/** Pages that hold something else than they should, at any time. */
const SPOILED_PAGES = 64;
const PAGES_BEFORE_A_BREAK = 16;
const BREAK_MS = 2;

/**
 * A vCPU of a guest that does not run: it spoils pages, one after the other, and restores each later; before it stops
 * it restores all. So RAM changes all the time, and is in the end what it was.
 */
const { buffer, bitmap, control, firstPage, pageCount } = workerData as BusyVcpuData;
const run = new RunControl(control);
const log = new DirtyBitmap(buffer.byteLength / TARGET_PAGE_BYTES, bitmap);
const spoiled: { page: number; content: Buffer }[] = [];

function pageAt(page: number): Buffer {
  return Buffer.from(buffer, page * TARGET_PAGE_BYTES, TARGET_PAGE_BYTES);
}

function restore(): void {
  const { page, content } = spoiled.shift()!;
  content.copy(pageAt(page));
  log.set(page);
}

run.parkUntilStarted(0);
for (let step = 0; ; step++) {
  if (!run.mayRun()) {
    while (spoiled.length > 0) restore();
    run.parkUntilStarted(0);
  }
  const page = firstPage + (step % pageCount);
  spoiled.push({ page, content: Buffer.from(pageAt(page)) });
  pageAt(page).fill(`spoiled ${step} `, 0, 512);
  log.set(page);
  if (spoiled.length >= SPOILED_PAGES) restore();
  if (step % PAGES_BEFORE_A_BREAK === 0) run.sleepWhileRunning(BREAK_MS);
}
