import { parentPort, workerData } from 'node:worker_threads';
import type { Beat, HeartbeatPlace } from './heartbeat.ts';
import { ProcessMemory } from './process-cost.ts';

/** Looks at a guest's heartbeat every half millisecond and notes each change, until it is told to stop. */

const stopped = new Int32Array(workerData as SharedArrayBuffer);
const POLL_MS = 0.5;

parentPort!.once('message', (place: HeartbeatPlace) => parentPort!.postMessage(watch(reader(place))));
parentPort!.postMessage('ready');

/** Blocks this thread, which has nothing else to do. */
function watch(read: () => number): Beat[] {
  const beats: Beat[] = [];
  let last = Number.NaN;
  do {
    const value = read();
    if (value === last) continue;
    last = value;
    beats.push({ atMs: Number(process.hrtime.bigint()) / 1e6, value });
  } while (Atomics.wait(stopped, 0, 0, POLL_MS) === 'timed-out');
  return beats;
}

function reader(from: HeartbeatPlace): () => number {
  if (from.kind === 'process') {
    const memory = new ProcessMemory(from.pid);
    const bytes = new Uint8Array(4);
    const word = new Int32Array(bytes.buffer);
    return () => {
      memory.read(from.address, bytes);
      return word[0]!;
    };
  }
  const words = new Int32Array(from.buffer, from.byteOffset, from.words);
  return () => {
    let sum = 0;
    for (let i = 0; i < words.length; i++) sum = (sum + words[i]!) | 0;
    return sum;
  };
}
