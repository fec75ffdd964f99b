import { parentPort, workerData } from 'node:worker_threads';
import { acceptOne, connectLocally, receiveAll, sendAll } from './libc.ts';
import { LIMIT_BYTES, LIMIT_ROUNDS, type LimitJob, type LimitTimes } from './limits.ts';

/** One thread that copies memory, or moves it through a socket of its own. */

const CHUNK_BYTES = 2 ** 20;

const job = workerData as LimitJob;
const memory = Buffer.alloc(LIMIT_BYTES, 1);

function prepare(): () => void {
  if (job.kind === 'copy') {
    const target = Buffer.alloc(LIMIT_BYTES, 2);
    return () => {
      for (let round = 0; round < LIMIT_ROUNDS; round++) target.set(memory);
    };
  }
  if (job.kind === 'send') {
    const fd = connectLocally(job.port);
    return () => eachChunk((chunk) => sendAll(fd, chunk));
  }
  const fd = acceptOne(job.listener);
  return () =>
    eachChunk((chunk) => {
      if (receiveAll(fd, chunk) < CHUNK_BYTES) throw new Error('the stream ended early');
    });
}

function eachChunk(work: (chunk: Buffer) => void): void {
  for (let round = 0; round < LIMIT_ROUNDS; round++) {
    for (let at = 0; at < LIMIT_BYTES; at += CHUNK_BYTES) work(memory.subarray(at, at + CHUNK_BYTES));
  }
}

function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

const work = prepare();
// All threads begin together.
parentPort!.once('message', () => {
  const startMs = nowMs();
  work();
  parentPort!.postMessage({ startMs, endMs: nowMs() } satisfies LimitTimes);
});
parentPort!.postMessage('ready');
