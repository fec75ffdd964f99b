import assert from 'node:assert/strict';
import test from 'node:test';
import { JsonSplitter } from './json-splitter.ts';

/** What comes out for a text, however it is cut; `!` in front of a problem. */
function split(bytes: string | Buffer, chunkBytes = Number.MAX_SAFE_INTEGER, maxBytes = 1000): string[] {
  const splitter = new JsonSplitter(maxBytes);
  const all = Buffer.from(bytes);
  const found: string[] = [];
  for (let at = 0; at < all.length; at += chunkBytes) {
    for (const piece of splitter.push(all.subarray(at, at + chunkBytes))) {
      found.push('text' in piece ? piece.text : `!${piece.problem}`);
    }
  }
  return found;
}

const STREAMS: Record<string, { bytes: string | Buffer; pieces: string[] }> = {
  'objects with and without space between': {
    bytes: ' {"a":1}{"b":[]}\r\n\t{}',
    pieces: ['{"a":1}', '{"b":[]}', '{}'],
  },
  'brackets and quotes in strings': {
    bytes: `{"a":"}]\\"{","b":'"}'} {}`,
    pieces: [`{"a":"}]\\"{","b":'"}'}`, '{}'],
  },
  'a backslash at the end of a string': { bytes: '{"a":"\\\\"}{}', pieces: ['{"a":"\\\\"}', '{}'] },
  'bare words end at a space or at a bracket': {
    bytes: 'null 12[1]"x"7\n',
    pieces: ['null', '12', '[1]', '"x"', '7'],
  },
  'letters of several bytes': { bytes: '{"a":"é€😀"}', pieces: ['{"a":"é€😀"}'] },
  "a line's end in a string": {
    bytes: '{"a":"b\n{"c":1}',
    pieces: ['!a control character in a string', '{"c":1}'],
  },
  'a bracket too many': { bytes: '{}]{}', pieces: ['{}', '!a ] that closes nothing', '{}'] },
  'the byte 0xFF drops what is unfinished': {
    bytes: Buffer.concat([Buffer.from('{"a":["'), Buffer.of(0xff), Buffer.from('{"b":2}')]),
    pieces: ['!the byte 0xFF', '{"b":2}'],
  },
  'invalid UTF-8': {
    bytes: Buffer.concat([Buffer.from('{"a":"'), Buffer.of(0xc3, 0x28), Buffer.from('"}{}')]),
    pieces: ['!invalid UTF-8', '{}'],
  },
};

for (const [name, { bytes, pieces }] of Object.entries(STREAMS)) {
  test(`splits: ${name}`, () => {
    for (const chunkBytes of [1, 2, 3, 7, undefined]) assert.deepEqual(split(bytes, chunkBytes), pieces);
  });
}

test('a value over the limit ends the reading, also when it never ends', () => {
  const splitter = new JsonSplitter(100);
  assert.deepEqual(splitter.push(Buffer.from(`{"a":"${'x'.repeat(92)}"}`)).length, 1);
  for (let i = 0; i < 3; i++) assert.deepEqual(splitter.push(Buffer.from(`["${'x'.repeat(28)}",`)), []);
  assert.deepEqual(splitter.push(Buffer.from('["yy"]')), [{ problem: 'a value of more than 100 bytes' }]);
  assert.ok(splitter.overflowed);
  assert.deepEqual(splitter.push(Buffer.from('{}')), []);
});

test('brackets may be 1024 deep', () => {
  const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
  assert.deepEqual(split(nested(1024), 100, 10_000), [nested(1024)]);
  assert.equal(split('['.repeat(1025), 100, 10_000)[0], '!more than 1024 brackets inside each other');
});
