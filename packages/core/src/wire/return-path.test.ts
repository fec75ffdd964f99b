import assert from 'node:assert/strict';
import test from 'node:test';
import { hex } from '../testing/wire-streams.ts';
import { encodeReturnPath, ReturnPathDecoder, type ReturnPathMessage } from './return-path.ts';

function decode(bytes: Uint8Array, step = bytes.length): ReturnPathMessage[] {
  const decoder = new ReturnPathDecoder();
  const messages: ReturnPathMessage[] = [];
  const drain = () => {
    for (let message = decoder.next(); message !== undefined; message = decoder.next())
      messages.push(message);
  };
  for (let at = 0; at < bytes.length; at += step) {
    decoder.push(bytes.slice(at, at + step));
    drain();
  }
  decoder.end();
  drain();
  assert.equal(decoder.offset, bytes.length);
  return messages;
}

const CASES: [ReturnPathMessage, string][] = [
  [{ type: 'pong', value: 1 }, '0002 0004 00000001'],
  [{ type: 'shut', value: 0 }, '0001 0004 00000000'],
  [{ type: 'shut', value: 1 }, '0001 0004 00000001'],
  [{ type: 'resume-ack', value: 1 }, '0006 0004 00000001'],
  [{ type: 'switchover-ack' }, '0007 0000'],
  [
    { type: 'req-pages', block: 'pc.ram', offsetBytes: 0x7000, lengthBytes: 4096 },
    '0003 0013 0000000000007000 00001000 06 70632e72616d',
  ],
  [{ type: 'req-pages', offsetBytes: 0x8000, lengthBytes: 4096 }, '0004 000c 0000000000008000 00001000'],
  [
    { type: 'recv-bitmap', block: 'b', bitmap: hex('0f02000000000000') },
    '0005 0002 01 62 0000000000000008 0f02000000000000 0123456789abcdef',
  ],
];

test('every message, both ways', () => {
  for (const [message, wire] of CASES) {
    assert.deepEqual(encodeReturnPath(message), hex(wire), wire);
    assert.deepEqual(decode(hex(wire)), [message]);
  }
});

test('all messages in a row, in chunks of any size', () => {
  const bytes = hex(CASES.map(([, wire]) => wire).join(''));
  for (const step of [1, 2, 3, 7, 50]) {
    assert.deepEqual(
      decode(bytes, step),
      CASES.map(([message]) => message),
    );
  }
});

test('malformed messages', () => {
  const fails = (wire: string, offset: number, found?: string) =>
    assert.throws(() => decode(hex(wire)), {
      code: 'bad-return-path',
      channel: 'return-path',
      offset,
      ...(found && { found }),
    });
  fails('0000 0000', 0, 'type 0');
  fails('0008 0000', 0, 'type 8');
  fails('0002 0004 00000001 0001 0003 000000', 10, '3');
  fails('0001 0000', 2, '0');
  fails('0002 0008 0000000000000000', 2, '8');
  fails('0003 000d 0000000000007000 00001000 00', 2, '13');
  fails('0003 0201', 2, '513');
  fails('0004 000d 0000000000007000 00001000 00', 2, '13');
  fails('0005 0001 00', 2, '1');
  fails('0006 0000', 2, '0');
  fails('0007 0004 00000001', 2, '4');
  // Names that do not fill the payload, or are none.
  fails('0003 0013 0000000000007000 00001000 05 70632e72616d', 16);
  fails('0005 0002 01 00', 4);
  // End mark of a bitmap.
  fails('0005 0002 01 62 0000000000000000 0123456789abcdee', 14, '0x0123456789abcdee');
});

test('bitmaps and offsets that are too large', () => {
  const bitmap = (size: string) => () => decode(hex(`0005 0002 01 62 ${size}`));
  assert.throws(bitmap('0000000010000008'), { code: 'limit-exceeded', offset: 6 });
  assert.throws(bitmap('0000000000000007'), { code: 'limit-exceeded', offset: 6, found: '7' });
  assert.throws(bitmap('8000000000000000'), { code: 'limit-exceeded', offset: 6 });
  assert.throws(() => decode(hex('0004 000c 0020000000000000 00001000')), {
    code: 'limit-exceeded',
    offset: 4,
  });
});

test('a return path that is cut within a message', () => {
  for (const [, wire] of CASES) {
    const bytes = hex(wire);
    for (let length = 1; length < bytes.length; length++) {
      assert.throws(() => decode(bytes.subarray(0, length)), { code: 'truncated', offset: length });
    }
  }
});

test('messages that cannot be encoded', () => {
  const bad = { code: 'bad-option' };
  assert.throws(() => encodeReturnPath({ type: 'recv-bitmap', block: 'b', bitmap: new Uint8Array(7) }), bad);
  assert.throws(() => encodeReturnPath({ type: 'recv-bitmap', block: '', bitmap: new Uint8Array(8) }), bad);
});
