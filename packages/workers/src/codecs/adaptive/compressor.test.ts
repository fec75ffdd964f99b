import assert from 'node:assert/strict';
import test from 'node:test';
import { SharedPrice } from '../../channels/shared-price.ts';
import { PACKET_PAGES_BYTES } from '../codec.ts';
import { type AdaptiveCompressor, createAdaptiveCompressor } from './compressor.ts';
import { createAdaptiveDecompressor } from './decompressor.ts';
import { looksRandom } from './random-bytes.ts';

const PLACE = { channel: 'multifd 0', offset: 0 };

function words(seed: number): Uint8Array {
  const bytes = new Uint8Array(PACKET_PAGES_BYTES);
  let state = seed;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = 97 + ((state >>> 28) % 8);
  }
  return bytes;
}

function noise(seed: number): Uint8Array {
  const bytes = new Uint8Array(PACKET_PAGES_BYTES);
  let state = seed;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** A channel over a link of this rate, on a clock that the link moves; everything that arrives is checked. */
class Channel {
  readonly compressor: AdaptiveCompressor;
  readonly #decompressor = createAdaptiveDecompressor();
  readonly #target = new Uint8Array(1 << 20);
  readonly #bytesPerMs: number;
  #ms = 0;
  #sentBytes = 0;

  constructor(bytesPerMs: number) {
    this.#bytesPerMs = bytesPerMs;
    this.compressor = createAdaptiveCompressor(undefined, () => this.#ms);
    this.compressor.attach({
      limitBytesPerMs: bytesPerMs,
      channels: 1,
      price: new SharedPrice(new Int32Array(1), 0),
      sentBytes: () => this.#sentBytes,
      progress: (into) => {
        into.busyMs = this.#sentBytes / bytesPerMs;
        into.arrivedBytes = this.#sentBytes;
        return true;
      },
    });
  }

  /** Returns the byte that names the packet's codec, or 0 for pages as they are. */
  send(block: number, page: number, pages: Uint8Array): number {
    const { compressor } = this;
    compressor.locate(block, page);
    let payload = pages;
    if (!compressor.sendsRaw(pages.length)) payload = compressor.compress(pages, this.#target);
    const got = this.#decompressor.decompress(payload, pages.length, PLACE);
    assert.equal(Buffer.compare(got, pages), 0);
    this.#sentBytes += payload.length;
    const linkMs = payload.length / this.#bytesPerMs;
    this.#ms += linkMs;
    compressor.observe(linkMs / 2, linkMs / 2, payload.length);
    return payload.length === pages.length ? 0 : payload[0]!;
  }

  close(): void {
    this.compressor.close();
    this.#decompressor.close();
  }
}

test('incompressible regions are recognised, left alone, and tried again now and then', () => {
  const channel = new Channel(20_000);
  for (let i = 0; i < 10; i++) assert.notEqual(channel.send(0, i * 128, words(i)), 0);
  let tried = 0;
  for (let i = 0; i < 100; i++) if (channel.send(0, (1000 + i) * 128, noise(i)) !== 0) tried++;
  assert.ok(tried >= 2 && tried <= 6, `${tried} of 100 packets of noise were compressed`);
  // The second pass over the same memory knows it.
  let again = 0;
  for (let i = 0; i < 64; i++) if (channel.send(0, (1000 + i) * 128, noise(i + 7)) !== 0) again++;
  assert.ok(again <= 3, `${again} of 64`);
  channel.close();
});

test('where the bytes of an incompressible region have changed it is tried at once', () => {
  const channel = new Channel(20_000);
  for (let i = 0; i < 10; i++) channel.send(0, i * 128, words(i));
  for (let i = 0; i < 40; i++) channel.send(0, 128_000, noise(i));
  assert.equal(channel.send(0, 128_000, noise(99)), 0);
  assert.notEqual(channel.send(0, 128_000, words(1)), 0);
  channel.close();
});

test('a fast link gets pages as they are, which the channel need not copy', () => {
  const channel = new Channel(20_000_000);
  for (let i = 0; i < 50; i++) assert.equal(channel.send(0, i * 128, words(i)), 0);
  channel.compressor.locate(0, 0);
  assert.equal(channel.compressor.sendsRaw(4096), true);
  channel.close();
});

test('without a word about its link and places it works all the same', () => {
  const compressor = createAdaptiveCompressor();
  const decompressor = createAdaptiveDecompressor();
  const target = new Uint8Array(1 << 20);
  for (let i = 0; i < 20; i++) {
    const pages = i % 4 === 3 ? noise(i) : words(i);
    const payload = compressor.compress(pages, target);
    assert.equal(Buffer.compare(decompressor.decompress(payload, pages.length, PLACE), pages), 0);
    compressor.observe(0.1, 0.2, payload.length);
  }
  compressor.close();
  decompressor.close();
});

test('random bytes look random, others do not', () => {
  for (let seed = 1; seed < 50; seed++) {
    assert.equal(looksRandom(noise(seed)), true);
    assert.equal(looksRandom(noise(seed).subarray(0, 4096)), true);
    assert.equal(looksRandom(words(seed)), false);
  }
  const pointers = new Uint8Array(4096);
  for (let at = 0; at < 4096; at += 8) pointers.set([at & 0xff, at >> 8, 0x34, 0x12, 0xff, 0x7f, 0, 0], at);
  assert.equal(looksRandom(pointers), false);
  assert.equal(looksRandom(new Uint8Array(4096)), false);
  const hex = noise(3).map((byte) => '0123456789abcdef'.charCodeAt(byte & 15));
  assert.equal(looksRandom(hex), false);
});
