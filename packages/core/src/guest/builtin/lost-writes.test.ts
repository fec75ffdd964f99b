import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { TARGET_PAGE_BYTES } from '../../memory/ram-block.ts';
import { PAGE_WORDS, vcpuPages } from './layout.ts';
import { BuiltinMachine } from './machine.ts';

// What a migration that loses writes would leave: the RAM of a stopped machine with parts of it from before.

const PAGES = 1024;
const FIRST = vcpuPages(PAGES, 2, 0);
const SECOND = vcpuPages(PAGES, 2, 1);

let machine: BuiltinMachine;
let bytes: Uint8Array;
let words: Int32Array;
let old: Uint8Array;
let oldWords: Int32Array;
/** A page that was written since, in its second half too, and was zero neither then nor now. */
let page: number;

before(async () => {
  machine = await BuiltinMachine.create({
    memoryBytes: PAGES * TARGET_PAGE_BYTES,
    vcpus: 2,
    dirtyRateBytesPerSecond: 2 ** 28,
  });
  const buffer = machine.memory.blocks[0]!.buffer;
  bytes = new Uint8Array(buffer);
  words = new Int32Array(buffer);
  await runFor(2000);
  old = bytes.slice();
  oldWords = new Int32Array(old.buffer);
  await runFor(20_000);
  page = -1;
  for (let each = SECOND.first; each < SECOND.first + SECOND.count && page < 0; each++) {
    const half = each * PAGE_WORDS + PAGE_WORDS / 2;
    const changed = [...words.subarray(half, half + PAGE_WORDS / 2)].some(
      (word, i) => word !== oldWords[half + i],
    );
    if (changed && words[ledgerOf(each)]! > 0 && oldWords[ledgerOf(each)]! > 0) page = each;
  }
  assert.ok(page > 0);
});

after(() => machine.close());

async function runFor(writes: number): Promise<void> {
  const end = machine.writes + writes;
  machine.start();
  while (machine.writes < end) await delay(2);
  await machine.stop();
}

function ledgerOf(each: number): number {
  return SECOND.ledgerFirst * PAGE_WORDS + (each - SECOND.first);
}

/** Puts `[from, to)` back to what it held before, checks, and undoes it. */
async function problemsWith(...ranges: readonly (readonly [from: number, to: number])[]): Promise<string[]> {
  const good = bytes.slice();
  for (const [from, to] of ranges) bytes.set(old.subarray(from, to), from);
  const report = await machine.check();
  bytes.set(good);
  assert.equal(report.ok, report.problems.length === 0);
  return [...report.problems];
}

const start = (): number => page * TARGET_PAGE_BYTES;

test('the machine is whole to begin with', async () => {
  assert.deepEqual(await problemsWith(), []);
});

test('a lost page shows by its version', async () => {
  const problems = await problemsWith([start(), start() + TARGET_PAGE_BYTES]);
  assert.equal(problems.length, 1);
  assert.match(problems[0]!, new RegExp(`^page ${page} has version \\d+, the ledger says \\d+$`));
});

test('a torn page shows by its checksum', async () => {
  const problems = await problemsWith([start() + TARGET_PAGE_BYTES / 2, start() + TARGET_PAGE_BYTES]);
  assert.deepEqual(problems, [`page ${page} is torn: its checksum is wrong`]);
});

test('a lost ledger page shows by every page that it is about', async () => {
  const ledger = SECOND.ledgerFirst * TARGET_PAGE_BYTES;
  const problems = await problemsWith([ledger, ledger + TARGET_PAGE_BYTES]);
  assert.equal(problems.length, 21);
  assert.match(problems[20]!, /^and \d+ more$/);
});

test('a lost page and a lost entry that agree show by the sum of the versions', async () => {
  const entry = ledgerOf(page) * 4;
  const problems = await problemsWith([start(), start() + TARGET_PAGE_BYTES], [entry, entry + 4]);
  assert.equal(problems.length, 1);
  assert.match(problems[0]!, /^the ledger of vCPU 1 has lost writes/);
});

test('everything of an earlier moment shows', async () => {
  const problems = await problemsWith([0, old.length]);
  assert.equal(problems.length, 2);
});

test('a page that should be zero and is not shows', async () => {
  const zero = Array.from({ length: FIRST.count }, (_, slot) => slot).find((slot) => {
    const entry = FIRST.ledgerFirst * PAGE_WORDS + slot;
    return words[entry]! < 0 && oldWords[entry]! > 0;
  });
  assert.ok(zero !== undefined, 'no page became zero');
  const from = (FIRST.first + zero) * TARGET_PAGE_BYTES;
  assert.deepEqual(await problemsWith([from, from + TARGET_PAGE_BYTES]), [
    `page ${zero} should hold only zeros`,
  ]);
});

test('a changed ROM shows', async () => {
  const rom = new Uint8Array(machine.memory.blocks[1]!.buffer);
  rom[12345]! ^= 1;
  const { problems } = await machine.check();
  rom[12345]! ^= 1;
  assert.deepEqual(problems, ['builtin.rom has changed at byte 12345']);
});
