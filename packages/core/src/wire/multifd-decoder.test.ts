import assert from 'node:assert/strict';
import test from 'node:test';
import { hex } from '../testing/wire-streams.ts';
import { concatBytes } from './byte-writer.ts';
import {
  createMultifdPacket,
  encodeMultifdHandshake,
  encodeMultifdPacket,
  MULTIFD_PACKET_BYTES,
  MultifdFlag,
} from './multifd.ts';
import { MultifdDecoder } from './multifd-decoder.ts';

function packet(fields: { flags?: number; normalPages?: number; zeroPages?: number; payloadBytes?: number }) {
  const bytes = new Uint8Array(MULTIFD_PACKET_BYTES);
  encodeMultifdPacket({ ...createMultifdPacket(), pagesAlloc: 128, blockName: 'pc.ram', ...fields }, bytes);
  return bytes;
}

const PAYLOAD = Uint8Array.from({ length: 777 }, (_, i) => i);
const CHANNEL = concatBytes([
  encodeMultifdHandshake({ channel: 1, uuid: hex('00112233445566778899aabbccddeeff') }),
  packet({ flags: MultifdFlag.zlib, normalPages: 1, payloadBytes: 777 }),
  PAYLOAD,
  packet({ flags: MultifdFlag.sync }),
  packet({ zeroPages: 1 }),
]);

function decode(bytes: Uint8Array, step: number) {
  const decoder = new MultifdDecoder('multifd 1');
  const messages: unknown[] = [];
  const drain = () => {
    for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
      if (message.type === 'handshake') messages.push([message.channel, message.uuid.length]);
      else {
        const { flags, normalPages, zeroPages } = message.packet;
        messages.push([flags, normalPages, zeroPages, message.payload.slice()]);
      }
    }
  };
  for (let at = 0; at < bytes.length; at += step) {
    decoder.push(bytes.slice(at, at + step));
    drain();
    assert.equal(decoder.done, false);
  }
  decoder.end();
  drain();
  return { messages, done: decoder.done, offset: decoder.offset };
}

test('a channel in chunks of any size', () => {
  for (const step of [1, 100, 1344, 1 << 20]) {
    assert.deepEqual(decode(CHANNEL, step), {
      messages: [
        [1, 16],
        [2, 1, 0, PAYLOAD],
        [1, 0, 0, hex('')],
        [0, 0, 1, hex('')],
      ],
      done: true,
      offset: CHANNEL.length,
    });
  }
});

test('a channel that ends within a packet', () => {
  const afterHandshake = 64;
  const afterPacket = 64 + MULTIFD_PACKET_BYTES + 777;
  for (const length of [0, 1, 63, 65, 75, 76, 64 + MULTIFD_PACKET_BYTES, afterPacket - 1, afterPacket + 1]) {
    const error = { code: 'truncated', channel: 'multifd 1', offset: length };
    assert.throws(() => decode(CHANNEL.subarray(0, length), 100), error);
  }
  for (const length of [afterHandshake, afterPacket]) {
    assert.equal(decode(CHANNEL.subarray(0, length), 100).done, true);
  }
});

test('a device-state packet is refused by its first 12 bytes', () => {
  const bytes = concatBytes([CHANNEL.subarray(0, 64), hex('11223344 00000001 00000040')]);
  assert.throws(() => decode(bytes, 5), { code: 'unsupported', channel: 'multifd 1', offset: 72 });
});

test('wrong bytes are named by their place in the channel', () => {
  const handshake = CHANNEL.with(0, 0);
  assert.throws(() => decode(handshake, 500), { code: 'bad-magic', offset: 0 });
  const second = 64 + MULTIFD_PACKET_BYTES + 777;
  assert.throws(() => decode(CHANNEL.with(second + 3, 0), 500), { code: 'bad-magic', offset: second });
});
