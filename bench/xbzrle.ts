/**
 * What XBZRLE costs: MiB of guest pages per CPU second, by how much of a page changes between two passes.
 *
 * - encode: a page is copied and compared with the one before
 * - source: all that a source does for a page, cache and record included, but for the system call
 * - decode: a destination's check of a record, and the changes written into guest RAM
 *
 *   node --conditions=pageferry-src bench/xbzrle.ts [--memory 64] [--runs 7] [--json]
 */
import { availableParallelism, cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { resolveMigrateOptions } from '@pageferry/core/control';
import { BlockView, RamBlock, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import type { MainPageWriter } from '@pageferry/core/outgoing';
import { decodeXbzrle, XBZRLE_PREFIX_BYTES, XbzrleEncoder } from '@pageferry/core/wire';
import { RamIteration } from '../packages/core/src/outgoing/ram-iteration.ts';
import { XbzrlePages } from '../packages/core/src/outgoing/xbzrle-pages.ts';
import { GuestMix } from '../packages/workers/src/measure/mix.ts';

const { values } = parseArgs({
  options: {
    memory: { type: 'string', default: '64' },
    runs: { type: 'string', default: '7' },
    json: { type: 'boolean', default: false },
  },
});
const bytes = Number(values.memory) << 20;
const pageCount = bytes / TARGET_PAGE_BYTES;

/** Number of places in a page that change, and how long each is. */
const CHANGES = [
  { name: 'nothing', places: 0, length: 0 },
  { name: '1 byte', places: 1, length: 1 },
  { name: '4 places of 8 bytes', places: 4, length: 8 },
  { name: '16 places of 8 bytes', places: 16, length: 8 },
  { name: '64 places of 8 bytes', places: 64, length: 8 },
  { name: '1 place of 2048 bytes', places: 1, length: 2048 },
  { name: 'the whole page', places: 1, length: TARGET_PAGE_BYTES },
] as const;

/** The guest's RAM, before and after the changes. */
const before = new Uint8Array(bytes);
const after = RamBlock.allocate('pc.ram', bytes);
const view = new BlockView(after);
fillBefore();

const rows = CHANGES.map((changes) => {
  change(changes);
  const records = encodeAll();
  const sent = records.reduce((sum, record) => sum + record.length, 0);
  return {
    changes: changes.name,
    bytesPerPage: Math.round(sent / pageCount),
    encode: median(() => void encodeAll(false)),
    source: medianOf(sourceRuns()),
    decode: records.length === 0 ? undefined : median(() => decodeAll(records)),
  };
});
report();

function fillBefore(): void {
  using mix = new GuestMix();
  const chunk = Buffer.alloc(1 << 20);
  for (let at = 0; at < bytes; at += chunk.length) {
    mix.fill(chunk);
    before.set(chunk, at);
  }
}

/** The same places for every run; every byte of a place is another one. */
function change({ places, length }: (typeof CHANGES)[number]): void {
  after.bytes.set(before);
  for (let page = 0; page < pageCount; page++) {
    for (let place = 0; place < places; place++) {
      const slot = TARGET_PAGE_BYTES / places;
      const at = page * TARGET_PAGE_BYTES + place * slot + (page % Math.max(1, slot - length + 1));
      for (let i = 0; i < length; i++) after.bytes[at + i]! ^= 0x55;
    }
  }
}

/** Encodes all pages, and keeps the runs of those that changed if they are wanted. */
function encodeAll(keep = true): Uint8Array[] {
  const encoder = new XbzrleEncoder();
  const copy = Buffer.from(encoder.page.buffer);
  const words = new Int32Array(before.buffer);
  const records: Uint8Array[] = [];
  for (let page = 0; page < pageCount; page++) {
    view.copyOut(page, 1, copy, 0);
    const length = encoder.encode(before, words, page * TARGET_PAGE_BYTES);
    if (!keep || length <= 0) continue;
    records.push(encoder.record.slice(XBZRLE_PREFIX_BYTES, XBZRLE_PREFIX_BYTES + length));
  }
  return records;
}

/** A source's second and later passes: each changes all pages back or forth. */
function sourceRuns(): number[] {
  const ram = new RamIteration({ blocks: [after.toMemory()], dirtyLog: { kind: 'none' } });
  const pages = new XbzrlePages(nowhere(), ram, resolveMigrateOptions({ xbzrleCacheSizeBytes: 1 << 30 }));
  pages.start();
  const pass = () => {
    for (let page = 0; page < pageCount; page++) pages.addPage(0, page);
  };
  const now = after.bytes.slice();
  after.bytes.set(before);
  pass();
  const rates: number[] = [];
  for (let run = 0; run <= Number(values.runs); run++) {
    after.bytes.set(run % 2 === 0 ? now : before);
    rates.push(mibPerCpuSecond(pass));
  }
  after.bytes.set(now);
  return rates.slice(1);
}

function decodeAll(records: readonly Uint8Array[]): void {
  for (const [page, runs] of records.entries()) {
    if (decodeXbzrle(runs, 0, runs.length) >= 0) throw new Error('a record is wrong');
    decodeXbzrle(runs, 0, runs.length, view.bytesAround(page), view.startOf(page));
  }
}

/** Takes records as `MainPages` does, and drops them. */
function nowhere(): MainPageWriter {
  const buffer = Buffer.allocUnsafeSlow(2 * TARGET_PAGE_BYTES);
  return {
    normalPages: 0,
    zeroPages: 0,
    recordBytes: 0,
    isZero: () => false,
    nameBytes: () => 0,
    addPage: () => true,
    addZero: () => true,
    addRecord(_block, _page, _flag, from, at, length) {
      from.copy(buffer, 8, at, at + length);
      return true;
    },
    drained: () => Promise.resolve(),
    flush: () => {},
  };
}

function mibPerCpuSecond(action: () => void): number {
  const start = process.cpuUsage();
  action();
  const { user, system } = process.cpuUsage(start);
  return bytes / 2 ** 20 / ((user + system) / 1e6);
}

/** The first run is for the compiler. */
function median(action: () => void): number {
  return medianOf(Array.from({ length: Number(values.runs) + 1 }, () => mibPerCpuSecond(action)).slice(1));
}

function medianOf(rates: readonly number[]): number {
  return Math.round(rates.toSorted((a, b) => a - b)[Math.floor(rates.length / 2)]!);
}

function report(): void {
  if (values.json) {
    console.log(JSON.stringify(rows));
    return;
  }
  console.log(`${values.memory} MiB of pages, ${values.runs} runs, Node ${process.versions.node},`);
  console.log(`${availableParallelism()} CPUs: ${cpus()[0]?.model}\n`);
  console.log('| changes in each page | bytes of runs | encode | source | decode |');
  console.log('|---|---|---|---|---|');
  for (const { changes, bytesPerPage, encode, source, decode } of rows) {
    console.log(`| ${changes} | ${bytesPerPage} | ${encode} | ${source} | ${decode ?? ''} |`);
  }
}
