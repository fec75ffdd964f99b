import assert from 'node:assert/strict';
import test from 'node:test';
import { hex } from '../testing/wire-streams.ts';
import { decodeXbzrle, XBZRLE_OVERFLOW, XBZRLE_PREFIX_BYTES, XbzrleEncoder } from './xbzrle.ts';

const PAGE_BYTES = 4096;
const encoder = new XbzrleEncoder();

/** The runs that the encoder gives for a page; undefined: overflow. The page before lies at an odd page of a cache. */
function encode(before: Uint8Array, now: Uint8Array): Uint8Array | undefined {
  const cache = new Uint8Array(3 * PAGE_BYTES).fill(0xee);
  cache.set(before, PAGE_BYTES);
  encoder.page.set(now);
  const length = encoder.encode(cache, new Int32Array(cache.buffer), PAGE_BYTES);
  assert.deepEqual(cache.subarray(PAGE_BYTES, 2 * PAGE_BYTES), before, 'the cache is only read');
  if (length === XBZRLE_OVERFLOW) return undefined;
  const { record } = encoder;
  assert.deepEqual([...record.subarray(0, XBZRLE_PREFIX_BYTES)], [1, length >> 8, length & 0xff]);
  return record.slice(XBZRLE_PREFIX_BYTES, XBZRLE_PREFIX_BYTES + length);
}

/** The same byte by byte, as the format is described; 4096 bytes are the most that it may take. */
function encodeSlowly(before: Uint8Array, now: Uint8Array): Uint8Array | undefined {
  const out: number[] = [];
  const length = (n: number) => (n < 0x80 ? out.push(n) : out.push((n & 0x7f) | 0x80, n >> 7));
  const same = (i: number) => before[i] === now[i];
  for (let i = 0; i < PAGE_BYTES; ) {
    if (out.length + 2 > PAGE_BYTES) return undefined;
    const unchanged = i;
    while (i < PAGE_BYTES && same(i)) i++;
    if (i === PAGE_BYTES) break;
    length(i - unchanged);
    if (out.length + 2 > PAGE_BYTES) return undefined;
    const changed = i;
    while (i < PAGE_BYTES && !same(i)) i++;
    length(i - changed);
    if (out.length + (i - changed) > PAGE_BYTES) return undefined;
    out.push(...now.subarray(changed, i));
  }
  return Uint8Array.from(out);
}

/** What is in `page` after the runs; it lies between other bytes, which stay. */
function decode(page: Uint8Array, runs: Uint8Array): Uint8Array {
  const source = new Uint8Array(runs.length + 9).fill(0xff);
  source.set(runs, 4);
  const target = new Uint8Array(PAGE_BYTES + 7).fill(0xee);
  target.set(page, 3);
  assert.equal(decodeXbzrle(source, 4, runs.length), -1);
  assert.equal(decodeXbzrle(source, 4, runs.length, target, 3), -1);
  assert.deepEqual([...target.subarray(0, 3), ...target.subarray(-4)], new Array(7).fill(0xee));
  return target.slice(3, 3 + PAGE_BYTES);
}

function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return Math.floor(((state >>> 0) / 2 ** 32) * below);
  };
}

test('the example of the format', () => {
  const before = new Uint8Array(PAGE_BYTES);
  const now = before.slice();
  now.set([0xaa, 0xbb, 0xcc], 5);
  now[300] = 1;
  assert.deepEqual(encode(before, now), hex('05 03aabbcc a402 01 01'));
  assert.deepEqual(decode(before, hex('05 03aabbcc a402 01 01')), now);
});

test('nothing changed, everything changed, and the longest lengths', () => {
  const zeros = new Uint8Array(PAGE_BYTES);
  assert.deepEqual(encode(zeros, zeros), hex(''));
  assert.deepEqual(decode(zeros, hex('')), zeros);
  // All of a page as one run would be 4 bytes longer than the page.
  assert.equal(encode(zeros, new Uint8Array(PAGE_BYTES).fill(1)), undefined);
  const last = zeros.slice();
  last[PAGE_BYTES - 1] = 7;
  assert.deepEqual(encode(zeros, last), hex('ff1f 01 07'));
  const first = zeros.slice();
  first[0] = 7;
  assert.deepEqual(encode(zeros, first), hex('00 01 07'));
  // Room for two more bytes is asked for even where the unchanged rest takes none.
  for (const [length, fits] of [
    [127, true],
    [128, true],
    [4091, true],
    [4092, false],
    [4093, false],
  ] as const) {
    const page = zeros.slice().fill(9, 0, length);
    assert.deepEqual(encode(zeros, page), encodeSlowly(zeros, page), `${length} bytes`);
    assert.equal(encode(zeros, page) !== undefined, fits, `${length} bytes`);
  }
  for (const [length, fits] of [
    [4093, true],
    [4094, false],
  ] as const) {
    const page = zeros.slice().fill(9, PAGE_BYTES - length);
    assert.equal(encode(zeros, page) !== undefined, fits, `the last ${length} bytes`);
  }
});

