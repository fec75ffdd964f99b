import { parentPort } from 'node:worker_threads';
import { type RamBlockMemory, TARGET_PAGE_BYTES } from '../../memory/ram-block.ts';
import { addReport, emptyReport, PageChecker, type PartReport } from './check.ts';
import { chunkCount, HASH_TAG_BYTES, hashChunk } from './hash.ts';
import { vcpuPages } from './layout.ts';

/** Pages that a thread checks at a time. */
const CHECK_PAGES = 2048;

/**
 * A job that several threads share: each takes the next piece, by incrementing the word of `next`, until
 * there is none.
 */
export type AuditJob =
  | {
      readonly kind: 'hash';
      readonly next: SharedArrayBuffer;
      readonly blocks: readonly RamBlockMemory[];
      readonly key: Uint8Array;
      /** A tag per chunk, all blocks' one after another. */
      readonly tags: SharedArrayBuffer;
    }
  | {
      readonly kind: 'check';
      readonly next: SharedArrayBuffer;
      readonly ram: RamBlockMemory;
      readonly vcpus: number;
    };

/** What one thread did of a job: for `check` a report per vCPU, for `hash` nothing (the tags are shared). */
export type AuditReply = readonly PartReport[];

parentPort?.on('message', (job: AuditJob) => {
  const reply: AuditReply = job.kind === 'hash' ? hash(job) : check(job);
  parentPort?.postMessage(reply);
});

function hash(job: Extract<AuditJob, { kind: 'hash' }>): PartReport[] {
  const next = new Int32Array(job.next);
  const tags = new Uint8Array(job.tags);
  const pieces = job.blocks.flatMap((block) =>
    Array.from({ length: chunkCount(block) }, (_, chunk) => ({ block, chunk })),
  );
  for (let at = Atomics.add(next, 0, 1); at < pieces.length; at = Atomics.add(next, 0, 1)) {
    const { block, chunk } = pieces[at]!;
    tags.set(hashChunk(block, chunk, job.key), at * HASH_TAG_BYTES);
  }
  return [];
}

function check(job: Extract<AuditJob, { kind: 'check' }>): PartReport[] {
  const next = new Int32Array(job.next);
  const checker = new PageChecker(job.ram);
  const pageCount = job.ram.usedLengthBytes / TARGET_PAGE_BYTES;
  const owned = Array.from({ length: job.vcpus }, (_, vcpu) => vcpuPages(pageCount, job.vcpus, vcpu));
  const reports = owned.map(emptyReport);
  const pieces = owned.flatMap((pages, vcpu) =>
    Array.from({ length: Math.ceil(pages.count / CHECK_PAGES) }, (_, piece) => ({
      vcpu,
      from: piece * CHECK_PAGES,
    })),
  );
  for (let at = Atomics.add(next, 0, 1); at < pieces.length; at = Atomics.add(next, 0, 1)) {
    const { vcpu, from } = pieces[at]!;
    const pages = owned[vcpu]!;
    addReport(reports[vcpu]!, checker.check(pages, from, Math.min(from + CHECK_PAGES, pages.count)));
  }
  return reports;
}
