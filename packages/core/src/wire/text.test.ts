import assert from 'node:assert/strict';
import test from 'node:test';
import { ByteQueue } from './byte-queue.ts';
import { decodeCountedString, decodeText, encodeCountedString, encodeText, hexOf } from './text.ts';

function decode(...bytes: number[]): string {
  const queue = new ByteQueue('main', 5);
  queue.push(Uint8Array.from(bytes));
  queue.end();
  const result = decodeCountedString(queue, 'name').next();
  assert.ok(result.done);
  return result.value;
}

test('counted strings, both ways', () => {
  assert.deepEqual(encodeCountedString('pc.ram'), Uint8Array.of(6, 0x70, 0x63, 0x2e, 0x72, 0x61, 0x6d));
  assert.equal(decode(6, 0x70, 0x63, 0x2e, 0x72, 0x61, 0x6d), 'pc.ram');
  for (const name of ['x', 'ä→😀', '\uFEFFbom', 'n'.repeat(255)]) {
    assert.equal(decode(...encodeCountedString(name)), name);
  }
});

test('names that cannot be encoded', () => {
  assert.throws(() => encodeCountedString(''), { code: 'bad-option' });
  assert.throws(() => encodeCountedString('ä'.repeat(128)), { code: 'bad-option' });
});

test('malformed counted strings', () => {
  assert.throws(() => decode(0), { code: 'bad-section', offset: 5, message: /name is empty/ });
  assert.throws(() => decode(2, 0x61, 0x00), { code: 'bad-section', offset: 5, found: '0x6100' });
  assert.throws(() => decode(1, 0xff), { code: 'bad-section' });
  assert.throws(() => decode(3, 0x61), { code: 'truncated', offset: 7, expected: 'name' });
  assert.throws(() => decode(), { code: 'truncated', offset: 5 });
});

test('text with control characters is none', () => {
  assert.equal(decodeText(encodeText('a\u001b[31m')), undefined);
  assert.equal(decodeText(Uint8Array.of(0x7f)), undefined);
  assert.equal(decodeText(Uint8Array.of(0xc3)), undefined);
  const shared = new Uint8Array(new SharedArrayBuffer(2));
  shared.set([0x68, 0x69]);
  assert.equal(decodeText(shared), 'hi');
});

test('hex for messages is bounded', () => {
  assert.equal(hexOf(Uint8Array.of(1, 0xab)), '0x01ab');
  assert.equal(hexOf(new Uint8Array(20)), `0x${'00'.repeat(16)}…`);
});
