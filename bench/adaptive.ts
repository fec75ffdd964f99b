/**
 * `--multifd-compression adaptive` beside every fixed setting, at links of different speeds: a pageferry process
 * to another over loopback, limited by `max-bandwidth`, the same content for all, in turns, with prepared engines.
 *
 *   node --conditions=pageferry-src bench/adaptive.ts [--links 0.1,0.25,0.5,1,2.5,5,10,25] [--runs 3]
 *     [--settings none,lz4,zstd-1,zstd-3,zstd-6,zstd-9] [--channels 2] [--seconds 2] [--image FILE] [--json]
 *
 * `--links` in Gb/s, 0 is no limit. `--seconds`: how long a run should take; the guest's memory is chosen by it.
 * `--image`: a raw memory image instead of the generated content. The rate counts non-zero pages, from the first
 * page on (set-up left out). The best fixed setting of a link is the one with the highest median; one that is far
 * behind in a short run of its own takes no part at that link.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { crc32 } from 'node:zlib';
import type { MigrateOptions, MultifdCompression, ReceiveOptions } from '@pageferry/core/control';
import type { Guest, IncomingGuest } from '@pageferry/core/guest';
import { isZeroPage, RamBlock, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { migrate, prepareEngine, receive } from '@pageferry/workers';
import { generateContent } from './content.ts';

const { values } = parseArgs({
  options: {
    links: { type: 'string', default: '0.1,0.25,0.5,1,2.5,5,10,25' },
    settings: { type: 'string', default: 'none,lz4,zstd-1,zstd-3,zstd-6,zstd-9' },
    runs: { type: 'string', default: '3' },
    channels: { type: 'string', default: '2' },
    seconds: { type: 'string', default: '2' },
    image: { type: 'string' },
    json: { type: 'boolean', default: false },
    destination: { type: 'string' },
  },
});

const ADAPTIVE = 'adaptive';
const MIB = 2 ** 20;
/** A fixed setting with less than this share of the best one's rate in a short run takes no further part. */
const HOPELESS = 0.6;
const LEAST_BYTES = 64 * MIB;
const MOST_BYTES = 1024 * MIB;
/** How much faster than the link the best setting is expected to be, at most. */
const BEST_RATIO = 2.5;
const NO_DEVICES = Buffer.from('{"page_size": 4096, "devices": []}');

type DestinationMessage =
  | { type: 'uri'; uri: string }
  | { type: 'done'; crc: number }
  | { type: 'failed'; message: string };

interface DestinationRequest {
  readonly bytes: number;
  readonly options: ReceiveOptions;
}

interface Run {
  readonly linkGbps: number;
  readonly setting: string;
  /** Non-zero pages. */
  readonly mibPerSecond: number;
  readonly totalMs: number;
  readonly setupMs: number;
  readonly wireBytes: number;
}

/** The other process: receives one migration after the other into the same memory. */
function serveDestination(bytes: number): void {
  const block = RamBlock.allocate('pc.ram', bytes);
  block.bytes.fill(1);
  process.on('message', (request: DestinationRequest) => {
    receiveOne(block, request).catch((error) => tell({ type: 'failed', message: String(error) }));
  });
  process.once('disconnect', () => process.exit());
}

async function receiveOne(all: RamBlock, { bytes, options }: DestinationRequest): Promise<void> {
  const block = new RamBlock({ ...all.toMemory(), usedLengthBytes: bytes });
  block.bytes.fill(0);
  const guest: IncomingGuest = {
    prepare: async () => ({ blocks: [block.toMemory()], dirtyLog: { kind: 'none' } }),
    load: async () => {},
    start: async () => false,
    discard: async () => {},
  };
  const engine = prepareEngine({ ...options, direction: 'incoming' });
  await engine.ready;
  const reception = receive('tcp:127.0.0.1:0', { ...options, guest, engine });
  tell({ type: 'uri', uri: await reception.listening });
  await reception.result;
  tell({ type: 'done', crc: crc32(block.bytes) });
}

function tell(message: DestinationMessage): void {
  process.send?.(message);
}

