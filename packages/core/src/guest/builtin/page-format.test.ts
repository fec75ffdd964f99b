import assert from 'node:assert/strict';
import test from 'node:test';
import { ContentKind, ContentWriter } from './content.ts';
import { PAGE_WORDS, vcpuPages } from './layout.ts';
import { composePage, pageProblem, rewritePart } from './page-format.ts';
import { Random } from './random.ts';

const writer = { content: new ContentWriter(), random: new Random(3) };
const KINDS = [ContentKind.sparse, ContentKind.text, ContentKind.library, ContentKind.random];

test('a page stays valid through writes of parts, whatever it holds', () => {
  const words = new Int32Array(3 * PAGE_WORDS);
  for (const kind of KINDS) {
    composePage(writer, words, PAGE_WORDS, 17, 1, kind);
    for (let version = 2; version < 200; version++) {
      rewritePart(writer, words, PAGE_WORDS, version, kind);
      assert.equal(pageProblem(words, PAGE_WORDS, 17, version), undefined);
    }
  }
  assert.ok(
    words.subarray(0, PAGE_WORDS).every((word) => word === 0),
    'wrote before the page',
  );
  assert.ok(
    words.subarray(2 * PAGE_WORDS).every((word) => word === 0),
    'wrote behind the page',
  );
});

test('every single changed bit of a page shows', () => {
  const words = new Int32Array(PAGE_WORDS);
  composePage(writer, words, 0, 5, 1, ContentKind.text);
  for (let bit = 0; bit < PAGE_WORDS * 32; bit += 7) {
    words[bit >>> 5]! ^= 1 << (bit & 31);
    assert.notEqual(pageProblem(words, 0, 5, 1), undefined, `bit ${bit}`);
    words[bit >>> 5]! ^= 1 << (bit & 31);
  }
  assert.equal(pageProblem(words, 0, 5, 1), undefined);
});

test('a mix of two versions of a page shows, cut at any multiple of 64 bytes', () => {
  const before = new Int32Array(PAGE_WORDS);
  composePage(writer, before, 0, 5, 1, ContentKind.library);
  const after = before.slice();
  rewritePart(writer, after, 0, 2, ContentKind.library);
  const differs = after.findIndex((word, at) => at > 8 && word !== before[at]);
  const last = after.findLastIndex((word, at) => word !== before[at]);
  for (let cut = 16; cut < PAGE_WORDS; cut += 16) {
    const torn = after.slice();
    torn.set(before.subarray(cut), cut);
    const whole = cut > last;
    const problem = pageProblem(torn, 0, 5, 2);
    if (whole) assert.equal(problem, undefined);
    else assert.match(problem ?? '', /torn/, `cut at word ${cut}, part from ${differs}`);
  }
});

test('a page of another place or another time shows', () => {
  const words = new Int32Array(PAGE_WORDS);
  assert.match(pageProblem(words, 0, 5, 1) ?? '', /empty/);
  composePage(writer, words, 0, 6, 3, ContentKind.text);
  assert.match(pageProblem(words, 0, 5, 3) ?? '', /is page 6/);
  assert.match(pageProblem(words, 0, 6, 4) ?? '', /version 3, the ledger says 4/);
});

test('the vCPUs share all pages among them, each with room in its ledger', () => {
  for (const [pageCount, vcpus] of [
    [64, 1],
    [131072, 2],
    [5 * 2 ** 18, 3],
    [4096 + 7, 64],
  ] as const) {
    let next = 0;
    const ledgers: number[] = [];
    for (let vcpu = 0; vcpu < vcpus; vcpu++) {
      const pages = vcpuPages(pageCount, vcpus, vcpu);
      assert.equal(pages.first, next);
      assert.ok(pages.count > 0 && pages.count <= pages.ledgerCount * PAGE_WORDS);
      next += pages.count;
      ledgers.push(pages.ledgerFirst);
      if (vcpu === vcpus - 1) assert.equal(pages.ledgerFirst + pages.ledgerCount, pageCount);
    }
    assert.equal(next, ledgers[0]);
  }
});
