import assert from 'node:assert/strict';
import test from 'node:test';
import { formatBytes, formatCount, formatTable, formatTime } from './format.ts';

test('bytes have three significant digits', () => {
  const expected = new Map([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '0.98 KiB'],
    [1536, '1.50 KiB'],
    [10 * 2 ** 20, '10.0 MiB'],
    [512 * 2 ** 20, '512 MiB'],
    [2 ** 40, '1.00 TiB'],
  ]);
  for (const [bytes, text] of expected) assert.equal(formatBytes(bytes), text);
});

test('times go from fractions of a millisecond to hours', () => {
  const expected = new Map([
    [0, '0.00 ms'],
    [0.42, '0.42 ms'],
    [0.996, '1.0 ms'],
    [9.96, '10 ms'],
    [42.4, '42 ms'],
    [999.7, '1.0 s'],
    [1234, '1.2 s'],
    [59_700, '1 min 0 s'],
    [200_000, '3 min 20 s'],
    [7_500_000, '2 h 5 min'],
  ]);
  for (const [milliseconds, text] of expected) assert.equal(formatTime(milliseconds), text);
});

test('counts are grouped by thousands', () => {
  assert.equal(formatCount(999), '999');
  assert.equal(formatCount(1_234_567), '1,234,567');
});

test('tables align their columns and end no line in blanks', () => {
  const rows = [
    ['pc.ram', '512'],
    ['b', ''],
  ];
  assert.deepEqual(formatTable(['block', 'bytes'], rows, 'lr'), ['block   bytes', 'pc.ram    512', 'b']);
});