async function measure(): Promise<void> {
  const links = values.links.split(',').map(Number);
  const settings = [...values.settings.split(','), ADAPTIVE];
  const source = readSource(Math.max(...links.map(memoryFor)));
  const destination = fork(import.meta.filename, [`--destination=${source.usedLengthBytes}`]);
  const runs: Run[] = [];
  for (const linkGbps of links) {
    const warmUp = new Pair(destination, source, Math.min(source.usedLengthBytes, LEAST_BYTES));
    const pair = new Pair(destination, source, Math.min(source.usedLengthBytes, memoryFor(linkGbps)));
    const taking = await contenders(settings, (setting) => warmUp.migrate(linkGbps, setting));
    for (let run = 0; run < Number(values.runs); run++) {
      // Who goes first changes, so that nobody always follows the same one.
      for (let i = 0; i < taking.length; i++) {
        const one = await pair.migrate(linkGbps, taking[(i + run) % taking.length]!);
        runs.push(one);
        console.error(describe(one));
      }
    }
  }
  destination.disconnect();
  const table = summarize(links, settings, runs);
  if (values.json) console.log(JSON.stringify({ channels: Number(values.channels), runs, table }));
  else print(table, settings);
}

/** Adaptive, and the fixed settings that can be the best: one short run each, which nothing else counts. */
async function contenders(
  settings: readonly string[],
  run: (setting: string) => Promise<Run>,
): Promise<string[]> {
  const first: Run[] = [];
  for (const setting of settings) first.push(await run(setting));
  const best = Math.max(...first.map((run) => (run.setting === ADAPTIVE ? 0 : run.mibPerSecond)));
  return first
    .filter(({ setting, mibPerSecond }) => setting === ADAPTIVE || mibPerSecond > HOPELESS * best)
    .map(({ setting }) => setting);
}

function describe({ linkGbps, setting, mibPerSecond, totalMs, setupMs, wireBytes }: Run): string {
  const sent = (wireBytes / MIB).toFixed(1);
  const times = `${totalMs.toFixed(0)} ms (set-up ${setupMs.toFixed(0)})`;
  return `${linkGbps} Gb/s ${setting}: ${mibPerSecond.toFixed(1)} MiB/s, ${times}, ${sent} MiB sent`;
}

/** This process as the source, the other one as the destination, of the first bytes of the source's memory. */
class Pair {
  readonly #destination: ChildProcess;
  readonly #block: RamBlock;
  readonly #crc: number;
  readonly #nonZeroBytes: number;

  constructor(destination: ChildProcess, source: RamBlock, bytes: number) {
    this.#destination = destination;
    this.#block = new RamBlock({ ...source.toMemory(), usedLengthBytes: bytes });
    this.#crc = crc32(this.#block.bytes);
    this.#nonZeroBytes = countNonZero(this.#block.bytes);
  }

