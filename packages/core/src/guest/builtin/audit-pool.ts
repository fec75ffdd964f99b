import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import { MigrationError } from '../../error.ts';
import type { RamBlockMemory } from '../../memory/ram-block.ts';
import { workerEntry } from '../../worker-entry.ts';
import type { AuditJob, AuditReply } from './audit-worker.ts';
import { addReport, emptyReport, type PartReport } from './check.ts';
import { type BlockHash, blockDigest, chunkCount, HASH_KEY_BYTES, HASH_TAG_BYTES } from './hash.ts';
import { nextMessage, startThread } from './threads.ts';

/** Two hash as fast as RAM can be read here, and each costs the process about 10 MB. */
const MAX_THREADS = 2;

/**
 * The threads that hash and check RAM while the vCPUs are stopped. They are kept from `start` to `end`, so
 * that a switch-over does not wait for a thread to begin.
 */
export class AuditPool {
  #workers: Worker[] = [];
  #ended = false;
  /** The end of the jobs so far: one at a time. */
  #last: Promise<unknown> = Promise.resolve();

  /** Starts the threads; done by the first job otherwise. */
  start(): void {
    if (this.#ended) throw new MigrationError('guest-failed', 'the machine is closed');
    if (this.#workers.length > 0) return;
    const count = Math.min(MAX_THREADS, availableParallelism());
    for (let index = 0; index < count; index++) {
      const worker = startThread(workerEntry(import.meta.url, './audit-worker'), `builtin-audit ${index}`);
      // The job that waits for the thread reports its death; the next job does without it.
      worker.on('error', () => {});
      worker.on('exit', () => {
        this.#workers = this.#workers.filter((other) => other !== worker);
      });
      this.#workers.push(worker);
    }
  }

  /** Hashes all bytes of the blocks, which nobody may write meanwhile, under a 16-byte key. */
  async hash(blocks: readonly RamBlockMemory[], key: Uint8Array): Promise<BlockHash[]> {
    const counts = blocks.map(chunkCount);
    const total = counts.reduce((sum, count) => sum + count, 0);
    const tags = new SharedArrayBuffer(total * HASH_TAG_BYTES);
    await this.#run({ kind: 'hash', next: new SharedArrayBuffer(4), blocks, key, tags });
    let first = 0;
    return blocks.map((block, index) => {
      const length = counts[index]! * HASH_TAG_BYTES;
      // A copy: node:crypto's update takes no shared memory everywhere.
      const own = new Uint8Array(tags, first, length).slice();
      first += length;
      return { idstr: block.idstr, digest: blockDigest(block, own) };
    });
  }

  /** Compares every data page with its ledger; a report per vCPU. */
  async check(ram: RamBlockMemory, vcpus: number): Promise<PartReport[]> {
    const replies = await this.#run({ kind: 'check', next: new SharedArrayBuffer(4), ram, vcpus });
    return Array.from({ length: vcpus }, (_, vcpu) => {
      const report = emptyReport();
      for (const reply of replies) addReport(report, reply[vcpu]!);
      return report;
    });
  }

  /** Ends the threads; a job under way fails. */
  async end(): Promise<void> {
    this.#ended = true;
    const workers = this.#workers;
    this.#workers = [];
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  #run(job: AuditJob): Promise<AuditReply[]> {
    const mine = this.#last.then(() => this.#runNow(job));
    this.#last = mine.catch(() => {});
    return mine;
  }

  async #runNow(job: AuditJob): Promise<AuditReply[]> {
    this.start();
    const workers = this.#workers;
    try {
      return await Promise.all(
        workers.map((worker) => {
          const reply = nextMessage<AuditReply>(worker);
          worker.postMessage(job);
          return reply;
        }),
      );
    } catch (error) {
      // What the other threads still have to say is not an answer to the next job.
      await Promise.all(workers.map((worker) => worker.terminate()));
      throw error;
    }
  }
}

export function newHashKey(): Uint8Array {
  return randomBytes(HASH_KEY_BYTES);
}
