import assert from 'node:assert/strict';
import test from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { MigrationError } from '@pageferry/core';
import type { MultifdCompression } from '@pageferry/core/control';
import { BlockView, RamBlock } from '@pageferry/core/memory';
import {
  createMultifdPacket,
  encodeMultifdPacket,
  MULTIFD_PACKET_BYTES,
  MultifdFlag,
} from '@pageferry/core/wire';
import { CODECS, createDecompressor } from '../codecs/registry.ts';
import { type PacketEvent, PacketReceiver } from './packet-receiver.ts';

const PAGE = 4096;
const HANDSHAKE = 64;

/** A packet as bytes; `fields` overrides what follows from its pages. */
function packet(
  normal: number[],
  zero: number[] = [],
  fields: {
    flags?: number;
    payload?: Uint8Array;
    pagesAlloc?: number;
    block?: string;
    payloadBytes?: number;
  } = {},
): Buffer {
  const header = new Uint8Array(MULTIFD_PACKET_BYTES);
  const payload = fields.payload ?? content(normal);
  const described = createMultifdPacket();
  described.flags = fields.flags ?? 0;
  described.pagesAlloc = fields.pagesAlloc ?? 128;
  described.normalPages = normal.length;
  described.zeroPages = zero.length;
  described.payloadBytes = fields.payloadBytes ?? payload.length;
  described.blockName = fields.block ?? 'pc.ram';
  for (const [i, page] of [...normal, ...zero].entries()) described.pages[i] = page;
  encodeMultifdPacket(described, header);
  return Buffer.concat([header, payload]);
}

/** What the test's pages hold: the page's number, all over. */
function content(pages: number[]): Buffer {
  return Buffer.concat(pages.map((page) => Buffer.alloc(PAGE, 1 + (page % 250))));
}

interface Rig {
  block: RamBlock;
  receiver: PacketReceiver;
  /** From now on no page may be placed. */
  seal(): void;
  feed(bytes: Uint8Array, cut?: (left: number) => number): PacketEvent[];
}

async function rig(compression: MultifdCompression = 'none', blocks = true): Promise<Rig> {
  const block = RamBlock.allocate('pc.ram', 600 * PAGE);
  let sealed = false;
  const receiver = new PacketReceiver({
    mayPlace: () => !sealed,
    channel: 'multifd 1',
    offset: HANDSHAKE,
    methodFlag: CODECS[compression].methodFlag,
    decompressor: await createDecompressor(CODECS[compression]),
  });
  if (blocks) receiver.setBlocks([new BlockView(block)]);
  const feed = (bytes: Uint8Array, cut = (left: number) => left) => {
    const events: PacketEvent[] = [];
    for (let at = 0; at < bytes.length; ) {
      const space = receiver.space()!;
      assert.ok(space.length > 0);
      const count = Math.min(space.length, cut(bytes.length - at));
      space.set(bytes.subarray(at, at + count));
      at += count;
      const event = receiver.filled(count);
      if (event !== 'none') events.push(event);
    }
    return events;
  };
  const seal = () => {
    sealed = true;
  };
  return { block, receiver, seal, feed };
}

function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}

function assertPages(block: RamBlock, pages: number[]): void {
  const expected = Buffer.alloc(block.bytes.length);
  for (const page of pages) content([page]).copy(expected, page * PAGE);
  assert.equal(Buffer.compare(block.bytes, expected), 0);
}

const SCATTERED = [3, 9, 500, 501, 20, 7, 8, 599];
/** Short runs, a run as long as a direct read, short runs again, one more long run. */
const MIXED = [...SCATTERED, ...range(100, 40), 10, 12, ...range(300, 78)];

for (const [how, cut] of [
  ['whole', (left: number) => left],
  ['one byte at a time', () => 1],
  ['in pieces of 4095 bytes', () => 4095],
  ['in pieces of a header and a byte', () => MULTIFD_PACKET_BYTES + 1],
] as const) {
  test(`pages go to their places, read ${how}`, async () => {
    const { block, receiver, feed } = await rig();
    const bytes = Buffer.concat([packet(MIXED), packet(range(200, 64)), packet([0])]);
    assert.deepEqual(feed(bytes, cut), ['packet', 'packet', 'packet']);
    assertPages(block, [...MIXED, ...range(200, 64), 0]);
    assert.equal(receiver.offset, HANDSHAKE + bytes.length);
    assert.ok(receiver.atPacketBoundary);
  });
}

test('long runs are read straight into guest RAM, short ones are not', async () => {
  const { block, receiver, feed } = await rig();
  feed(packet(MIXED).subarray(0, MULTIFD_PACKET_BYTES));
  assert.notEqual(receiver.space()!.buffer, block.buffer);
  feed(content(SCATTERED));
  assert.equal(receiver.space()!.buffer, block.buffer);
  assert.equal(receiver.space()!.byteOffset, 100 * PAGE);
  assert.equal(receiver.space()!.length, 40 * PAGE);
});

test('a zero page clears what is there and leaves alone what is zero', async () => {
  const { block, feed } = await rig();
  feed(packet([4, 5]));
  block.bytes[77 * PAGE + 4095] = 1;
  assert.deepEqual(feed(packet([6], [4, 77, 78])), ['packet']);
  assertPages(block, [5, 6]);
});