test('pages that change anyhow: as short as can be, and back again', () => {
  const below = random(1);
  let overflows = 0;
  for (let round = 0; round < 4000; round++) {
    const before = Uint8Array.from({ length: PAGE_BYTES }, () => below(256));
    const now = before.slice();
    // From a single byte to a page of which hardly a byte stays.
    const most = 1 + below([2, 8, 64, 600, 2000][round % 5]!);
    for (let change = 0; change < most; change++) {
      const at = below(PAGE_BYTES);
      const end = Math.min(PAGE_BYTES, at + 1 + below(round % 3 === 0 ? 60 : 3));
      for (let i = at; i < end; i++) now[i] = below(4) === 0 ? before[i]! : below(256);
    }
    const runs = encode(before, now);
    assert.deepEqual(runs, encodeSlowly(before, now), `round ${round}`);
    if (runs === undefined) overflows++;
    else assert.deepEqual(decode(before, runs), now, `round ${round}`);
  }
  assert.ok(overflows > 10, 'no page was too long');
});

test('every place and length of one changed run', () => {
  const before = Uint8Array.from({ length: PAGE_BYTES }, (_, i) => i * 7);
  for (let at = 0; at < 70; at++) {
    for (const length of [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 64, 65]) {
      for (const place of [at, PAGE_BYTES - length - at]) {
        const now = before.slice();
        for (let i = place; i < place + length; i++) now[i]! ^= 0x80;
        const runs = encode(before, now);
        assert.deepEqual(runs, encodeSlowly(before, now), `${length} at ${place}`);
        assert.deepEqual(decode(before, runs!), now);
      }
    }
  }
});

test('pages where every other byte changes do not fit', () => {
  const before = new Uint8Array(PAGE_BYTES);
  for (const step of [2, 3, 4]) {
    const now = before.map((_, i) => (i % step === 0 ? 1 : 0));
    assert.deepEqual(encode(before, now), encodeSlowly(before, now));
    assert.equal(encode(before, now) === undefined, step < 4);
  }
});

test('runs that cannot be, and where', () => {
  const cases: [runs: string, at: number, what: string][] = [
    ['05', 0, 'a single byte'],
    ['05 01', 1, 'no room for a changed byte'],
    ['05 02 aa', 1, 'fewer bytes than the run says'],
    ['8580 01 aa', 0, 'a length of three bytes'],
    ['05 8180 aa', 1, 'a length of three bytes'],
    ['05 00 aa', 1, 'an empty changed run'],
    ['05 01 aa 00 01 bb', 3, 'an empty unchanged run in the middle'],
    ['05 01 aa 05', 3, 'only a length is left'],
    ['8501', 2, 'nothing behind an unchanged run'],
    ['8120 01 aa', 0, 'an unchanged run beyond the page'],
    ['8020 01 aa', 2, 'a changed byte behind the page'],
    ['ff1f 02 aabb', 2, 'a changed run beyond the page'],
    ['05 01 aa fb1f 01 bb', 3, 'a second run beyond the page'],
    ['05 01 aa fa1f 01 bb', 5, 'a second byte behind the page'],
  ];
  for (const [text, at, what] of cases) {
    const runs = hex(text);
    const source = new Uint8Array(runs.length + 20).fill(1);
    source.set(runs, 10);
    assert.equal(decodeXbzrle(source, 10, runs.length), 10 + at, what);
    assert.equal(decodeXbzrle(source, 10, runs.length, new Uint8Array(PAGE_BYTES)), 10 + at, what);
  }
});

test('random bytes never write outside the page', () => {
  const below = random(7);
  const memory = new Uint8Array(3 * PAGE_BYTES);
  let good = 0;
  for (let round = 0; round < 20_000; round++) {
    const source = Uint8Array.from({ length: 1 + below(40) }, () => (below(3) === 0 ? below(256) : below(8)));
    if (decodeXbzrle(source, 0, source.length, memory, PAGE_BYTES) < 0) good++;
  }
  assert.ok(good > 100, 'no run of random bytes was valid');
  assert.ok(memory.subarray(0, PAGE_BYTES).every((byte) => byte === 0));
  assert.ok(memory.subarray(2 * PAGE_BYTES).every((byte) => byte === 0));
});
