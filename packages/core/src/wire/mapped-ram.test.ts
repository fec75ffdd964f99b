import assert from 'node:assert/strict';
import test from 'node:test';
import { BLOCKS, DEVICES, end, endOfRam, hex, tail } from '../testing/wire-streams.ts';
import { concatBytes } from './byte-writer.ts';
import { encodeConfiguration, encodeStreamHeader } from './configuration.ts';
import { RamFlag, type StreamMessage } from './messages.ts';
import {
  encodeMappedRamHeader,
  encodeMultifdFlush,
  encodeRamBlockEntry,
  encodeRamWord,
  MAPPED_RAM_HEADER_BYTES,
} from './ram-records.ts';
import { encodeSectionStart } from './section.ts';
import { StreamDecoder } from './stream-decoder.ts';

const ALIGNMENT = 0x4000;

/** A mapped-ram file that starts at `offset`, with pages full of bytes that must not be decoded. */
function mappedFile(offset: number): {
  file: Uint8Array;
  headers: { bitmapOffset: number; pagesOffset: number }[];
} {
  const parts = [
    new Uint8Array(offset).fill(0xee),
    encodeStreamHeader(),
    encodeConfiguration({ machine: 'pc-i440fx-10.0', capabilities: ['mapped-ram'] }),
    encodeSectionStart({ sectionId: 2, idstr: 'ram', instanceId: 0, versionId: 4 }),
    encodeRamWord(20480, RamFlag.memSize),
  ];
  const headers = BLOCKS.map((block) => {
    parts.push(encodeRamBlockEntry(block));
    const bitmapOffset = concatBytes(parts).length + MAPPED_RAM_HEADER_BYTES;
    const pagesOffset = Math.ceil((bitmapOffset + 8) / ALIGNMENT) * ALIGNMENT;
    parts.push(encodeMappedRamHeader({ version: 1, pageSizeBytes: 4096, bitmapOffset, pagesOffset }));
    parts.push(new Uint8Array(pagesOffset - bitmapOffset + block.usedLengthBytes).fill(0xee));
    return { bitmapOffset, pagesOffset };
  });
  return { file: concatBytes([...parts, endOfRam, end, tail(DEVICES)]), headers };
}

function drain(decoder: StreamDecoder, messages: StreamMessage[]): void {
  for (let message = decoder.next(); message !== undefined; message = decoder.next()) messages.push(message);
}

for (const offset of [0, 5000]) {
  test(`a file whose stream starts at ${offset}: all of it, or only what is wanted`, () => {
    const { file, headers } = mappedFile(offset);
    const sequential: StreamMessage[] = [];
    const decoder = new StreamDecoder({ offset });
    for (let at = offset; at < file.length; at += 999) {
      decoder.push(file.slice(at, at + 999));
      drain(decoder, sequential);
    }
    assert.ok(decoder.done);
    const list = sequential.find(({ type }) => type === 'ram-blocks');
    assert.deepEqual(list, {
      type: 'ram-blocks',
      totalBytes: 20480,
      blocks: BLOCKS.map((block, i) => ({
        ...block,
        mappedRam: { version: 1, pageSizeBytes: 4096, ...headers[i] },
      })),
    });

    const jumping: StreamMessage[] = [];
    const random = new StreamDecoder({ offset });
    let read = 0;
    let at = offset;
    while (!random.done) {
      at = random.wanted ?? at;
      random.push(file.slice(at, at + 256), at);
      read += 256;
      at += 256;
      drain(random, jumping);
    }
    assert.deepEqual(jumping, sequential);
    assert.equal(random.offset, file.length);
    assert.ok(read < 4096, `${read} bytes were read`);
  });
}

test('a file that ends within the pages is truncated there', () => {
  const { file } = mappedFile(0);
  const decoder = new StreamDecoder({ channel: 'guest.img' });
  decoder.push(file.subarray(0, 10_000));
  assert.doesNotThrow(() => drain(decoder, []));
  assert.ok(decoder.wanted! > 10_000);
  decoder.end();
  const error = { code: 'truncated', channel: 'guest.img', offset: 10_000, expected: 'name of a RAM block' };
  assert.throws(() => drain(decoder, []), error);
});

test('only EOS may be among the records', () => {
  const { file } = mappedFile(0);
  const before = file.length - concatBytes([endOfRam, end, tail(DEVICES)]).length;
  for (const record of [
    encodeMultifdFlush(),
    hex('0000000000000008'),
    hex('0000000000000002'),
    hex('0000000000000040'),
  ]) {
    const decoder = new StreamDecoder();
    decoder.push(concatBytes([file.subarray(0, before), record]));
    assert.throws(() => drain(decoder, []), { code: 'unknown-flag', offset: before, message: /mapped-ram/ });
  }
});
