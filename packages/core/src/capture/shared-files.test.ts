import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { RamBlock } from '../memory/ram-block.ts';
import { shareBlocks } from './shared-files.ts';
import { CaptureTarget } from './target.ts';

const BYTES = 64 * 4096;

async function folderOf(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'pageferry-shared-'));
  context.after(() => rm(folder, { recursive: true }));
  return folder;
}

function ram(): RamBlock {
  const block = RamBlock.allocate('pc.ram', BYTES);
  for (const page of [0, 1, 9, 63]) block.bytes.fill(page + 1, page * 4096, page * 4096 + 100);
  return block;
}

const isRam = (bytes: Uint8Array) => Buffer.from(bytes).equals(Buffer.from(ram().bytes));

test('a block goes to its file, new or with something in it, and is shared from then on', async (context) => {
  const path = join(await folderOf(context), 'ram');
  const rom = RamBlock.allocate('pc.rom', 4096);
  for (const before of [undefined, Buffer.alloc(BYTES, 0xee)]) {
    if (before !== undefined) await writeFile(path, before);
    const [shared, other] = await shareBlocks([ram(), rom], { 'pc.ram': path });
    assert.deepEqual([shared!.shared, shared!.elsewhere, other!.shared], [true, false, false]);
    assert.ok(isRam(await readFile(path)));
  }
  // Content that is elsewhere anyway is in that file already.
  const rest = new RamBlock({
    ...RamBlock.allocate('pc.ram', BYTES).toMemory(),
    shared: true,
    elsewhere: true,
  });
  await shareBlocks([rest], { 'pc.ram': path });
  assert.ok(isRam(await readFile(path)));
});

test('a file of another size, and a name without block', async (context) => {
  const path = join(await folderOf(context), 'ram');
  await writeFile(path, Buffer.alloc(4096));
  await assert.rejects(shareBlocks([ram()], { 'pc.ram': path }), {
    code: 'block-mismatch',
    found: '4096 bytes',
  });
  await assert.rejects(shareBlocks([ram()], { ram: path }), {
    code: 'unknown-block',
    expected: 'one of pc.ram',
  });
  await assert.rejects(shareBlocks([ram()], { 'pc.ram': join(path, 'x') }), { code: 'file-failed' });
});

test('a capture takes shared memory from its file, at the end', async (context) => {
  const folder = await folderOf(context);
  const [path, file] = [join(folder, 'guest'), join(folder, 'ram')];
  await writeFile(file, Buffer.alloc(BYTES));
  const configuration = { machine: 'pc-i440fx-10.0', capabilities: ['x-ignore-shared'] };
  const blocks = [{ idstr: 'pc.ram', usedLengthBytes: BYTES, guestPhysicalAddress: 0n }];
  const description = { configuration, blocks, ramSectionId: 2 };
  const options = { path, format: 'mapped-ram', sharedFiles: { 'pc.ram': file } } as const;
  const target = new CaptureTarget(options);
  const { blocks: prepared } = await target.prepare(description);
  assert.equal(prepared[0]!.shared, true);
  await writeFile(file, ram().bytes);
  await target.load({ early: [], sections: [] });
  assert.ok(isRam(new RamBlock(prepared[0]!).bytes));
  assert.deepEqual(target.result?.absent, []);

  const plain = { ...description, configuration: { machine: 'pc-i440fx-10.0' } };
  await assert.rejects(new CaptureTarget(options).prepare(plain), { code: 'bad-option' });
  const missing = { ...options, sharedFiles: { 'pc.ram': join(folder, 'none') } };
  await assert.rejects(new CaptureTarget(missing).prepare(description), { code: 'file-failed' });
});
