import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { RamBlock } from '@pageferry/core/memory';
import { useHugePages } from './huge-pages.ts';
import { loadSystemCalls } from './system-calls.ts';

const calls = await loadSystemCalls();
const missing = calls === undefined || !existsSync('/sys/kernel/mm/transparent_hugepage');
const skip = missing ? 'no system calls, or a kernel without transparent huge pages' : false;

/** The flags of the mapping that an address is in, as /proc/self/smaps has them. */
function mappingFlags(address: number): string[] {
  let inside = false;
  for (const line of readFileSync('/proc/self/smaps', 'latin1').split('\n')) {
    const range = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
    if (range !== null) inside = parseInt(range[1]!, 16) <= address && address < parseInt(range[2]!, 16);
    else if (inside && line.startsWith('VmFlags:')) return line.slice(8).trim().split(' ');
  }
  throw new Error('no mapping there');
}

test('guest RAM that is allocated later asks for huge pages; small blocks do not', { skip }, async () => {
  // In the middle: only whole huge pages are asked for, and a block need not begin at one.
  const flagsOf = ({ bytes }: RamBlock) => mappingFlags(calls!.addressOf(bytes) + bytes.length / 2);
  const before = RamBlock.allocate('before', 8 * 2 ** 20);
  assert.equal(await useHugePages(), true);
  const ram = RamBlock.allocate('ram', 8 * 2 ** 20);
  const rom = RamBlock.allocate('rom', 2 ** 20);
  assert.ok(flagsOf(ram).includes('hg'));
  assert.ok(!flagsOf(before).includes('hg') && !flagsOf(rom).includes('hg'));
  assert.ok(ram.bytes.every((byte) => byte === 0));
});
