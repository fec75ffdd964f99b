import assert from 'node:assert/strict';
import test from 'node:test';
import {
  address,
  bytes,
  date,
  figure,
  link,
  percent,
  ratio,
  shorten,
  tick,
  time,
  truncate,
} from './figures.ts';

test('figures have three significant digits', () => {
  const cases: [number, string][] = [
    [0, '0'],
    [0.0213, '0.0213'],
    [2.047, '2.05'],
    [12.34, '12.3'],
    [99.96, '100'],
    [1983.6, '1,984'],
    [-1234567, '-1,234,567'],
    [1e-9, '1.0e-9'],
    [Number.NaN, '–'],
    [Number.POSITIVE_INFINITY, '–'],
  ];
  for (const [value, text] of cases) assert.equal(figure(value), text);
  assert.deepEqual([1, 0.5, 10, 2.5, 10_000].map(tick), ['1', '0.5', '10', '2.5', '10,000']);
});

test('units', () => {
  assert.deepEqual([1e8, 1e9, 2.5e9, 25e9, 1e12].map(link), [
    '100 Mb/s',
    '1 Gb/s',
    '2.5 Gb/s',
    '25 Gb/s',
    '1 Tb/s',
  ]);
  assert.deepEqual([0, 0.0312, 0.99951, 1, Number.NaN].map(percent), ['0 %', '3.1 %', '100 %', '100 %', '–']);
  assert.deepEqual([1, 2.055, 38.2, 512.4, undefined].map(ratio), ['1.00', '2.06', '38.20', '512', '–']);
  assert.deepEqual([0, 1536, 1.5 * 2 ** 30, 1088 * 2 ** 20].map(address), [
    '0 B',
    '1.5 KiB',
    '1.5 GiB',
    '1088 MiB',
  ]);
  assert.equal(address(4097), '4097 B');
  assert.equal(bytes(Number.NaN), '–');
  assert.equal(time(500 * 3_600_000), '20.8 days');
  assert.equal(time(Number.POSITIVE_INFINITY), '–');
});

test('dates and long names', () => {
  assert.equal(date('2025-11-23T03:12:45.000Z'), '2025-11-23 03:12 UTC');
  assert.equal(date('yesterday'), 'yesterday');
  assert.equal(shorten('abcdefghij', 6), 'abc…ij');
  assert.equal(shorten('abcdef', 6), 'abcdef');
  assert.equal(shorten('abcdef', 1), '…');
  assert.equal(truncate('abcdef', 4), 'abc…');
});
