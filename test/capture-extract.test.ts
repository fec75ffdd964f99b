import assert from 'node:assert/strict';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import test from 'node:test';
import { extractBlock, loadCapture, writeCapture } from '@pageferry/core/capture';
import { loadFixture, placeFixture, TemporaryFolder } from './lib/capture-files.ts';
import { assertRamMatches, findFixture } from './lib/fixtures.ts';

for (const path of ['10.0/mapped-ram', '10.0/precopy-iterations', '7.2/background-snapshot', '10.0/xbzrle']) {
  test(`every block of ${path} comes out as it was recorded`, async () => {
    await using folder = await TemporaryFolder.create();
    const capture = await placeFixture(folder, path);
    const fixture = findFixture(path);
    for (const idstr of ['pc.ram', 'pc.rom', 'pc.bios']) {
      const out = folder.file(`${idstr}.raw`);
      const { bytes } = await extractBlock(capture, idstr, out);
      assertRamMatches(fixture, idstr, await readFile(out));
      const { size, blocks, mode } = await stat(out);
      assert.equal(size, bytes);
      assert.equal(mode & 0o777, 0o600);
      if (idstr === 'pc.ram') assert.ok(blocks * 512 < 3 * 1024 * 1024, 'zero pages take no room');
    }
  });
}

test('a page that became zero in a later pass is zero', async () => {
  await using folder = await TemporaryFolder.create();
  const path = folder.file('edited');
  const capture = await loadFixture(folder, '10.0/stop-and-copy');
  await writeCapture(path, 'stream', capture);
  const bytes = await readFile(path);
  const end = Buffer.from('00000000000000107e', 'hex');
  const partEnd = bytes.indexOf(end, bytes.indexOf(end) + 9);
  // ZERO, not CONTINUE, for page 7, which holds the guest's code.
  const record = Buffer.concat([Buffer.from('0000000000007002', 'hex'), Buffer.from('\u0006pc.ram\0')]);
  await writeFile(path, Buffer.concat([bytes.subarray(0, partEnd), record, bytes.subarray(partEnd)]));
  const out = folder.file('ram.raw');
  await extractBlock(path, 'pc.ram', out);
  const expected = Buffer.from(capture.memory[0]!.bytes);
  assert.ok(expected.subarray(0x7000, 0x8000).some((byte) => byte !== 0));
  expected.fill(0, 0x7000, 0x8000);
  assert.ok(expected.equals(await readFile(out)));
  assert.ok(expected.equals((await loadCapture(path)).memory[0]!.bytes), 'loading says the same');
});

test('an unknown block is refused with the list of those that there are', async () => {
  await using folder = await TemporaryFolder.create();
  const capture = await placeFixture(folder, '10.0/mapped-ram');
  await assert.rejects(extractBlock(capture, 'vga.vram', folder.file('out')), {
    code: 'unknown-block',
    message: /"vga\.vram".*pc\.ram, pc\.rom, pc\.bios/,
  });
});

test('nothing is left when the capture is damaged, and an older file stays', async () => {
  await using folder = await TemporaryFolder.create();
  const capture = await placeFixture(folder, '7.2/precopy');
  const bytes = await readFile(capture);
  await writeFile(capture, bytes.subarray(0, bytes.length - 100_000));
  const out = folder.file('ram.raw');
  await writeFile(out, 'older');
  await assert.rejects(extractBlock(capture, 'pc.ram', out), { code: 'truncated', channel: capture });
  assert.equal(await readFile(out, 'utf8'), 'older');
  assert.deepEqual((await readdir(folder.path)).sort(), ['7.2-precopy', 'ram.raw']);
});

test('a capture is not replaced by its own block', async () => {
  await using folder = await TemporaryFolder.create();
  const capture = await placeFixture(folder, '10.0/mapped-ram');
  await assert.rejects(extractBlock(capture, 'pc.ram', capture), { code: 'bad-option' });
});

test('a multifd main channel has no blocks to extract', async () => {
  await using folder = await TemporaryFolder.create();
  const capture = await placeFixture(folder, '10.0/multifd-none');
  await assert.rejects(extractBlock(capture, 'pc.ram', folder.file('out')), { code: 'unsupported' });
});

test('extracting stops when the caller gives up', async () => {
  await using folder = await TemporaryFolder.create();
  const capture = await placeFixture(folder, '10.0/mapped-ram');
  const signal = AbortSignal.abort();
  await assert.rejects(extractBlock(capture, 'pc.ram', folder.file('out'), { signal }), {
    code: 'cancelled',
  });
  assert.deepEqual(await readdir(folder.path), ['10.0-mapped-ram']);
});
