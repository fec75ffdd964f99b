import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { constants, createDeflate, deflateSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { PACKET_PAGES_BYTES, type PageDecompressor } from './codec.ts';
import {
  createZlibCompressor,
  createZlibDecompressor,
  createZstdCompressor,
  createZstdDecompressor,
} from './minizlib.ts';

const PLACE = { channel: 'multifd 0', offset: 1408 };
const TARGET = new Uint8Array(1 << 20);
/** Machine code and its tables: what a guest's memory holds. */
const PAGES = readFileSync(process.execPath).subarray(8 << 20, (8 << 20) + 16 * PACKET_PAGES_BYTES);

function packet(index: number, pages = 128): Uint8Array {
  return PAGES.subarray(index * PACKET_PAGES_BYTES, index * PACKET_PAGES_BYTES + pages * 4096);
}

function reads(decompressor: PageDecompressor, payload: Uint8Array, pages: Uint8Array): void {
  assert.equal(Buffer.compare(decompressor.decompress(payload, pages.length, PLACE), pages), 0);
}

function refuses(decompressor: PageDecompressor, payload: Uint8Array, bytes: number, message: RegExp): void {
  assert.throws(() => decompressor.decompress(payload, bytes, PLACE), {
    code: 'bad-compressed-data',
    channel: 'multifd 0',
    offset: 1408,
    message,
  });
}

// The direct way into the native context, and minizlib's own for where that is not found.
for (const direct of [true, false]) {
  const way = direct ? 'directly' : "through minizlib's write";

  test(`zlib ${way}: one stream, a sync flush per packet, never finished`, () => {
    const compressor = createZlibCompressor(1, direct);
    const decompressor = createZlibDecompressor(direct);
    for (let i = 0; i < 16; i++) {
      const payload = compressor.compress(packet(i), TARGET) as Uint8Array;
      assert.deepEqual([...payload.subarray(-4)], [0, 0, 0xff, 0xff]);
      // The header of the stream stands before the first packet only.
      assert.equal(payload[0] === 0x78 && payload[1] === 0x01, i === 0);
      reads(decompressor, payload, packet(i));
    }
    compressor.close();
    decompressor.close();
  });

  test(`zstd ${way}: one frame over all packets, never ended`, () => {
    const compressor = createZstdCompressor(1, direct);
    const decompressor = createZstdDecompressor(direct);
    for (let i = 0; i < 16; i++) {
      const payload = compressor.compress(packet(i), TARGET) as Uint8Array;
      assert.equal(Buffer.from(payload).readUInt32LE(0) === 0xfd2fb528, i === 0);
      reads(decompressor, payload, packet(i));
    }
    compressor.close();
    decompressor.close();
  });

  test(`zstd ${way}: frames per packet and per page, with checksum and size, after an endless frame or not`, () => {
    const decompressor = createZstdDecompressor(direct);
    const params = { [constants.ZSTD_c_checksumFlag]: 1 };
    reads(decompressor, zstdCompressSync(packet(0)), packet(0));
    reads(decompressor, zstdCompressSync(packet(1), { params }), packet(1));
    const pages = packet(2, 128);
    const perPage: Buffer[] = [];
    for (let at = 0; at < pages.length; at += 4096)
      perPage.push(zstdCompressSync(pages.subarray(at, at + 4096)));
    reads(decompressor, Buffer.concat(perPage), pages);
    const compressor = createZstdCompressor(3, direct);
    reads(decompressor, compressor.compress(packet(3), TARGET) as Uint8Array, packet(3));
    reads(decompressor, compressor.compress(packet(4), TARGET) as Uint8Array, packet(4));
    compressor.close();
    decompressor.close();
  });

  test(`zlib ${way}: what QEMU refuses is refused at once`, () => {
    const finished = createZlibDecompressor(direct);
    refuses(finished, deflateSync(packet(0)), PACKET_PAGES_BYTES, /does not end with a flush/);
    finished.close();

    const headers = createZlibDecompressor(direct);
    const fresh = () => createZlibCompressor(1, direct).compress(packet(0), TARGET) as Uint8Array;
    reads(headers, fresh(), packet(0));
    refuses(headers, fresh(), PACKET_PAGES_BYTES, /cannot read the payload|ends/);
    headers.close();

    const ends = createZlibDecompressor(direct);
    const marked = Buffer.concat([deflateSync(packet(0)), Buffer.from([0, 0, 0xff, 0xff])]);
    refuses(ends, marked, PACKET_PAGES_BYTES, /the zlib stream ends inside the payload/);
    ends.close();
  });

  test(`both ${way}: output beyond the pages is not produced`, () => {
    const bomb = new Uint8Array(8 << 20);
    const zlib = createZlibDecompressor(direct);
    const zlibBomb = Buffer.concat([deflateSync(bomb).subarray(0, -4), Buffer.from([0, 0, 0xff, 0xff])]);
    refuses(zlib, zlibBomb, PACKET_PAGES_BYTES, /(more|larger) than/);
    const zstd = createZstdDecompressor(direct);
    refuses(zstd, zstdCompressSync(bomb), PACKET_PAGES_BYTES, /more than|cannot read/);
    zlib.close();
    zstd.close();
  });
}

test('zlib: a full flush is as good as a sync flush', async () => {
  const deflate = createDeflate({ level: 1 });
  const chunks: Buffer[] = [];
  deflate.on('data', (chunk: Buffer) => chunks.push(chunk));
  const decompressor = createZlibDecompressor();
  for (let i = 0; i < 3; i++) {
    deflate.write(packet(i));
    await new Promise<void>((resolve) => deflate.flush(constants.Z_FULL_FLUSH, resolve));
    reads(decompressor, Buffer.concat(chunks.splice(0)), packet(i));
  }
  decompressor.close();
  deflate.destroy();
});

test("zstd: the window of QEMU's highest level is accepted, a larger one is not", () => {
  const decompressor = createZstdDecompressor();
  const highest = createZstdCompressor(20);
  reads(decompressor, highest.compress(packet(0), TARGET) as Uint8Array, packet(0));
  highest.close();
  decompressor.close();

  const limited = createZstdDecompressor();
  const params = { [constants.ZSTD_c_windowLog]: 26, [constants.ZSTD_c_contentSizeFlag]: 0 };
  const large = zstdCompressSync(new Uint8Array(1 << 27), { params, pledgedSrcSize: 1 << 27 });
  assert.equal(zstdDecompressSync(large).length, 1 << 27);
  refuses(limited, large, PACKET_PAGES_BYTES, /zstd cannot read the payload/);
  limited.close();
});

test('zstd: level 0 is the default level', () => {
  const [zero, three, one] = [0, 3, 1].map((level) => {
    const compressor = createZstdCompressor(level);
    const payload = Uint8Array.from(compressor.compress(packet(5), TARGET) as Uint8Array);
    compressor.close();
    return payload;
  });
  assert.deepEqual(zero, three);
  assert.notDeepEqual(zero, one);
});
