import { setTimeout as sleep } from 'node:timers/promises';
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads';

/*
 * koffi reports what goes wrong while it is loaded or a function is declared as an exception. In a thread that is
 * being killed there can be none, and Node then ends the whole process, guest and all. So nobody kills a thread
 * of a group while one of the group loads, and none begins to load while one is killed.
 *
 * A group is a coordinator with all threads below it, or what a thread starts beside coordinators. Its word, an
 * Int32 in shared memory, is handed down as environment data:
 *   > 0  so many threads load
 *   < 0  so many kills are under way
 */
const KEY = 'pageferry.native-load';

/** Both sides wait no longer, ms: a thread may have died while it counted. */
const PATIENCE_MS = 2000;
const POLL_MS = 2;

/** The group that this thread belongs to. */
const own = (getEnvironmentData(KEY) as NativeLoadGroup | undefined) ?? newGroup();
setEnvironmentData(KEY, own);

export type NativeLoadGroup = Int32Array<SharedArrayBuffer>;

function newGroup(): NativeLoadGroup {
  return new Int32Array(new SharedArrayBuffer(4));
}

/** Starts a thread that begins a group of its own. */
export function startGroup<T>(start: () => T): [started: T, group: NativeLoadGroup] {
  const group = newGroup();
  setEnvironmentData(KEY, group);
  try {
    return [start(), group];
  } finally {
    setEnvironmentData(KEY, own);
  }
}

/** Loads a native module in this thread, and does with it what only throws when something is wrong. */
export function whileNotKilled<T>(load: () => Promise<T>): Promise<T> {
  return counted(own, 1, load);
}

/** Kills threads of a group, by default this thread's, when none of them loads a native module. */
export function whileNoneLoads<T>(kill: () => Promise<T>, group = own): Promise<T> {
  return counted(group, -1, kill);
}

async function counted<T>(word: NativeLoadGroup, step: 1 | -1, run: () => Promise<T>): Promise<T> {
  const endMs = performance.now() + PATIENCE_MS;
  for (;;) {
    const count = Atomics.load(word, 0);
    const free = count * step >= 0;
    if (free && Atomics.compareExchange(word, 0, count, count + step) === count) break;
    if (performance.now() > endMs) return run();
    if (!free) await sleep(POLL_MS);
  }
  try {
    return await run();
  } finally {
    Atomics.sub(word, 0, step);
  }
}
