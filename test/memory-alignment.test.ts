import assert from 'node:assert/strict';
import test from 'node:test';
import { RamBlock } from '@pageferry/core/memory';
import koffi from 'koffi';

for (const mebibytes of [1, 64, 5 * 1024]) {
  test(`a block of ${mebibytes} MiB starts at a page of the process`, () => {
    const block = RamBlock.allocate('pc.ram', mebibytes * 2 ** 20);
    assert.equal(BigInt(koffi.address(block.bytes)) % 4096n, 0n);
    assert.equal(block.bytes.length, mebibytes * 2 ** 20);
  });
}
