import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { MigrationError } from '@pageferry/core';
import { openMemorySource } from './open-source.ts';

const folder = mkdtempSync(join(tmpdir(), 'pageferry-dump-'));
after(() => rmSync(folder, { recursive: true }));

interface Segment {
  type?: number;
  offset: bigint | number;
  address: bigint | number;
  fileBytes: bigint | number;
  memoryBytes?: bigint | number;
}

const HEADER_BYTES = 64;
const ENTRY_BYTES = 56;

/** A core dump with the program headers right behind the file header. */
function coreDump(segments: readonly Segment[], fileBytes: number, change = (_file: Buffer) => {}): Buffer {
  const file = Buffer.alloc(fileBytes);
  file.write('\x7fELF\x02\x01\x01', 'latin1');
  file.writeUInt16LE(4, 16);
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(BigInt(HEADER_BYTES), 32);
  file.writeUInt16LE(ENTRY_BYTES, 54);
  file.writeUInt16LE(segments.length, 56);
  for (const [i, segment] of segments.entries()) {
    const at = HEADER_BYTES + i * ENTRY_BYTES;
    file.writeUInt32LE(segment.type ?? 1, at);
    file.writeBigUInt64LE(BigInt(segment.offset), at + 8);
    file.writeBigUInt64LE(BigInt(segment.address), at + 24);
    file.writeBigUInt64LE(BigInt(segment.fileBytes), at + 32);
    file.writeBigUInt64LE(BigInt(segment.memoryBytes ?? segment.fileBytes), at + 40);
  }
  change(file);
  return file;
}

let files = 0;

function store(bytes: Buffer): string {
  const path = join(folder, `dump-${files++}`);
  writeFileSync(path, bytes);
  return path;
}

async function blocksOf(bytes: Buffer): Promise<[string, number][]> {
  const source = await openMemorySource(store(bytes));
  await source.close();
  assert.equal(source.kind, 'core-dump');
  return source.blocks.map((block) => [block.name, block.bytes]);
}

async function refused(bytes: Buffer, code: string, message: RegExp): Promise<void> {
  await assert.rejects(openMemorySource(store(bytes)), (error) => {
    assert.ok(error instanceof MigrationError);
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  });
}

test('the memory of a dump, by physical address, and its bytes', async () => {
  const bytes = coreDump(
    [
      { type: 4, offset: 300, address: 0, fileBytes: 20 },
      { offset: 4096 + 24, address: 0x100000, fileBytes: 8192 },
      { offset: 12_288 + 24, address: 0, fileBytes: 4096 },
    ],
    12_288 + 24 + 4096,
    (file) => file.write('here', 12_288 + 24),
  );
  const source = await openMemorySource(store(bytes));
  assert.deepEqual(source.blocks, [
    { name: '0x0', bytes: 4096 },
    { name: '0x100000', bytes: 8192 },
  ]);
  const page = Buffer.alloc(4096);
  await source.read(0, 0, page);
  assert.equal(page.toString('latin1', 0, 4), 'here');
  assert.deepEqual(source.notes, []);
  await source.close();
});

test('segments that follow each other are one piece, mappings of the same memory count once', async () => {
  const at = 8192;
  const followers = [
    { offset: at, address: 0, fileBytes: 4096 },
    { offset: at + 4096, address: 4096, fileBytes: 8192 },
    // The same memory, mapped elsewhere; a part of it; and all of it with a page more.
    { offset: at, address: 0, fileBytes: 12_288 },
    { offset: at + 4096, address: 4096, fileBytes: 4096 },
    { offset: at, address: 0, fileBytes: 16_384 },
  ];
  assert.deepEqual(await blocksOf(coreDump(followers, at + 16_384)), [['0x0', 16_384]]);
});

test('only whole pages count, and what the dump leaves out is said', async () => {
  const segments = [{ offset: 4096, address: 0x1800, fileBytes: 8192, memoryBytes: 20_480 }];
  const source = await openMemorySource(store(coreDump(segments, 12_288)));
  await source.close();
  assert.deepEqual(source.blocks, [{ name: '0x2000', bytes: 4096 }]);
  assert.match(source.notes.join(), /leaves out 12288 bytes/);
});

