import assert from 'node:assert/strict';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import test from 'node:test';
import { deflateSync } from 'node:zlib';
import { extractBlock, inspectCapture, loadCapture, writeCapture } from '@pageferry/core/capture';
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

/** A capture, and the same with more records of pc.ram at the end of its PART; each is a word, and what follows the name. */
async function withRecords(folder: TemporaryFolder, ...records: [word: string, rest: Uint8Array][]) {
  const path = folder.file('edited');
  const capture = await loadFixture(folder, '10.0/stop-and-copy');
  await writeCapture(path, 'stream', capture);
  const bytes = await readFile(path);
  const end = Buffer.from('00000000000000107e', 'hex');
  const partEnd = bytes.indexOf(end, bytes.indexOf(end) + 9);
  const more = records.flatMap(([word, rest]) => [
    Buffer.from(word, 'hex'),
    Buffer.from('\u0006pc.ram'),
    rest,
  ]);
  await writeFile(path, Buffer.concat([bytes.subarray(0, partEnd), ...more, bytes.subarray(partEnd)]));
  return { path, ram: Buffer.from(capture.memory[0]!.bytes) };
}

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

test('a page that became zero in a later pass is zero', async () => {
  await using folder = await TemporaryFolder.create();
  // Page 7 holds the guest's code.
  const { path, ram } = await withRecords(folder, ['0000000000007002', hex('00')]);
  const out = folder.file('ram.raw');
  await extractBlock(path, 'pc.ram', out);
  assert.ok(ram.subarray(0x7000, 0x8000).some((byte) => byte !== 0));
  ram.fill(0, 0x7000, 0x8000);
  assert.ok(ram.equals(await readFile(out)));
  assert.ok(ram.equals((await loadCapture(path)).memory[0]!.bytes), 'loading says the same');
});

test('a page that came as changes has them all, whatever it was before', async () => {
  await using folder = await TemporaryFolder.create();
  const { path, ram } = await withRecords(
    folder,
    ['0000000000007040', hex('01 0003 05 01 aa')],
    ['0000000000007040', hex('01 0004 06 02 bbcc')],
    // Page 5 is zero, and so is 6 when it comes the second time.
    ['0000000000005040', hex('01 0003 00 01 01')],
    ['0000000000006008', Buffer.alloc(4096, 0x77)],
    ['0000000000006040', hex('01 0003 00 01 02')],
    ['0000000000006002', hex('00')],
    ['0000000000006040', hex('01 0003 01 01 03')],
  );
  assert.ok(ram.subarray(0x5000, 0x7000).every((byte) => byte === 0));
  ram.set([0xaa, 0xbb, 0xcc], 0x7005);
  ram[0x5000] = 1;
  ram[0x6001] = 3;
  const out = folder.file('ram.raw');
  await extractBlock(path, 'pc.ram', out);
  assert.ok(ram.equals(await readFile(out)));
  assert.ok(ram.equals((await loadCapture(path)).memory[0]!.bytes), 'loading says the same');
  const again = folder.file('again');
  await writeCapture(again, 'stream', await loadCapture(path));
  const counts = async (file: string) => {
    const { zeroPages, uniquePages, duplicatePages } = (await inspectCapture(file)).ram!.pages;
    return { zeroPages, uniquePages, duplicatePages };
  };
  assert.deepEqual(await counts(path), await counts(again), 'inspecting counts the same pages');
});

test('changes of a page that came compressed are refused where they would need it uncompressed', async () => {
  await using folder = await TemporaryFolder.create();
  const deflated = deflateSync(Buffer.alloc(4096, 0x55));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(deflated.length);
  const { path, ram } = await withRecords(
    folder,
    ['0000000000005100', Buffer.concat([length, deflated])],
    ['0000000000005040', hex('01 0003 00 01 01')],
  );
  ram.fill(0x55, 0x5000, 0x6000)[0x5000] = 1;
  assert.ok(ram.equals((await loadCapture(path)).memory[0]!.bytes));
  const refused = { code: 'unsupported', message: /changes \(xbzrle\) of a page that came compressed/ };
  await assert.rejects(extractBlock(path, 'pc.ram', folder.file('ram.raw')), refused);
  assert.equal((await inspectCapture(path)).damage?.code, 'unsupported');
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
