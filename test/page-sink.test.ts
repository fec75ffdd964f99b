import assert from 'node:assert/strict';
import test from 'node:test';
import { type PageSink, StreamDecoder } from '@pageferry/core/wire';
import { listFixtures, readConnection } from './lib/fixtures.ts';

/** Pages that a sink takes are those that come as messages otherwise, however the stream is cut. */

interface Seen {
  pages: string[];
  others: string[];
}

function decode(bytes: Uint8Array, step: number, withSink: boolean): Seen {
  const seen: Seen = { pages: [], others: [] };
  const page = (block: number, index: number, data: Uint8Array) =>
    seen.pages.push(`${block} ${index} ${Buffer.from(data).toString('latin1', 0, 64)} ${data.length}`);
  const sink: PageSink = {
    page: (block, index, memory, at) => {
      page(block, index, memory.subarray(at, at + 4096));
      return true;
    },
    zero: (block, index) => {
      seen.pages.push(`${block} ${index} zero`);
      return true;
    },
    xbzrle: (block, index, memory, at, length) => {
      page(block, index, memory.subarray(at, at + length));
      return true;
    },
  };
  const decoder = new StreamDecoder(withSink ? { pages: sink } : {});
  const drain = () => {
    for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
      if (message.type === 'ram-page' || message.type === 'ram-xbzrle')
        page(message.blockIndex, message.pageIndex, message.data);
      else if (message.type === 'ram-zero')
        seen.pages.push(`${message.blockIndex} ${message.pageIndex} zero`);
      else seen.others.push(message.type);
    }
  };
  for (let at = 0; at < bytes.length; at += step) {
    decoder.push(bytes.subarray(at, at + step));
    drain();
  }
  decoder.end();
  drain();
  return seen;
}

for (const fixture of listFixtures().filter(({ path }) => /\/(precopy(-iterations)?|xbzrle)$/.test(path))) {
  test(`${fixture.path}: pages by sink and by message`, () => {
    const bytes = readConnection(fixture, 0);
    const expected = decode(bytes, 1 << 20, false);
    assert.ok(expected.pages.length > 100);
    for (const step of [1 << 20, 5003, 700]) assert.deepEqual(decode(bytes, step, true), expected);
  });
}
