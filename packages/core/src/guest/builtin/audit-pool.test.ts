import assert from 'node:assert/strict';
import test from 'node:test';
import { RamBlock } from '../../memory/ram-block.ts';
import { machineThreads } from '../../testing/machine-threads.ts';
import { AuditPool, newHashKey } from './audit-pool.ts';
import { compareHashes } from './hash.ts';

const key = newHashKey();

/** Three chunks of 8 MiB, the last not full. */
const block = RamBlock.allocate('ram', 20 * 2 ** 20);
block.bytes.forEach((_, at) => {
  if (at % 997 === 0) block.bytes[at] = at;
});

test('a hash depends on every chunk and their order, the block, and the key', async () => {
  const pool = new AuditPool();
  try {
    const digestOf = async (blocks: RamBlock[], under = key): Promise<string> => {
      const hashes = await pool.hash(
        blocks.map((each) => each.toMemory()),
        under,
      );
      return hashes.map(({ digest }) => digest).join();
    };
    const first = await digestOf([block]);
    assert.equal(await digestOf([block]), first);
    const seen = new Set([first]);
    for (const at of [0, 8 * 2 ** 20 - 1, 8 * 2 ** 20, block.usedLengthBytes - 1]) {
      block.bytes[at]! ^= 0x80;
      seen.add(await digestOf([block]));
      block.bytes[at]! ^= 0x80;
    }
    assert.equal(seen.size, 5);
    assert.equal(await digestOf([block]), first);
    const swapped = RamBlock.allocate('ram', block.usedLengthBytes);
    swapped.bytes.set(block.bytes);
    swapped.bytes.copyWithin(0, 8 * 2 ** 20, 16 * 2 ** 20);
    swapped.bytes.set(block.bytes.subarray(0, 8 * 2 ** 20), 8 * 2 ** 20);
    seen.add(await digestOf([swapped]));
    seen.add(await digestOf([block], newHashKey()));
    seen.add(await digestOf([new RamBlock({ ...block.toMemory(), idstr: 'rom' })]));
    seen.add(await digestOf([new RamBlock({ ...block.toMemory(), usedLengthBytes: 16 * 2 ** 20 })]));
    assert.equal(seen.size, 9);
    const rom = RamBlock.allocate('rom', 4096);
    const both = await digestOf([rom, block]);
    assert.equal(both.split(',')[1], first, 'another block beside it changes nothing');
  } finally {
    await pool.end();
  }
  assert.deepEqual(machineThreads(), []);
});

test('jobs wait for each other, and one that kills its threads fails alone', {
  timeout: 20_000,
}, async () => {
  const pool = new AuditPool();
  try {
    const good = [block.toMemory()];
    // A block beyond its buffer: making the view throws in the thread.
    const broken = [{ ...block.toMemory(), byteOffset: block.usedLengthBytes }];
    const [first, failed, second] = await Promise.allSettled([
      pool.hash(good, key),
      pool.hash(broken, key),
      pool.hash(good, key),
    ]);
    assert.equal(failed.status, 'rejected');
    assert.equal(failed.status === 'rejected' && failed.reason.code, 'guest-failed');
    assert.ok(first.status === 'fulfilled' && second.status === 'fulfilled');
    assert.deepEqual(second.value, first.value);
  } finally {
    await pool.end();
  }
  await assert.rejects(pool.hash([block.toMemory()], key), { code: 'guest-failed', message: /closed/ });
  assert.deepEqual(machineThreads(), []);
});

test('hashes that differ or are missing name their block', () => {
  const found = [
    { idstr: 'a', digest: '1' },
    { idstr: 'b', digest: '2' },
  ];
  compareHashes(found, [...found].reverse());
  const expected = { code: 'verify-failed', message: /RAM block b/ };
  assert.throws(() => compareHashes(found, [{ idstr: 'a', digest: '1' }]), expected);
  assert.throws(() => compareHashes(found, [found[0]!, { idstr: 'b', digest: '3' }]), expected);
});
