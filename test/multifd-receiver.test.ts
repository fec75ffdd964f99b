import assert from 'node:assert/strict';
import test from 'node:test';
import type { CodecBackend, MultifdCompression } from '@pageferry/core/control';
import { BlockView, RamBlock } from '@pageferry/core/memory';
import { MULTIFD_HANDSHAKE_BYTES, StreamDecoder } from '@pageferry/core/wire';
import { PacketReceiver } from '../packages/workers/src/channels/packet-receiver.ts';
import { CODECS, createDecompressor } from '../packages/workers/src/codecs/registry.ts';
import { assertRamMatches, type Fixture, listFixtures, readConnection } from './lib/fixtures.ts';

/** Recorded multifd channels of QEMU 7.2 and 10.0 through the receiving channels' state machine. */

const PAGE_BYTES = 4096;
const FIXTURES = listFixtures().filter(
  ({ connections, stream_complete }) => stream_complete && connections.some(({ kind }) => kind === 'multifd'),
);

/** How the bytes of a channel are cut: at most that many are offered at a time. */
const CUTS: [string, (left: number) => number][] = [
  ['whole', (left) => left],
  ['in odd pieces', odd()],
];

assert.ok(FIXTURES.length >= 10, 'there are recorded multifd channels');
for (const fixture of FIXTURES) {
  const compression = (fixture.parameters['multifd-compression'] ?? 'none') as MultifdCompression;
  const { decompressBackends } = CODECS[compression];
  // Every backend on whole reads, the default on the others.
  const cases = CUTS.map(([how, cut]) => ({ how, cut, backend: decompressBackends[0] }));
  for (const backend of decompressBackends.slice(1)) {
    cases.push({ how: `whole by ${backend}`, cut: (left) => left, backend });
  }
  for (const { how, cut, backend } of cases) {
    test(`${fixture.path}, read ${how}`, async () => {
      const blocks = await replay(fixture, compression, cut, backend);
      for (const [idstr, expected] of Object.entries(fixture.expected_ram)) {
        if (!expected.in_stream) continue;
        const block = blocks.find((candidate) => candidate.idstr === idstr);
        assert.ok(block, `block ${idstr}`);
        assertRamMatches(fixture, idstr, block.bytes);
      }
    });
  }
}

test('recorded channels one byte at a time', async () => {
  const fixture = FIXTURES.find(({ path }) => path === '7.2/multifd-zstd');
  assert.ok(fixture);
  const blocks = await replay(fixture, 'zstd', () => 1);
  for (const block of blocks) assertRamMatches(fixture, block.idstr, block.bytes);
});

/** Plays main channel and multifd channels in the order that the sync points give. */
async function replay(
  fixture: Fixture,
  compression: MultifdCompression,
  cut: (left: number) => number,
  backend?: CodecBackend,
): Promise<RamBlock[]> {
  const main = new StreamDecoder();
  main.push(readConnection(fixture, 0));
  main.end();
  const channels: ReplayedChannel[] = [];
  for (const { conn } of fixture.connections.filter(({ kind }) => kind === 'multifd')) {
    const decompressor = await createDecompressor(CODECS[compression], backend);
    const receiver = new PacketReceiver({
      mayPlace: () => true,
      channel: `multifd (connection ${conn})`,
      offset: MULTIFD_HANDSHAKE_BYTES,
      methodFlag: CODECS[compression].methodFlag,
      decompressor,
    });
    channels.push(new ReplayedChannel(readConnection(fixture, conn), receiver, cut));
  }
  let blocks: RamBlock[] = [];
  let perPass = false;
  for (let message = main.next(); message !== undefined; message = main.next()) {
    switch (message.type) {
      case 'ram-blocks': {
        blocks = message.blocks.map((block) => RamBlock.allocate(block.idstr, block.usedLengthBytes));
        const views = blocks.map((block) => new BlockView(block));
        for (const channel of channels) channel.receiver.setBlocks(views);
        break;
      }
      case 'ram-page':
        blocks[message.blockIndex]!.bytes.set(message.data, message.pageIndex * PAGE_BYTES);
        break;
      case 'ram-zero': {
        const at = message.pageIndex * PAGE_BYTES;
        blocks[message.blockIndex]!.bytes.fill(0, at, at + PAGE_BYTES);
        break;
      }
      case 'ram-multifd-flush':
        perPass = true;
        for (const channel of channels) channel.toSync();
        break;
      case 'ram-eos':
        if (!perPass) for (const channel of channels) channel.toSync();
        break;
    }
  }
  for (const channel of channels) channel.toEnd();
  return blocks;
}

class ReplayedChannel {
  readonly receiver: PacketReceiver;
  readonly #bytes: Uint8Array;
  readonly #cut: (left: number) => number;

  constructor(bytes: Uint8Array, receiver: PacketReceiver, cut: (left: number) => number) {
    this.#bytes = bytes;
    this.receiver = receiver;
    this.#cut = cut;
  }

  toSync(): void {
    while (this.receiver.offset < this.#bytes.length) if (this.#feed() === 'sync') return;
    assert.fail('a SYNC packet is missing');
  }

  toEnd(): void {
    while (this.receiver.offset < this.#bytes.length)
      assert.notEqual(this.#feed(), 'sync', 'a SYNC too many');
    assert.ok(this.receiver.atPacketBoundary);
  }

  #feed() {
    const at = this.receiver.offset;
    const space = this.receiver.space()!;
    const count = Math.min(space.length, this.#cut(this.#bytes.length - at));
    space.set(this.#bytes.subarray(at, at + count));
    return this.receiver.filled(count);
  }
}

function odd(): (left: number) => number {
  let state = 12345;
  return (left) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.max(1, Math.min(left, (state >>> 8) % 40_000));
  };
}
