import assert from 'node:assert/strict';
import { inflateSync } from 'node:zlib';
import {
  decodeXbzrle,
  MultifdDecoder,
  MultifdFlag,
  type MultifdPacket,
  mappedRamBitmapBytes,
  type RamBlockDescriptor,
  StreamDecoder,
} from '@pageferry/core/wire';
import { type Fixture, readConnection, readImage } from './fixtures.ts';

const PAGE_BYTES = 4096;

/** The RAM that a fixture's messages give, by block name. Its multifd channels must not be compressed. */
export function applyFixture(fixture: Fixture): Map<string, Uint8Array> {
  const image = readImage(fixture);
  const decoder = new StreamDecoder();
  decoder.push(image ?? readConnection(fixture, 0));
  decoder.end();
  const channels = fixture.connections
    .filter(({ kind }) => kind === 'multifd')
    .map(({ conn }) => new Channel(readConnection(fixture, conn)));
  const ram = new Map<string, Uint8Array>();
  let list: Uint8Array[] = [];
  let flushed = false;
  for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
    switch (message.type) {
      case 'ram-blocks':
        for (const block of message.blocks) {
          ram.set(block.idstr, image ? mappedPages(image, block) : new Uint8Array(block.usedLengthBytes));
        }
        list = [...ram.values()];
        break;
      case 'ram-page':
        list[message.blockIndex]!.set(message.data, message.pageIndex * PAGE_BYTES);
        break;
      case 'ram-xbzrle': {
        const { blockIndex, pageIndex, data } = message;
        decodeXbzrle(data, 0, data.length, list[blockIndex]!, pageIndex * PAGE_BYTES);
        break;
      }
      case 'ram-compressed-page':
        list[message.blockIndex]!.set(inflateSync(message.data), message.pageIndex * PAGE_BYTES);
        break;
      case 'ram-zero': {
        const at = message.pageIndex * PAGE_BYTES;
        list[message.blockIndex]!.fill(0, at, at + PAGE_BYTES);
        break;
      }
      // One round of SYNC packets per FLUSH word; where there is none, per section.
      case 'ram-multifd-flush':
        flushed = true;
        for (const channel of channels) channel.applyToSync(ram);
        break;
      case 'ram-eos':
        if (!flushed) for (const channel of channels) channel.applyToSync(ram);
        break;
    }
  }
  for (const channel of channels) channel.applyRest(ram);
  return ram;
}

class Channel {
  readonly #decoder = new MultifdDecoder('multifd');

  constructor(bytes: Uint8Array) {
    this.#decoder.push(bytes);
    this.#decoder.end();
    assert.equal(this.#decoder.next()?.type, 'handshake');
  }

  applyToSync(ram: ReadonlyMap<string, Uint8Array>): void {
    for (;;) {
      const message = this.#decoder.next();
      assert.equal(message?.type, 'packet', 'a SYNC packet is missing');
      applyPacket(ram, message.packet, message.payload);
      if (message.packet.flags & MultifdFlag.sync) return;
    }
  }

  applyRest(ram: ReadonlyMap<string, Uint8Array>): void {
    for (let message = this.#decoder.next(); message !== undefined; message = this.#decoder.next()) {
      assert.equal(message.type, 'packet');
      assert.equal(message.packet.flags & MultifdFlag.sync, 0, 'a SYNC packet too many');
      applyPacket(ram, message.packet, message.payload);
    }
    assert.ok(this.#decoder.done);
  }
}

function applyPacket(ram: ReadonlyMap<string, Uint8Array>, packet: MultifdPacket, payload: Uint8Array) {
  const { normalPages, zeroPages, pages } = packet;
  if (normalPages + zeroPages === 0) return;
  const block = ram.get(packet.blockName)!;
  for (let i = 0; i < normalPages + zeroPages; i++) {
    const at = pages[i]! * PAGE_BYTES;
    if (i < normalPages) block.set(payload.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES), at);
    else block.fill(0, at, at + PAGE_BYTES);
  }
}

/** The pages of a block in a mapped-ram file: those whose bit is set; all others are zero. */
function mappedPages(image: Uint8Array, block: RamBlockDescriptor): Uint8Array {
  const { bitmapOffset, pagesOffset } = block.mappedRam!;
  const bitmap = image.subarray(bitmapOffset, bitmapOffset + mappedRamBitmapBytes(block.usedLengthBytes));
  const ram = new Uint8Array(block.usedLengthBytes);
  for (let page = 0; page < ram.length / PAGE_BYTES; page++) {
    if ((bitmap[page >> 3]! & (1 << (page & 7))) === 0) continue;
    const at = pagesOffset + page * PAGE_BYTES;
    ram.set(image.subarray(at, at + PAGE_BYTES), page * PAGE_BYTES);
  }
  return ram;
}
