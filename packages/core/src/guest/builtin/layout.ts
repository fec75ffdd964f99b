import { TARGET_PAGE_BYTES } from '../../memory/ram-block.ts';

/**
 * How the built-in machine uses its RAM block:
 *
 *     data pages of vCPU 0 | data pages of vCPU 1 | … | ledger of vCPU 0 | ledger of vCPU 1 | …
 *
 * Every page has one writer. The ledger holds a word per data page: its version, and whether it is zero.
 */

export const PAGE_WORDS = TARGET_PAGE_BYTES / 4;

/** Ledger word: bits 0-30 are the version, the sign bit says that the page holds only zeros. */
export const VERSION_MASK = 0x7fffffff;
export const ZERO_ENTRY = 0x80000000 | 0;

/** The pages of one vCPU, as page numbers in the RAM block. */
export interface VcpuPages {
  readonly first: number;
  readonly count: number;
  readonly ledgerFirst: number;
  readonly ledgerCount: number;
}

/** A machine needs at least this much RAM for each vCPU. */
export const MIN_PAGES_PER_VCPU = 64;

export function vcpuPages(pageCount: number, vcpus: number, vcpu: number): VcpuPages {
  const ledgerCount = Math.ceil(Math.ceil(pageCount / vcpus) / PAGE_WORDS);
  const dataPages = pageCount - ledgerCount * vcpus;
  const first = Math.floor((dataPages * vcpu) / vcpus);
  const end = Math.floor((dataPages * (vcpu + 1)) / vcpus);
  return { first, count: end - first, ledgerFirst: dataPages + ledgerCount * vcpu, ledgerCount };
}

/** Pages per bank: 1 GiB, so that a word's index in its bank is a small integer whatever the guest's size. */
const BANK_SHIFT = 18;
const BANK_PAGES = 2 ** BANK_SHIFT;

/** A RAM block as 32-bit words: the words of page p are `bank(p)[wordOf(p) + 0..1023]`. */
export class RamWords {
  readonly #banks: Int32Array<SharedArrayBuffer>[] = [];

  constructor(buffer: SharedArrayBuffer, byteOffset: number, pageCount: number) {
    for (let page = 0; page < pageCount; page += BANK_PAGES) {
      const pages = Math.min(BANK_PAGES, pageCount - page);
      const start = byteOffset + page * TARGET_PAGE_BYTES;
      this.#banks.push(new Int32Array(buffer, start, pages * PAGE_WORDS));
    }
  }

  bank(page: number): Int32Array<SharedArrayBuffer> {
    return this.#banks[page >>> BANK_SHIFT]!;
  }
}

/** Where a page begins in its bank. */
export function wordOf(page: number): number {
  return (page & (BANK_PAGES - 1)) * PAGE_WORDS;
}
