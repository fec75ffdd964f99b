/**
 * The page channels alone, without an engine around them: how many MiB of guest RAM per second they carry
 * over loopback between two processes, and what that costs each side in CPU seconds.
 *
 *   node --conditions=pageferry-src bench/channels.ts [--compression none] [--backend B] [--channels 2]
 *     [--memory 512] [--rounds 4] [--content mixed|dense|zero] [--scatter] [--json]
 *
 * Both sides' RAM is touched beforehand. CPU seconds are per GiB of pages, RSS is beside the guest's RAM.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { CodecBackend, MultifdCompression } from '@pageferry/core/control';
import { RamBlock, TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { listen, parseUri, type SocketAddress } from '@pageferry/core/transport';
import { createThreadedPageReceiver } from '../packages/workers/src/channels/receiver.ts';
import { createThreadedPageSender } from '../packages/workers/src/channels/sender.ts';
import { generateContent } from './content.ts';

const { values } = parseArgs({
  options: {
    compression: { type: 'string', default: 'none' },
    backend: { type: 'string' },
    channels: { type: 'string', default: '2' },
    memory: { type: 'string', default: '512' },
    rounds: { type: 'string', default: '4' },
    level: { type: 'string', default: '1' },
    content: { type: 'string', default: 'mixed' },
    scatter: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    send: { type: 'string' },
  },
});
const compression = values.compression as MultifdCompression;
const backend = values.backend as CodecBackend | undefined;
const channels = Number(values.channels);
const rounds = Number(values.rounds);
const bytes = Number(values.memory) << 20;

interface SenderReport {
  cpuSeconds: number;
  wireBytes: number;
  stalledMs: number;
  peakRssMiB: number;
}

if (values.send === undefined) await receiver();
else await sender(values.send);

async function receiver(): Promise<void> {
  const block = RamBlock.allocate('pc.ram', bytes);
  block.bytes.fill(1);
  const address = parseUri('tcp:127.0.0.1:0');
  const listener = await listen(address, { backlog: channels + 1, firstBytesTimeoutMs: 10_000 });
  const pages = createThreadedPageReceiver({ channels, compression });
  const child = fork(import.meta.filename, [...process.argv.slice(2), `--send=${listener.address}`]);
  for (let i = 0; i < channels; i++) {
    const accepted = await listener.accept();
    if (accepted.kind !== 'multifd') throw new Error(`unexpected connection: ${accepted.kind}`);
    await pages.adopt(accepted.channel, accepted.connection);
  }
  const reported = reportOf(child);
  pages.setBlocks([block]);
  await pages.synced();
  const cpu = process.cpuUsage();
  const start = performance.now();
  const roundMs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const before = performance.now();
    pages.release();
    await pages.synced();
    roundMs.push(performance.now() - before);
  }
  const seconds = (performance.now() - start) / 1000;
  const used = process.cpuUsage(cpu);
  const report = await reported;
  pages.release();
  await pages.close();
  await listener.close();
  const mib = (bytes * rounds) / 2 ** 20;
  const result = {
    compression,
    channels,
    mibPerSecond: Math.round(mib / seconds),
    bestMibPerSecond: Math.round(bytes / 2 ** 20 / (Math.min(...roundMs) / 1000)),
    receiverCpuSecondsPerGiB: round3(((used.user + used.system) / 1e6 / mib) * 1024),
    senderCpuSecondsPerGiB: round3((report.cpuSeconds / mib) * 1024),
    ratio: round3((bytes * rounds) / report.wireBytes),
    senderStalledMs: Math.round(report.stalledMs),
    receiverStalledMs: Math.round(pages.stats().reduce((sum, { stalledMs }) => sum + stalledMs, 0)),
    receiverPeakRssMiB: peakRssMiB(),
    senderPeakRssMiB: report.peakRssMiB,
  };
  if (values.json) console.log(JSON.stringify(result));
  else console.table(result);
}

async function sender(uri: string): Promise<void> {
  const block = RamBlock.allocate('pc.ram', bytes);
  fill(block);
  const pages = createThreadedPageSender({
    address: parseUri(uri) as SocketAddress,
    channels,
    compression,
    backend,
    zlibLevel: Number(values.level),
    zstdLevel: Number(values.level),
    zeroPagesInPackets: true,
    connectTimeoutMs: 5000,
  });
  await pages.open([block]);
  await pages.sync();
  await pages.flushed();
  const cpu = process.cpuUsage();
  const list = new Uint32Array(pages.pagesPerSubmit);
  for (let round = 0; round < rounds; round++) {
    for (let first = 0; first < block.pageCount; first += list.length) {
      const count = Math.min(list.length, block.pageCount - first);
      // Scattered: the even pages of 256, then the odd ones.
      for (let i = 0; i < count; i++)
        list[i] = values.scatter ? (first & ~255) + 2 * i + ((first >> 7) & 1) : first + i;
      while (!pages.submit(0, list, count)) await pages.drained();
    }
    await pages.sync();
  }
  await pages.flushed();
  const used = process.cpuUsage(cpu);
  const stats = pages.stats();
  const report: SenderReport = {
    cpuSeconds: (used.user + used.system) / 1e6,
    wireBytes: stats.reduce((sum, channel) => sum + channel.bytes, 0),
    stalledMs: stats.reduce((sum, channel) => sum + channel.stalledMs, 0),
    peakRssMiB: peakRssMiB(),
  };
  process.send!(report);
  await pages.close();
  process.disconnect();
}

function fill(block: RamBlock): void {
  if (values.content === 'zero') return;
  const folder = mkdtempSync('/dev/shm/pageferry-channels-');
  try {
    const file = openSync(generateContent(join(folder, 'content'), bytes).path, 'r');
    for (let at = 0; at < bytes; ) at += readSync(file, block.bytes, at, Math.min(1 << 20, bytes - at), at);
    closeSync(file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  // No page is zero: all of them travel.
  if (values.content === 'dense') for (let at = 0; at < bytes; at += TARGET_PAGE_BYTES) block.bytes[at] = 1;
}

function reportOf(child: ChildProcess): Promise<SenderReport> {
  return new Promise((resolve, reject) => {
    child.once('message', (message) => resolve(message as SenderReport));
    child.once('exit', (code) => reject(new Error(`the sender ended with ${code}`)));
  });
}

/** Beside the guest's RAM. */
function peakRssMiB(): number {
  return Math.round((process.resourceUsage().maxRSS * 1024 - bytes) / 2 ** 20);
}

function round3(value: number): number {
  return Math.round(value * 1000) / 1000;
}