test('more than 65534 segments are counted in section header 0', async () => {
  const count = 66_000;
  const table = HEADER_BYTES + count * ENTRY_BYTES;
  const segments = Array.from({ length: count }, (_, i) => ({
    offset: table + 64,
    address: 0,
    fileBytes: i % 2 ? 4096 : 0,
  }));
  const bytes = Buffer.concat([
    coreDump(segments.slice(0, 65_535), table),
    Buffer.alloc(64),
    Buffer.alloc(4096),
  ]);
  bytes.writeBigUInt64LE(BigInt(table), 40);
  bytes.writeUInt16LE(0xffff, 56);
  bytes.writeUInt16LE(64, 58);
  bytes.writeUInt32LE(count, table + 44);
  assert.deepEqual(await blocksOf(bytes), [['0x0', 4096]]);
  bytes.writeUInt32LE(0xffffffff, table + 44);
  await refused(bytes, 'limit-exceeded', /program headers/);
});

test('damaged and hostile dumps are refused with the place', async () => {
  const page = { offset: 4096, address: 0, fileBytes: 4096 };
  const hostile: [string, RegExp, Buffer][] = [
    ['truncated', /ends inside the ELF header/, coreDump([], 64).subarray(0, 40)],
    ['bad-file', /holds no memory/, coreDump([], 64)],
    ['bad-file', /holds no memory/, coreDump([{ ...page, fileBytes: 0, memoryBytes: 4096 }], 8192)],
    ['truncated', /behind the end/, coreDump([{ ...page, fileBytes: 8192 }], 8192)],
    ['truncated', /behind the end/, coreDump([{ ...page, offset: 2n ** 52n }], 8192)],
    ['bad-file', /less than 2\^53/, coreDump([{ ...page, offset: 2n ** 64n - 4096n }], 8192)],
    ['bad-file', /less than 2\^53/, coreDump([{ ...page, memoryBytes: 2n ** 63n }], 8192)],
    ['truncated', /program headers/, coreDump([page], 8192, (file) => file.writeUInt16LE(5000, 56))],
    ['bad-file', /program headers/, coreDump([page], 8192, (file) => file.writeBigUInt64LE(2n ** 60n, 32))],
    ['bad-file', /size of a program header/, coreDump([page], 8192, (file) => file.writeUInt16LE(8, 54))],
    [
      'bad-file',
      /size of a section header/,
      coreDump([page], 8192, (file) => file.writeUInt16LE(0xffff, 56)),
    ],
  ];
  for (const [code, message, bytes] of hostile) await refused(bytes, code, message);
});

test('memory in too many pieces is refused', async () => {
  const count = 5000;
  const at = 2 ** 20;
  const segments = Array.from({ length: count }, (_, i) => ({
    offset: at + i * 4096,
    address: i * 8192,
    fileBytes: 4096,
  }));
  await refused(coreDump(segments, at + count * 4096), 'limit-exceeded', /separate pieces of memory/);
});

test('other ELF files and other dumps are refused by name', async () => {
  const page = { offset: 4096, address: 0, fileBytes: 4096 };
  const elf = (change: (file: Buffer) => void) => coreDump([page], 8192, change);
  await refused(
    elf((file) => file.writeUInt8(1, 4)),
    'unsupported',
    /32-bit/,
  );
  await refused(
    elf((file) => file.writeUInt8(2, 5)),
    'unsupported',
    /big-endian/,
  );
  await refused(
    elf((file) => file.writeUInt16LE(2, 16)),
    'unsupported',
    /no core dump/,
  );
  await refused(
    elf((file) => file.writeUInt8(9, 4)),
    'bad-file',
    /class and byte order/,
  );
  for (const [magic, name] of [
    ['KDUMP   ', /kdump-compressed/],
    ['DISKDUMP', /kdump-compressed/],
    ['makedumpfile\0', /flattened makedumpfile/],
    ['\x1f\x8b\x08', /gzip/],
    ['\x28\xb5\x2f\xfd', /zstd/],
    ['QFI\xfb', /qcow2/],
  ] as const) {
    const file = Buffer.alloc(8192);
    file.write(magic, 'latin1');
    await refused(file, 'unsupported', name);
  }
});
