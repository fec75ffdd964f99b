import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { firstDifference } from '../bench/qemu/compare-ram.ts';
import { heartbeatGaps } from '../bench/qemu/heartbeat.ts';
import type { Run } from '../bench/qemu/measure.ts';
import { rowsOf } from '../bench/qemu/modes.ts';
import { parseOptions, UsageError } from '../bench/qemu/options.ts';
import { summarize } from '../bench/qemu/summary.ts';
import { formatTable } from '../bench/qemu/table.ts';
import { CpioType, CpioWriter } from '../scripts/linux-guest/cpio.ts';
import { TemporaryFolder } from './lib/capture-files.ts';

const beats = (...pairs: [number, number][]) => pairs.map(([atMs, value]) => ({ atMs, value }));

test("a guest's gaps are told apart: its pace, its longest one, the switch, and what came after the last page", () => {
  const source = beats([0, 1], [2, 2], [4, 3], [16, 4], [18, 5]);
  const destination = beats([10, 0], [12, 2], [20, 5], [25, 6], [27, 7]);
  assert.deepEqual(heartbeatGaps(source, destination, 4), {
    longestGapMs: 12,
    switchGapMs: 7,
    afterLastPageMs: 5,
    usualGapMs: 2,
  });
  const unseen = heartbeatGaps(source, beats([12, 2], [25, 6]), 4);
  assert.equal(unseen.afterLastPageMs, undefined);
  assert.equal(unseen.switchGapMs, 7);
  assert.throws(() => heartbeatGaps(source, beats([12, 2], [20, 5]), 4), /no heartbeat/);
});

test('what is measured: every pair of a still guest, one engine alone for files and running guests', () => {
  const rows = rowsOf(
    ['none', 'plain', 'mapped-ram', 'idle'],
    [1, 4],
    ['qemu-qemu', 'qemu-pageferry', 'pageferry-pageferry'],
  );
  const of = (name: string) => rows.filter((row) => row.name === name).map((row) => [row.channels, row.pair]);
  assert.equal(of('none').length, 6);
  assert.deepEqual(of('plain'), [
    [undefined, 'qemu-qemu'],
    [undefined, 'qemu-pageferry'],
    [undefined, 'pageferry-pageferry'],
  ]);
  const alone = [1, 4].flatMap((channels) => [
    [channels, 'qemu-qemu'],
    [channels, 'pageferry-pageferry'],
  ]);
  assert.deepEqual(of('mapped-ram'), alone);
  assert.deepEqual(of('idle'), alone);
});

function run(wallMs: number, setupMs: number): Run {
  const source = { userSeconds: 1, systemSeconds: 0.5, peakBesideRamBytes: 2 ** 20 };
  const report = { wallMs, totalMs: wallMs, setupMs, downtimeMs: 1, transferredBytes: 2 ** 20 };
  return { ...report, nonZeroBytes: 2 ** 30, source, destination: source };
}

test('pairs are compared run by run, and a run that failed is compared with none', () => {
  const [theirs, ours] = rowsOf(['none'], [2], ['qemu-qemu', 'pageferry-pageferry']);
  const [first, second] = summarize([
    { row: theirs!, runs: [run(1000, 1), run(4000, 1), run(500, 1)] },
    { row: ours!, runs: [run(500, 11), undefined, run(500, 21)] },
  ]);
  assert.deepEqual(first!.comparison, {});
  assert.deepEqual(first!.summary['MiB/s of non-zero pages'], { median: 1024, min: 256, max: 2048 });
  assert.equal(second!.failedRuns, 1);
  assert.deepEqual(second!.comparison['MiB/s of non-zero pages'], { median: 1.5, min: 1, max: 2 });
  assert.deepEqual(second!.comparison['set-up ms'], { median: 15, min: 10, max: 20 });
  assert.deepEqual(second!.summary['CPU s per GiB'], { median: 3, min: 3, max: 3 });
  assert.equal(second!.summary['longest gap ms'], undefined);
});

test('the command line is checked', () => {
  const options = parseOptions(['--memory', '256M', '--channels', '1,2,2', '--modes', 'none,plain']);
  assert.equal(options.memoryBytes, 2 ** 28);
  assert.deepEqual(options.channels, [1, 2]);
  assert.deepEqual(options.modes, ['none', 'plain']);
  for (const wrong of [
    '--memory=1',
    '--channels=0',
    '--modes=compress',
    '--guest=windows',
    '--runs=x',
    '--x',
  ]) {
    assert.throws(() => parseOptions([wrong]), UsageError, wrong);
  }
});

test('the first byte that differs from an image is found', async () => {
  await using folder = await TemporaryFolder.create();
  const path = join(folder.path, 'image');
  const image = Buffer.alloc(5 << 20, 7);
  writeFileSync(path, image);
  const found = Buffer.from(image);
  const chunkAt = (at: number, bytes: number) => found.subarray(at, at + bytes);
  assert.equal(firstDifference(path, chunkAt), -1);
  found[4_500_000] = 8;
  assert.equal(firstDifference(path, chunkAt), 4_500_000);
});

test('a table keeps its columns', () => {
  assert.equal(
    formatTable([
      ['mode', 'MiB/s'],
      ['none', '12'],
      ['zlib1', '3'],
    ])
      .split('\n')
      .join(),
    ['| mode  | MiB/s |', '|-------|------:|', '| none  |    12 |', '| zlib1 |     3 |'].join(),
  );
});

test('an initramfs entry has its header, name and data at multiples of four', async () => {
  await using folder = await TemporaryFolder.create();
  const path = join(folder.path, 'cpio');
  {
    using cpio = new CpioWriter(path);
    cpio.add('ab', CpioType.file | 0o644, Buffer.from('hello'));
    cpio.end();
  }
  const text = readFileSync(path, 'latin1');
  const fields = ['00000001', '000081a4', ...Array(2).fill('00000000'), '00000001', '00000000', '00000005'];
  const rest = [...Array(4).fill('00000000'), '00000003', '00000000'];
  const entry = `070701${fields.join('')}${rest.join('')}ab\0`.padEnd(116, '\0');
  assert.equal(text.slice(0, 124), `${entry}hello\0\0\0`);
  assert.match(text.slice(124), /^070701.*TRAILER!!!\0+$/);
  assert.equal(text.length % 4, 0);
});