  async migrate(linkGbps: number, setting: string): Promise<Run> {
    const { receiveOptions, migrateOptions } = optionsOf(linkGbps, setting);
    const listening = nextMessage(this.#destination, 'uri');
    const request: DestinationRequest = { bytes: this.#block.usedLengthBytes, options: receiveOptions };
    this.#destination.send(request);
    const engine = prepareEngine({ ...migrateOptions, direction: 'outgoing' });
    const [{ uri }] = await Promise.all([listening, engine.ready]);
    const done = nextMessage(this.#destination, 'done');
    const { result } = migrate(guestOf(this.#block), uri, { ...migrateOptions, engine });
    const [{ totalTimeMs, setupTimeMs, ram }, { crc }] = await Promise.all([result, done]);
    if (crc !== this.#crc) throw new Error(`${setting} at ${linkGbps} Gb/s: the memory is not the same`);
    return {
      linkGbps,
      setting,
      mibPerSecond: this.#nonZeroBytes / MIB / ((totalTimeMs - setupTimeMs) / 1000),
      totalMs: totalTimeMs,
      setupMs: setupTimeMs,
      wireBytes: ram.transferred,
    };
  }
}

function optionsOf(linkGbps: number, setting: string) {
  const [multifdCompression, levelText] = setting.split('-') as [MultifdCompression, string | undefined];
  const receiveOptions: ReceiveOptions = {
    multifd: true,
    multifdChannels: Number(values.channels),
    multifdCompression,
  };
  const migrateOptions: MigrateOptions = {
    ...receiveOptions,
    maxBandwidthBytesPerSecond: Math.round((linkGbps * 1e9) / 8),
    // Pages within the downtime limit are sent without the limit of the link.
    downtimeLimitMs: 1,
  };
  const level = levelText === undefined ? undefined : Number(levelText);
  if (multifdCompression === 'zstd' && level !== undefined) migrateOptions.multifdZstdLevel = level;
  if (multifdCompression === 'zlib' && level !== undefined) migrateOptions.multifdZlibLevel = level;
  return { receiveOptions, migrateOptions };
}

function guestOf(block: RamBlock): Guest {
  return {
    machine: 'pc-i440fx-10.0',
    ramSectionId: 2,
    memory: { blocks: [block.toMemory()], dirtyLog: { kind: 'none' } },
    // Without a description a destination cannot tell that the stream is over.
    saveDeviceState: async () => ({ early: [], sections: [], vmdesc: NO_DEVICES }),
    inactivate: async () => {},
    activate: async () => {},
  };
}

function nextMessage<T extends DestinationMessage['type']>(
  child: ChildProcess,
  type: T,
): Promise<Extract<DestinationMessage, { type: T }>> {
  return new Promise((resolve, reject) => {
    const gone = () => reject(new Error('the destination process ended early'));
    child.once('exit', gone);
    child.once('message', (message: DestinationMessage) => {
      child.off('exit', gone);
      if (message.type === type) resolve(message as Extract<DestinationMessage, { type: T }>);
      else reject(new Error(message.type === 'failed' ? message.message : `unexpected ${message.type}`));
    });
  });
}

/** The guest's memory for a link, so that a run takes about as long as asked. */
function memoryFor(linkGbps: number): number {
  const bytesPerSecond = linkGbps === 0 ? Number.POSITIVE_INFINITY : (linkGbps * 1e9) / 8;
  const bytes = bytesPerSecond * BEST_RATIO * Number(values.seconds);
  return Math.floor(Math.min(MOST_BYTES, Math.max(LEAST_BYTES, bytes)) / MIB) * MIB;
}

function readSource(wantedBytes: number): RamBlock {
  const folder = mkdtempSync('/dev/shm/pageferry-adaptive-');
  try {
    const path = values.image ?? generateContent(join(folder, 'content'), wantedBytes).path;
    const file = openSync(path, 'r');
    const size =
      Math.floor(Math.min(wantedBytes, fstatSync(file).size) / TARGET_PAGE_BYTES) * TARGET_PAGE_BYTES;
    const source = RamBlock.allocate('pc.ram', size);
    for (let at = 0; at < size; ) at += readSync(file, source.bytes, at, Math.min(MIB, size - at), at);
    closeSync(file);
    return source;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function countNonZero(memory: Uint8Array): number {
  let count = 0;
  for (let at = 0; at < memory.length; at += TARGET_PAGE_BYTES)
    if (!isZeroPage(memory, at)) count += TARGET_PAGE_BYTES;
  return count;
}

interface Row {
  readonly linkGbps: number;
  /** Medians, MiB/s, of the settings that took part. */
  readonly rates: Record<string, number>;
  readonly bestFixed: string;
  /** adaptive : best fixed setting. */
  readonly relative: number;
}

function summarize(links: readonly number[], settings: readonly string[], runs: readonly Run[]): Row[] {
  return links.map((linkGbps) => {
    const rates: Record<string, number> = {};
    for (const setting of settings) {
      const own = runs.filter((run) => run.linkGbps === linkGbps && run.setting === setting);
      if (own.length > 0) rates[setting] = median(own.map((run) => run.mibPerSecond));
    }
    const fixed = Object.keys(rates).filter((setting) => setting !== ADAPTIVE);
    const bestFixed = fixed.reduce((best, setting) => (rates[setting]! > rates[best]! ? setting : best));
    return { linkGbps, rates, bestFixed, relative: rates[ADAPTIVE]! / rates[bestFixed]! };
  });
}

function median(numbers: number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
}

function print(table: readonly Row[], settings: readonly string[]): void {
  console.log(`MiB/s of non-zero pages, medians of ${values.runs} runs, ${values.channels} channels\n`);
  console.log(`| link, Gb/s | ${settings.join(' | ')} | adaptive : best fixed | |`);
  console.log(`|---|${settings.map(() => '---|').join('')}---|---|`);
  for (const { linkGbps, rates, bestFixed, relative } of table) {
    const cells = settings.map((setting) => {
      const rate = rates[setting];
      if (rate === undefined) return '';
      const text = rate.toFixed(rate < 100 ? 1 : 0);
      return setting === bestFixed ? `**${text}**` : text;
    });
    // The curve: 20 marks are the best fixed setting.
    const mark = '#'.repeat(Math.max(0, Math.round(relative * 20)));
    console.log(`| ${linkGbps} | ${cells.join(' | ')} | ${relative.toFixed(3)} | \`${mark}\` |`);
  }
}

if (values.destination === undefined) await measure();
else serveDestination(Number(values.destination));
