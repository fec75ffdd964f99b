/**
 * What each codec backend costs, on pages as a guest's memory holds them: MiB of pages per CPU second, in
 * either direction, and the ratio. CPU time of the whole process is counted, so that a backend that works on
 * other threads gains nothing by it. All variants take turns; the table shows medians.
 *
 *   node --conditions=pageferry-src bench/codecs.ts [--memory 64] [--runs 5] [--only zstd] [--levels] [--json]
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { constants } from 'node:zlib';
import { isZeroPage } from '@pageferry/core/memory';
import {
  PACKET_PAGES_BYTES,
  type PageCompressor,
  type PageDecompressor,
} from '../packages/workers/src/codecs/codec.ts';
import {
  createZlibCompressor,
  createZlibDecompressor,
  createZstdCompressor,
  createZstdDecompressor,
} from '../packages/workers/src/codecs/minizlib.ts';
import { NativeStream } from '../packages/workers/src/codecs/native-stream.ts';
import { CODECS, createCompressor, createDecompressor } from '../packages/workers/src/codecs/registry.ts';
import { generateContent } from './content.ts';

const PAGE_BYTES = 4096;
const PAYLOAD_LIMIT_BYTES = 1 << 20;

interface Variant {
  name: string;
  compressor(): Promise<PageCompressor> | PageCompressor;
  decompressors: { name: string; create(): Promise<PageDecompressor> | PageDecompressor }[];
}

interface Measured {
  bytes: number;
  cpuSeconds: number;
}

const { values } = parseArgs({
  options: {
    memory: { type: 'string', default: '64' },
    runs: { type: 'string', default: '5' },
    only: { type: 'string', default: '' },
    levels: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});

const packets = contentPackets(Number(values.memory) << 20);
const variants = listVariants().filter(({ name }) => name.startsWith(values.only));
const results = new Map<string, { mibPerCpuSecond: number[]; ratio: number }>();
for (let run = 0; run <= Number(values.runs); run++) {
  for (const variant of variants) await measure(variant, run > 0);
}
report();

/** Packets of pages without the zero ones: those never reach a codec. */
function contentPackets(bytes: number): Buffer[] {
  const folder = mkdtempSync('/dev/shm/pageferry-codecs-');
  try {
    const all = readFileSync(generateContent(join(folder, 'content'), bytes).path);
    const pages: Buffer[] = [];
    for (let at = 0; at < all.length; at += PAGE_BYTES) {
      if (!isZeroPage(all, at)) pages.push(all.subarray(at, at + PAGE_BYTES));
    }
    const perPacket = PACKET_PAGES_BYTES / PAGE_BYTES;
    const packets: Buffer[] = [];
    for (let i = 0; i + perPacket <= pages.length; i += perPacket) {
      packets.push(Buffer.concat(pages.slice(i, i + perPacket)));
    }
    return packets;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function listVariants(): Variant[] {
  const list: Variant[] = [];
  for (const codec of Object.values(CODECS)) {
    const more = values.levels
      ? codec.name === 'zlib'
        ? [6, 9]
        : codec.name === 'zstd'
          ? [3, 9, 19]
          : []
      : [];
    for (const level of [1, ...more]) {
      for (const backend of codec.compressBackends) {
        list.push({
          name: `${codec.name}${codec.levels ? ` ${level}` : ''}, ${backend}`,
          compressor: async () => (await createCompressor(codec, level, backend))!,
          decompressors: codec.decompressBackends.map((name) => ({
            name,
            create: async () => (await createDecompressor(codec, name))!,
          })),
        });
      }
    }
  }
  // Variants of minizlib that were considered.
  list.push({
    name: 'zlib 1, minizlib through its own write',
    compressor: () => createZlibCompressor(1, false),
    decompressors: [{ name: 'the same', create: () => createZlibDecompressor(false) }],
  });
  list.push({
    name: 'zlib 1, minizlib with memLevel 8',
    compressor: () => withMemLevel8(),
    decompressors: [],
  });
  list.push({
    name: 'zstd 1, minizlib through its own write',
    compressor: () => createZstdCompressor(1, false),
    decompressors: [{ name: 'the same', create: () => createZstdDecompressor(false) }],
  });
  return list;
}

function withMemLevel8(): PageCompressor {
  const options = {
    flush: constants.Z_SYNC_FLUSH,
    maxOutputLength: PAYLOAD_LIMIT_BYTES,
    level: 1,
    memLevel: 8,
  };
  const stream = new NativeStream('deflate', options);
  return {
    concurrency: 1,
    compress(pages, target) {
      stream.step(pages, 0, target, 0);
      return target.subarray(0, stream.produced);
    },
    close: () => stream.close(),
  };
}

async function measure(variant: Variant, counts: boolean): Promise<void> {
  const payloads: Uint8Array[] = [];
  const compressor = await variant.compressor();
  const compressed = await cpuTime(() => compressAll(compressor, payloads));
  compressor.close();
  const wireBytes = payloads.reduce((sum, payload) => sum + payload.length, 0);
  if (counts) record(`${variant.name} | compress`, compressed, compressed.bytes / wireBytes);
  for (const { name, create } of variant.decompressors) {
    const decompressor = await create();
    const got = await cpuTime(() => decompressAll(decompressor, payloads));
    decompressor.close();
    if (counts) record(`${variant.name} | decompress by ${name}`, got, compressed.bytes / wireBytes);
  }
}

async function compressAll(compressor: PageCompressor, payloads: Uint8Array[]): Promise<void> {
  const targets = Array.from({ length: compressor.concurrency }, () => new Uint8Array(PAYLOAD_LIMIT_BYTES));
  if (compressor.concurrency === 1) {
    for (const pages of packets)
      payloads.push(Uint8Array.from(compressor.compress(pages, targets[0]!) as Uint8Array));
    return;
  }
  let next = 0;
  await Promise.all(
    targets.map(async (target) => {
      while (next < packets.length) {
        const index = next++;
        payloads[index] = Uint8Array.from(await compressor.compress(packets[index]!, target));
      }
    }),
  );
}

function decompressAll(decompressor: PageDecompressor, payloads: Uint8Array[]): Promise<void> {
  for (const [i, payload] of payloads.entries()) {
    const pages = decompressor.decompress(payload, PACKET_PAGES_BYTES, { channel: 'bench', offset: 0 });
    if (Buffer.compare(pages, packets[i]!) !== 0) throw new Error('the pages are not the same');
  }
  return Promise.resolve();
}

async function cpuTime(action: () => Promise<void>): Promise<Measured> {
  const before = process.cpuUsage();
  await action();
  const { user, system } = process.cpuUsage(before);
  return { bytes: packets.length * PACKET_PAGES_BYTES, cpuSeconds: (user + system) / 1e6 };
}

function record(name: string, { bytes, cpuSeconds }: Measured, ratio: number): void {
  const entry = results.get(name) ?? { mibPerCpuSecond: [], ratio };
  entry.mibPerCpuSecond.push(bytes / 2 ** 20 / cpuSeconds);
  results.set(name, entry);
}

function report(): void {
  const rows = [...results].map(([name, { mibPerCpuSecond, ratio }]) => {
    const sorted = mibPerCpuSecond.toSorted((a, b) => a - b);
    const at = (share: number) => Math.round(sorted[Math.round(share * (sorted.length - 1))]!);
    const [variant, direction] = name.split(' | ') as [string, string];
    return { variant, direction, median: at(0.5), least: at(0), most: at(1), ratio: ratio.toFixed(2) };
  });
  if (values.json) {
    console.log(JSON.stringify(rows));
    return;
  }
  const mib = (packets.length * PACKET_PAGES_BYTES) / 2 ** 20;
  console.log(
    `${mib} MiB of pages, ${values.runs} runs, Node ${process.versions.node}, zstd ${process.versions.zstd},`,
  );
  console.log(`zlib ${process.versions.zlib}, ${availableParallelism()} CPUs: ${cpus()[0]?.model}\n`);
  console.log('| codec, level, backend | direction | MiB per CPU second | least .. most | ratio |');
  console.log('|---|---|---|---|---|');
  for (const { variant, direction, median, least, most, ratio } of rows) {
    console.log(`| ${variant} | ${direction} | ${median} | ${least} .. ${most} | ${ratio} |`);
  }
}
