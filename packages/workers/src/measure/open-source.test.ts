import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { MigrationError } from '@pageferry/core';
import { openMemorySource } from './open-source.ts';

const folder = mkdtempSync(join(tmpdir(), 'pageferry-source-'));
after(() => rmSync(folder, { recursive: true }));

function refused(path: string, code: string): Promise<void> {
  return assert.rejects(
    openMemorySource(path),
    (error) => error instanceof MigrationError && error.code === code,
  );
}

test('a file without a known magic is a raw image, in whole pages', async () => {
  const path = join(folder, 'image.raw');
  const bytes = Buffer.alloc(3 * 4096 + 100, 'raw memory ');
  writeFileSync(path, bytes);
  const source = await openMemorySource(path);
  assert.equal(source.kind, 'image');
  assert.deepEqual(source.blocks, [{ name: 'image.raw', bytes: 3 * 4096 }]);
  assert.match(source.notes.join(), /last 100 bytes/);
  const page = Buffer.alloc(4096);
  await source.read(0, 8192, page);
  assert.deepEqual(page, bytes.subarray(8192, 12_288));
  await source.close();
});

test('memory that begins like another file is read when its kind is said', async () => {
  const path = join(folder, 'begins-like-a-program');
  const bytes = Buffer.alloc(8192);
  bytes.write('\x7fELF\x02\x01\x01', 'latin1');
  bytes.writeUInt16LE(2, 16);
  writeFileSync(path, bytes);
  await refused(path, 'unsupported');
  const source = await openMemorySource(path, { kind: 'image' });
  assert.deepEqual([source.kind, source.blocks[0]!.bytes], ['image', 8192]);
  await source.close();
  const raw = join(folder, 'raw');
  writeFileSync(raw, Buffer.alloc(4096, 1));
  for (const kind of ['capture', 'core-dump'] as const) {
    await assert.rejects(openMemorySource(raw, { kind }), MigrationError);
  }
});

test('a file that shrinks while it is read is truncated', async () => {
  const path = join(folder, 'shrinking');
  writeFileSync(path, Buffer.alloc(8192, 1));
  const source = await openMemorySource(path);
  truncateSync(path, 5000);
  await assert.rejects(source.read(0, 4096, Buffer.alloc(4096)), (error) => {
    assert.ok(error instanceof MigrationError);
    assert.equal(error.code, 'truncated');
    assert.equal(error.offset, 5000);
    return true;
  });
  await source.close();
});

test('what holds no memory is refused', async () => {
  const small = join(folder, 'small');
  writeFileSync(small, 'too small');
  await refused(small, 'bad-file');
  await refused(folder, 'bad-file');
  await refused(join(folder, 'nowhere'), 'file-failed');
  const huge = join(folder, 'huge');
  writeFileSync(huge, '');
  truncateSync(huge, 2 ** 40 + 4096);
  await refused(huge, 'limit-exceeded');
  const broken = join(folder, 'broken');
  writeFileSync(broken, Buffer.from('QEVM\0\0\0\x03 this is no capture', 'latin1'));
  await assert.rejects(openMemorySource(broken), MigrationError);
});

test('a FIFO is refused at once', { skip: process.platform === 'win32' }, async () => {
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  await refused(fifo, 'bad-file');
});