test('what QEMU 5.0 to 8.x send: stale lengths, SYNC with pages and an empty packet after it', async () => {
  const { block, feed } = await rig();
  const stale = { payload: new Uint8Array(0), payloadBytes: 118784, block: 'gone' };
  const events = feed(
    Buffer.concat([
      packet([1, 2], [], { flags: MultifdFlag.sync }),
      packet([], [], { ...stale, flags: 0 }),
      packet([], [], { ...stale, flags: MultifdFlag.sync }),
      packet([3]),
    ]),
  );
  assert.deepEqual(events, ['sync', 'packet', 'sync', 'packet']);
  assertPages(block, [1, 2, 3]);
});

test('what QEMU from 9.0 sends: a SYNC packet without room for pages and without a method', async () => {
  const { feed } = await rig('zstd');
  const sync = packet([], [], { flags: MultifdFlag.sync, pagesAlloc: 0, payload: new Uint8Array(0) });
  assert.deepEqual(feed(sync), ['sync']);
});

test('a compressed payload goes to scattered places', async () => {
  const { block, feed } = await rig('zstd');
  const payload = zstdCompressSync(content(MIXED));
  assert.deepEqual(feed(packet(MIXED, [], { flags: MultifdFlag.zstd, payload })), ['packet']);
  assertPages(block, MIXED);
});

const BAD: [string, MultifdCompression, Buffer, Partial<MigrationError>][] = [
  [
    'another method',
    'zlib',
    packet([1], [], { flags: MultifdFlag.zstd }),
    { code: 'compression-mismatch', offset: HANDSHAKE + 8, found: 'zstd', expected: 'zlib' },
  ],
  [
    'no method on compressed channels, zero pages only',
    'zlib',
    packet([], [1]),
    { code: 'compression-mismatch', found: 'none', expected: 'zlib' },
  ],
  [
    'a method on an empty packet of another codec',
    'none',
    packet([], [], { flags: MultifdFlag.qatzip }),
    { code: 'compression-mismatch', found: 'qatzip', expected: 'none' },
  ],
  [
    'an unknown block',
    'none',
    packet([1], [], { block: 'vga.vram' }),
    { code: 'unknown-block', found: '"vga.vram"' },
  ],
  ['a page outside its block', 'none', packet([599, 600]), { code: 'bad-page', offset: HANDSHAKE + 328 }],
  [
    'a zero page outside its block',
    'none',
    packet([1], [600]),
    { code: 'bad-page', offset: HANDSHAKE + 328 },
  ],
  [
    'a payload above the limit',
    'zstd',
    packet([1], [], { flags: MultifdFlag.zstd, payloadBytes: 2 ** 20 + 1 }),
    { code: 'limit-exceeded', offset: HANDSHAKE + 20 },
  ],
  ['a raw payload of another size', 'none', packet([1], [], { payloadBytes: 4000 }), { code: 'bad-packet' }],
  ['too many pages', 'none', packet([1, 2], [], { pagesAlloc: 1 }), { code: 'bad-packet' }],
  ['device state', 'none', packet([], [], { flags: MultifdFlag.deviceState }), { code: 'unsupported' }],
  [
    'garbage for a payload',
    'zlib',
    packet([1], [], { flags: MultifdFlag.zlib, payload: Buffer.from('garbage \0\0\xff\xff', 'latin1') }),
    { code: 'bad-compressed-data', offset: HANDSHAKE },
  ],
];

for (const [what, compression, bytes, expected] of BAD) {
  test(`refused: ${what}`, async () => {
    const { block, feed } = await rig(compression);
    assert.throws(() => feed(bytes), { name: 'MigrationError', channel: 'multifd 1', ...expected });
    assert.ok(
      block.bytes.every((byte) => byte === 0),
      'nothing was written',
    );
  });
}

test('the offset of an error counts all packets before it', async () => {
  const { feed } = await rig();
  const before = Buffer.concat([packet(range(0, 128)), packet([1])]);
  feed(before);
  const error = caught(() => feed(Buffer.alloc(MULTIFD_PACKET_BYTES, 0x55)));
  assert.equal(error.code, 'bad-magic');
  assert.equal(error.offset, HANDSHAKE + before.length);
});

test('pages before the block list or after the last sync are refused', async () => {
  const early = await rig('none', false);
  assert.deepEqual(early.feed(packet([], [], { flags: MultifdFlag.sync, pagesAlloc: 0 })), ['sync']);
  assert.equal(caught(() => early.feed(packet([1]))).code, 'sync-mismatch');
  const late = await rig();
  late.feed(packet([1]));
  late.seal();
  late.feed(packet([]));
  assert.equal(caught(() => late.feed(packet([2]))).code, 'sync-mismatch');
  assertPages(late.block, [1]);
});

test('an end inside a packet names the byte, an end between packets is none', async () => {
  const bytes = packet([1, 2]);
  for (const cut of [
    1,
    11,
    MULTIFD_PACKET_BYTES - 1,
    MULTIFD_PACKET_BYTES,
    MULTIFD_PACKET_BYTES + 1,
    bytes.length - 1,
  ]) {
    const { receiver, feed } = await rig();
    feed(bytes.subarray(0, cut));
    assert.equal(receiver.atPacketBoundary, false);
    const error = receiver.truncated();
    assert.equal(error.code, 'truncated');
    assert.equal(error.channel, 'multifd 1');
    assert.equal(error.offset, HANDSHAKE + cut);
  }
  const { receiver } = await rig();
  assert.equal(receiver.atPacketBoundary, true);
});

test('an end inside a header that is wrong already names what is wrong', async () => {
  const { receiver, feed } = await rig();
  feed(Buffer.alloc(100, 0x55));
  assert.equal(caught(() => receiver.truncated()).code, 'bad-magic');
});

function caught(action: () => unknown): MigrationError {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof MigrationError, String(error));
    return error;
  }
  assert.fail('nothing was thrown');
}
