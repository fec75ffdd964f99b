/**
 * The tiny guest of `test/fixtures/guest`, seen from outside: what its memory must look like at any instant.
 * The rule stands at the head of `tiny.asm`.
 */

const PAGE_BYTES = 4096;
const ZERO_PAGE = Buffer.alloc(PAGE_BYTES);

export interface TinyGuestConstants {
  regionStart: number;
  regionEnd: number;
  /** Where the guest keeps its number of complete passes. */
  passAddress: number;
}

/** Constants of `tiny-rom.bin` and `tiny-rom-72.bin`. */
export const TINY_ROM: TinyGuestConstants = {
  regionStart: 0x100000,
  regionEnd: 0x280000,
  passAddress: 0x9000,
};

/** Page of the guest's code and stack. */
const CODE_PAGE = 0x7;
/** Conventional memory ends here; from here to 1 MiB a PC has no RAM of its own. */
const LOW_MEMORY_END = 0xa0000;

export interface TinyGuestReport {
  /** What contradicts the rule, at most the first 10 of each kind; empty: the guest is consistent. */
  problems: string[];
  /** Complete passes over the region so far. */
  passes: number;
  /** Pages of the region, from its start, that the current pass has reached. */
  position: number;
}

/** Checks all of the stopped guest's RAM, physical address 0 first. */
export function checkTinyGuest(memory: Uint8Array, constants = TINY_ROM): TinyGuestReport {
  const { regionStart, regionEnd, passAddress } = constants;
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  const passes = view.getUint32(passAddress, true);
  const firstPage = regionStart / PAGE_BYTES;
  const pageCount = (regionEnd - regionStart) / PAGE_BYTES;
  const counterOf = (page: number) => memory[(firstPage + page) * PAGE_BYTES]!;

  let position = 0;
  while (position < pageCount && counterOf(position) === ((passes + 1) & 0xff)) position++;
  const counters: string[] = [];
  for (let page = position; page < pageCount; page++) {
    if (counterOf(page) === (passes & 0xff)) continue;
    counters.push(
      `page ${hex(firstPage + page)}: counter ${counterOf(page)} after ${passes} passes, ` +
        `the pass being at page ${hex(firstPage + position)}`,
    );
  }

  const contents: string[] = [];
  for (let page = firstPage; page < firstPage + pageCount; page++) {
    const at = firstDifference(memory, page);
    if (at >= 0) contents.push(`page ${hex(page)}: byte ${at} is not what the guest wrote there`);
  }

  const strays: string[] = [];
  for (const [from, to] of [
    [0, LOW_MEMORY_END],
    [regionEnd, memory.length],
  ] as const) {
    for (let at = from; at < to; at += PAGE_BYTES) {
      const page = at / PAGE_BYTES;
      if (page === CODE_PAGE || page === passAddress / PAGE_BYTES) continue;
      if (Buffer.compare(memory.subarray(at, at + PAGE_BYTES), ZERO_PAGE) !== 0)
        strays.push(`page ${hex(page)} is not zero`);
    }
  }
  const problems = [counters, contents, strays].flatMap((kind) => kind.slice(0, 10));
  return { problems, passes, position };
}

/** The page's content as the guest filled it, but for byte 0, its counter: -1, or where it differs. */
function firstDifference(memory: Uint8Array, page: number): number {
  const base = page * PAGE_BYTES;
  const expected = tinyGuestPage(page);
  for (let at = 1; at < PAGE_BYTES; at++) if (memory[base + at] !== expected[at]) return at;
  return -1;
}

/** What the guest fills page number `page` (physical address / 4096) with; its byte 0 is the counter, here 0. */
export function tinyGuestPage(page: number): Uint8Array {
  const words = new Uint32Array(PAGE_BYTES / 4);
  const kind = page & 3;
  if (kind === 1) words.fill(Math.imul(page, 0x01010101) >>> 0);
  if (kind === 3) for (let i = 0; i < words.length; i++) words[i] = (page << 10) + i;
  if (kind === 2) {
    let x = Math.imul(page, 0x9e3779b1) | 1;
    for (let i = 0; i < words.length; i++) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      words[i] = x >>> 0;
    }
  }
  const bytes = new Uint8Array(words.buffer);
  bytes[0] = 0;
  return bytes;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
