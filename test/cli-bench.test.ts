import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import type { BenchReport } from '../packages/cli/src/bench/report.ts';
import { Cli, type CliResult, jsonLines, lastEvent, runCli } from './lib/cli.ts';
import { findFixture, readImage } from './lib/fixtures.ts';

/** `pageferry bench` as a person or a script runs it. What the times are is not tested. */

const options = { timeout: 60_000 };
const folder = mkdtempSync(join(tmpdir(), 'pageferry-bench-'));
after(() => rmSync(folder, { recursive: true }));

const PAGE_BYTES = 4096;
/** 256 pages: 128 of text, 64 of noise, 64 zero. */
const image = join(folder, 'tiny <b> "quoted".raw');
writeFileSync(
  image,
  Buffer.concat([
    ...Array.from({ length: 128 }, (_, i) =>
      Buffer.alloc(PAGE_BYTES, `line ${i} of a log that repeats itself\n`),
    ),
    randomBytes(64 * PAGE_BYTES),
    Buffer.alloc(64 * PAGE_BYTES),
  ]),
);
/** As little as possible. */
const few = ['--quick', '--codec', 'none,zstd', '--threads', '1', '--link', '10G,1G'];

function reportOf(result: CliResult): BenchReport {
  assert.equal(result.code, 0, result.stderr);
  const last = lastEvent(result);
  assert.equal(last.event, 'report');
  return last.report as BenchReport;
}

test('--json: one report with everything in it', options, async () => {
  const result = await runCli('bench', image, ...few, '--level', '1', '--json');
  const report = reportOf(result);
  assert.equal(report.formatVersion, 1);
  const { input, guest, measurements, predictions, recommendations, regions } = report;
  assert.equal(input.kind, 'image');
  assert.deepEqual([input.pages, input.zeroPages, input.sampledPages], [256, 64, 192]);
  assert.equal(input.incompressibleShare, 64 / 192);
  assert.deepEqual([guest?.bytes, guest?.zeroBytes], [256 * PAGE_BYTES, 64 * PAGE_BYTES]);
  assert.deepEqual(
    regions.map(({ offsetBytes, zeroShare }) => [offsetBytes, zeroShare]),
    [
      [0, 0],
      [128 * PAGE_BYTES, 0.5],
    ],
  );
  assert.deepEqual(
    measurements.map(({ codec, level, threads, packetPages }) => [codec, level, threads, packetPages]),
    [
      ['none', undefined, 1, 128],
      ['zstd', 1, 1, 128],
    ],
  );
  assert.equal(measurements[0]!.ratio, 1);
  // Two thirds of the pages are text that shrinks to nothing.
  assert.ok(measurements[1]!.ratio > 2.5 && measurements[1]!.ratio < 3.1, String(measurements[1]!.ratio));
  assert.ok(measurements.every(({ pareto }) => pareto));
  assert.deepEqual(
    predictions.map(({ linkBitsPerSecond, measurement }) => [linkBitsPerSecond, measurement]),
    [
      [1e9, 0],
      [1e9, 1],
      [1e10, 0],
      [1e10, 1],
    ],
  );
  assert.deepEqual(
    recommendations.map(({ linkBitsPerSecond }) => linkBitsPerSecond),
    [1e9, 1e10],
  );
  assert.ok(report.transport !== undefined && report.transport.cpuSecondsPerGib > 0);
  const events = jsonLines(result.stdout).map(({ event }) => event);
  assert.deepEqual([...new Set(events)].sort(), ['progress', 'report']);
});

test('without --json: tables that fit 100 columns, and progress with an ETA on stderr', options, async () => {
  const { code, stdout, stderr } = await runCli('bench', '--memory', '4M', ...few);
  assert.equal(code, 0, stderr);
  for (const pattern of [
    /^input +a mix/m,
    /^zstd 1 /m,
    /^at 10 Gb\/s /m,
    /^Recommended$/m,
    /^ {2}1 Gb\/s /m,
  ]) {
    assert.match(stdout, pattern);
  }
  assert.deepEqual(
    stdout.split('\n').filter((line) => line.length > 100),
    [],
  );
  assert.match(stderr, /measuring 1 of 3: none.*ETA/);
});

/** Fields of a line of CSV (RFC 4180) without line breaks in them. */
function csvFields(line: string): string[] {
  return Array.from(line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g), (match) =>
    match[1] === undefined ? match[2]! : match[1].replaceAll('""', '"'),
  );
}

