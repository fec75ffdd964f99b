import assert from 'node:assert/strict';
import test from 'node:test';
import { hex } from '../testing/wire-streams.ts';
import {
  createMultifdPacket,
  decodeMultifdHandshake,
  decodeMultifdPacket,
  encodeMultifdHandshake,
  encodeMultifdPacket,
  MULTIFD_PACKET_BYTES,
  MULTIFD_PAYLOAD_LIMIT_BYTES,
  MultifdFlag,
  type MultifdPacket,
} from './multifd.ts';

const AT = { channel: 'multifd 1', offset: 64 };

function packetOf(fields: Partial<Omit<MultifdPacket, 'pages'>> & { pages?: number[] }): MultifdPacket {
  const { pages = [], ...rest } = fields;
  const packet = { ...createMultifdPacket(), pagesAlloc: 128, ...rest };
  packet.pages.set(pages);
  return packet;
}

function encode(packet: MultifdPacket): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(MULTIFD_PACKET_BYTES).fill(0xee);
  encodeMultifdPacket(packet, bytes);
  return bytes;
}

function decode(bytes: Uint8Array): MultifdPacket {
  const packet = createMultifdPacket();
  decodeMultifdPacket(bytes, packet, AT);
  return packet;
}

/** Two normal pages, one of them above 4 GiB, and a zero page. */
const PACKET = packetOf({
  normalPages: 2,
  zeroPages: 1,
  payloadBytes: 8192,
  packetNumber: 0x1_0000_0002,
  blockName: 'pc.ram',
  pages: [5, 0x12_3456, 0xffff_ffff],
});

test('the handshake, both ways', () => {
  const bytes = encodeMultifdHandshake({ channel: 1 });
  assert.deepEqual(bytes, hex(`11223344 00000001 ${'00'.repeat(16)} 01 ${'00'.repeat(39)}`));
  const uuid = hex('00112233445566778899aabbccddeeff');
  const named = encodeMultifdHandshake({ channel: 254, uuid });
  assert.deepEqual(decodeMultifdHandshake(named, 'x'), { channel: 254, uuid });
});

test('wrong handshakes', () => {
  const main = hex(`5145564d 00000003 ${'00'.repeat(56)}`);
  assert.throws(() => decodeMultifdHandshake(main, 'multifd ?'), {
    code: 'bad-magic',
    channel: 'multifd ?',
    offset: 0,
    found: '0x5145564d',
  });
  const version = encodeMultifdHandshake({ channel: 0 }).with(7, 2);
  assert.throws(() => decodeMultifdHandshake(version, 'x'), { code: 'bad-version', offset: 4, found: '2' });
});

test('a packet, byte by byte', () => {
  const bytes = encode(PACKET);
  const expected = hex(`11223344 00000001 00000000 00000080 00000002 00002000 0000000100000002
    00000001 00000000 ${'00'.repeat(24)}
    70632e72616d ${'00'.repeat(250)}
    0000000000005000 0000000123456000 00000ffffffff000 ${'00'.repeat(125 * 8)}`);
  assert.deepEqual(Buffer.from(bytes), Buffer.from(expected));
  assert.deepEqual(decode(bytes), PACKET);
});

test('a SYNC packet has nothing but its flag and number', () => {
  const sync = packetOf({ flags: MultifdFlag.sync, pagesAlloc: 0, packetNumber: 7, blockName: 'old' });
  const bytes = encode(sync);
  assert.deepEqual(
    Buffer.from(bytes),
    Buffer.from(
      hex(`11223344 00000001 00000001 00000000 0000000000000000 0000000000000007 ${'00'.repeat(1312)}`),
    ),
  );
  const decoded = decode(bytes);
  assert.deepEqual([decoded.flags, decoded.pagesAlloc, decoded.packetNumber], [1, 0, 7]);
});

test('stale payload length, name and offsets of a packet without pages are ignored', () => {
  // What QEMU 7.2 sends: flags 0, no pages, the fields of the packet before.
  const bytes = encode(PACKET);
  bytes.fill(0, 16, 20);
  bytes.fill(0, 32, 36);
  bytes[320 + 7] = 0x33;
  const decoded = decode(bytes);
  assert.deepEqual([decoded.normalPages, decoded.zeroPages, decoded.payloadBytes], [0, 0, 0]);
});

