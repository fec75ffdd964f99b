/**
 * Pageferry to pageferry, and QEMU 10.0 to QEMU 10.0, over loopback with the same RAM content, in turns:
 * a machine's speed changes from minute to minute, so only ratios of one run mean something.
 *   npm run bench -- [--runs 5] [--memory 1G] [--channels 2] [--only zstd] [--built] [--json]
 * With --built pageferry runs from `dist` (npm run build), as installed packages do.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { findQemu } from '../test/lib/find-qemus.ts';
import { generateContent } from './content.ts';
import { benchPageferryPair } from './pageferry-pair.ts';
import { benchQemuPair } from './qemu-pair.ts';
import { formatSummary, type Summary, summarize } from './report.ts';
import type { BenchConfig, BenchRun } from './run.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    memory: { type: 'string', default: '1G' },
    channels: { type: 'string', default: '2' },
    only: { type: 'string', multiple: true, default: ['none', 'zlib', 'zstd'] },
    built: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});

function parseSize(text: string): number {
  const match = /^(\d+)([MG])$/.exec(text);
  if (!match) throw new Error(`--memory is a number of MiB or GiB such as 512M or 2G, not ${text}`);
  return Number(match[1]) * (match[2] === 'G' ? 2 ** 30 : 2 ** 20);
}

function parseCount(name: string, text: string): number {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new Error(`--${name} is a small number, not ${text}`);
  return Number(text);
}

function isCompression(text: string): text is BenchConfig['compression'] {
  return text === 'none' || text === 'zlib' || text === 'zstd';
}

const runs = parseCount('runs', values.runs);
const channels = parseCount('channels', values.channels);
const compressions = values.only.filter(isCompression);
if (compressions.length !== values.only.length) throw new Error('--only takes none, zlib and zstd');
const { missing } = findQemu('10.0');
if (missing !== undefined) console.error(`QEMU's half is left out: ${missing}`);
const pageferry = (config: BenchConfig) => benchPageferryPair(config, values.built);
const engines = missing === undefined ? [benchQemuPair, pageferry] : [pageferry];

// Content and destination RAM are memory: a disk has no part in what is measured.
const folder = mkdtempSync('/dev/shm/pageferry-bench-');
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
process.once('SIGINT', () => process.exit(130));
const content = generateContent(join(folder, 'content'), parseSize(values.memory));

const all: BenchRun[] = [];
for (let run = 0; run < runs; run++) {
  for (const compression of compressions) {
    // Who goes first changes, so that neither always follows the other's heat.
    for (const bench of run % 2 === 0 ? engines : engines.toReversed()) {
      const result = await bench({ compression, channels, content });
      all.push(result);
      console.error(
        `run ${run + 1}/${runs} ${compression} ${result.engine}: ${result.totalMs.toFixed(0)} ms, ` +
          `downtime ${result.downtimeMs.toFixed(0)} ms`,
      );
    }
  }
}

const summaries: Summary[] = compressions.map((compression) => summarize(compression, all));
console.log(values.json ? JSON.stringify({ content, runs: all, summaries }) : formatSummary(summaries));
