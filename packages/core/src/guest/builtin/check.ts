import { RamBlock, type RamBlockMemory } from '../../memory/ram-block.ts';
import { isZeroPage } from '../../memory/zero-page.ts';
import { PAGE_WORDS, RamWords, type VcpuPages, VERSION_MASK, wordOf } from './layout.ts';
import { pageProblem } from './page-format.ts';

/** What the machine's own check of its RAM found. */
export interface CheckReport {
  readonly ok: boolean;
  /** Data pages that were compared with their ledger. */
  readonly pagesChecked: number;
  /** Writes that the vCPUs have done since the machine was created, wherever it ran. */
  readonly writes: number;
  /** What is wrong, in words; the first 20, then how many more. */
  readonly problems: readonly string[];
}

const MAX_PROBLEMS = 20;

/** What the check of some pages found. */
export interface PartReport {
  pagesChecked: number;
  /** Sum of the versions of the checked pages, modulo 2^32, as a signed integer. */
  versionSum: number;
  problemCount: number;
  problems: string[];
}

export function emptyReport(): PartReport {
  return { pagesChecked: 0, versionSum: 0, problemCount: 0, problems: [] };
}

export function addReport(sum: PartReport, part: PartReport): void {
  sum.pagesChecked += part.pagesChecked;
  sum.versionSum = (sum.versionSum + part.versionSum) | 0;
  sum.problemCount += part.problemCount;
  for (const problem of part.problems) addProblem(sum, problem, 0);
}

/** Adds a problem's words when there is still room for them. */
export function addProblem(report: PartReport, problem: string, count = 1): void {
  report.problemCount += count;
  if (report.problems.length < MAX_PROBLEMS) report.problems.push(problem);
}

/** Compares data pages `[from, to)` of a vCPU (counted from its first) with their ledger. */
export class PageChecker {
  readonly #bytes: Uint8Array;
  readonly #ram: RamWords;

  constructor(ram: RamBlockMemory) {
    const block = new RamBlock(ram);
    this.#bytes = block.bytes;
    this.#ram = new RamWords(ram.buffer, ram.byteOffset, block.pageCount);
  }

  check(pages: VcpuPages, from: number, to: number): PartReport {
    const report = emptyReport();
    report.pagesChecked = to - from;
    for (let slot = from; slot < to; slot++) {
      const page = pages.first + slot;
      const entry = this.#ledger(pages, slot);
      const version = entry & VERSION_MASK;
      report.versionSum = (report.versionSum + version) | 0;
      let problem: string | undefined;
      if (entry >= 0) problem = pageProblem(this.#ram.bank(page), wordOf(page), page, version);
      else if (!isZeroPage(this.#bytes, page * PAGE_WORDS * 4)) problem = 'should hold only zeros';
      if (problem !== undefined) addProblem(report, `page ${page} ${problem}`);
    }
    return report;
  }

  #ledger(pages: VcpuPages, slot: number): number {
    const page = pages.ledgerFirst + Math.floor(slot / PAGE_WORDS);
    return this.#ram.bank(page)[wordOf(page) + (slot % PAGE_WORDS)]!;
  }
}