test('a packet with the same block keeps the name, another one replaces it', () => {
  const packet = createMultifdPacket();
  for (const blockName of ['pc.ram', 'pc.ram', 'pc.rom', 'pc.ra', 'pc.ram2', 'ä→', 'ä→', 'n'.repeat(255)]) {
    decodeMultifdPacket(encode({ ...PACKET, blockName }), packet, AT);
    assert.equal(packet.blockName, blockName);
  }
});

test('packets with all 128 pages', () => {
  const pages = Array.from({ length: 128 }, (_, i) => 127 - i);
  for (const zeroPages of [0, 64, 128]) {
    const normalPages = 128 - zeroPages;
    const packet = packetOf({
      normalPages,
      zeroPages,
      payloadBytes: normalPages * 4096,
      blockName: 'a',
      pages,
    });
    assert.deepEqual(decode(encode(packet)), packet);
  }
});

test('malformed packets', () => {
  const fails = (change: (bytes: Uint8Array) => void, error: object, at: number) => {
    const bytes = encode(PACKET);
    change(bytes);
    assert.throws(() => decode(bytes), { channel: 'multifd 1', offset: 64 + at, ...error });
  };
  const put = (at: number, value: number) => (bytes: Uint8Array) =>
    new DataView(bytes.buffer).setUint32(at, value);
  fails(put(0, 0x11223345), { code: 'bad-magic', found: '0x11223345' }, 0);
  fails(put(4, 0), { code: 'bad-version', found: '0' }, 4);
  fails(put(8, 0x80), { code: 'bad-packet', found: '0x80' }, 8);
  fails(put(8, 0x40), { code: 'unsupported', message: /VFIO/ }, 8);
  fails(put(12, 129), { code: 'bad-packet', found: '129' }, 12);
  fails(put(12, 1), { code: 'bad-packet', found: '2', expected: 'at most 1' }, 16);
  fails(put(16, 129), { code: 'bad-packet', found: '129' }, 16);
  fails(put(16, 0xffffffff), { code: 'bad-packet' }, 16);
  fails(put(32, 127), { code: 'bad-packet', found: '127', expected: 'at most 126' }, 32);
  fails(put(20, 8191), { code: 'bad-packet', expected: '8192 for 2 pages' }, 20);
  fails(put(20, 0), { code: 'bad-packet' }, 20);
  fails(put(20, MULTIFD_PAYLOAD_LIMIT_BYTES + 1), { code: 'limit-exceeded' }, 20);
  fails(put(24, 0x200000), { code: 'bad-packet', message: /packet number/ }, 24);
  fails(put(64, 0), { code: 'bad-packet', message: /block name/ }, 64);
  fails(put(64, 0x70630a00), { code: 'bad-packet', message: /block name/ }, 64);
  fails((bytes) => bytes.fill(0x61, 64, 320), { code: 'bad-packet', message: /block name/ }, 64);
  fails(put(324, 0x5001), { code: 'bad-page', found: '0x0000000000005001' }, 320);
  fails(put(336, 0x1000), { code: 'bad-page', message: /page 2/ }, 336);
});

test('a compressed payload has at least a byte and at most 1 MiB', () => {
  const compressed = (payloadBytes: number, flags: number = MultifdFlag.zstd) =>
    encode({ ...PACKET, flags, payloadBytes });
  assert.equal(decode(compressed(1)).payloadBytes, 1);
  assert.equal(decode(compressed(MULTIFD_PAYLOAD_LIMIT_BYTES, MultifdFlag.lz4)).flags, 6);
  assert.throws(() => decode(compressed(0)), { code: 'bad-packet', offset: 84 });
  assert.throws(() => decode(compressed(MULTIFD_PAYLOAD_LIMIT_BYTES + 1)), {
    code: 'limit-exceeded',
    offset: 84,
  });
});

test('names that cannot be encoded', () => {
  for (const blockName of ['', 'n'.repeat(256), 'ä'.repeat(128)]) {
    assert.throws(() => encode({ ...PACKET, blockName }), { code: 'bad-option' });
  }
});