test('--csv: a row for each setting at each link speed, as a file and on stdout', options, async () => {
  const file = join(folder, 'report.csv');
  const toFile = await runCli('bench', image, ...few, '--csv', file, '--html', join(folder, 'report.html'));
  assert.equal(toFile.code, 0, toFile.stderr);
  assert.match(toFile.stderr, /written: .*report\.csv/);
  const toStdout = await runCli('bench', image, ...few, '--csv', '-');
  assert.match(toStdout.stderr, /^Recommended$/m);
  for (const text of [readFileSync(file, 'utf8'), toStdout.stdout]) {
    const [header, ...rows] = text.trimEnd().split('\r\n').map(csvFields);
    assert.equal(rows.length, 3 * 2);
    for (const row of rows) assert.equal(row.length, header!.length);
    const column = (name: string) => rows.map((row) => row[header!.indexOf(name)]);
    assert.deepEqual(column('codec'), ['none', 'none', 'zstd', 'zstd', 'zstd', 'zstd']);
    assert.deepEqual(column('level'), ['', '', '1', '1', '3', '3']);
    assert.deepEqual(column('link_bits_per_second').slice(0, 2), ['1000000000', '10000000000']);
    for (const name of ['ratio', 'compress_bytes_per_second', 'total_time_ms', 'downtime_ms', 'passes']) {
      for (const value of column(name)) assert.ok(Number(value) > 0, `${name}: ${value}`);
    }
    for (const value of column('converges')) assert.match(value!, /^(true|false)$/);
  }
  const html = readFileSync(join(folder, 'report.html'), 'utf8');
  assert.match(html, /^<!doctype html>/i);
  // The name of the input is text there, whatever is in it.
  assert.ok(html.includes('tiny &lt;b') && !html.includes('tiny <b>'));
  assert.equal(statSync(file).mode & 0o777, 0o666 & ~process.umask());
});

test('a capture of a QEMU, for a guest that is larger and busier', options, async () => {
  const capture = join(folder, 'vm.img');
  writeFileSync(capture, readImage(findFixture('10.0/mapped-ram'))!);
  const guest = [
    '--guest-memory',
    '8G',
    '--dirty-rate',
    '1G',
    '--working-set',
    '2G',
    '--downtime-limit',
    '50ms',
  ];
  const report = reportOf(await runCli('bench', capture, ...few, ...guest, '--json'));
  assert.equal(report.input.kind, 'capture');
  assert.ok(report.input.blocks.some(({ name, bytes }) => name === 'pc.ram' && bytes === 16 * 2 ** 20));
  const { bytes, workingSetBytes, downtimeLimitMs, dirtyBytesPerSecond } = report.guest!;
  assert.deepEqual([bytes, workingSetBytes, downtimeLimitMs], [2 ** 33, 2 ** 31, 50]);
  assert.equal(dirtyBytesPerSecond, 2 ** 30);
  const uncompressed = report.predictions.find(({ linkBitsPerSecond }) => linkBitsPerSecond === 1e9)!;
  // 1 GiB/s of dirty pages do not fit through 1 Gb/s; all of the working set is left in the end.
  assert.equal(uncompressed.converges, false);
  assert.equal(uncompressed.limitedBy, 'dirty-rate');
  assert.ok(uncompressed.downtimeMs > 10_000);
  assert.match(report.recommendations[0]!.reason, /./);
});

const wrong: [RegExp, ...string[]][] = [
  [/--codec.*one of none, lz4, zlib, zstd/, '--codec', 'gzip'],
  [/--level.*0 to 20/, '--level', '1,x'],
  [/this level.*15/, '--codec', 'zlib', '--level', '1,15'],
  [/--threads.*1 to 255/, '--threads', '0'],
  [/--packet-pages.*1 to 128/, '--packet-pages', '256'],
  [/--link.*10G/, '--link', '10G,fast'],
  [/--link.*10G/, '--link', '0'],
  [/this backend.*lz4-napi/, '--codec', 'zlib', '--backend', 'minizlib,lz4-napi'],
  [/--memory is for the generated mix/, image, '--memory', '64M'],
  [/multiple of 4096/, '--memory', '1000'],
  [/--kind is for an input/, '--kind', 'image'],
  [/both want stdout/, '--csv', '-', '--json'],
  [/working set is larger/, image, '--working-set', '1G', ...few],
];

for (const [pattern, ...args] of wrong) {
  test(`a usage error: bench ${args.slice(0, 4).join(' ').replace(folder, '')}`, options, async () => {
    const { code, stderr } = await runCli('bench', ...args);
    assert.equal(code, 2, stderr);
    assert.match(stderr, pattern);
  });
}

test('an input or a report that cannot be is told before anything is measured', options, async () => {
  const kdump = join(folder, 'kdump');
  writeFileSync(kdump, Buffer.from('KDUMP   '.padEnd(8192)));
  for (const [args, code, pattern] of [
    [[kdump], 'unsupported', /kdump-compressed/],
    [[join(folder, 'nowhere')], 'file-failed', /nowhere/],
    [[image, '--html', join(folder, 'no', 'folder.html')], 'file-failed', /folder\.html/],
    [[image, '--csv', folder], 'file-failed', /not a regular file/],
  ] as const) {
    const result = await runCli('bench', ...args, '--json');
    assert.equal(result.code, 1, result.stderr);
    assert.equal((lastEvent(result).error as { code: string }).code, code);
    assert.match(result.stderr, pattern);
  }
});

test('Ctrl-C ends it within a second, and leaves no report', options, async (t) => {
  const bench = new Cli(['bench', '--memory', '32M', '--html', join(folder, 'never.html'), '--json'], t);
  await bench.event('progress');
  const before = performance.now();
  bench.signal('SIGINT');
  const { code, stdout } = await bench.finished();
  assert.equal(code, 130);
  assert.ok(performance.now() - before < 1500);
  assert.equal((jsonLines(stdout).at(-1)!.error as { code: string }).code, 'cancelled');
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.includes('never')),
    [],
  );
});
