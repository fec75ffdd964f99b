import assert from 'node:assert/strict';
import test from 'node:test';
import { hex } from '../testing/wire-streams.ts';
import { ByteQueue } from './byte-queue.ts';
import { SectionType } from './messages.ts';
import {
  decodeFooter,
  decodeSectionHeader,
  encodeDeviceSection,
  encodeEof,
  encodeFooter,
  encodeSectionEnd,
  encodeSectionPart,
  encodeSectionStart,
} from './section.ts';

const GLOBALSTATE = { sectionId: 0x2c, idstr: 'globalstate', instanceId: 0, versionId: 1 };
const GLOBALSTATE_HEAD = hex('0000002c 0b 676c6f62616c7374617465 00000000 00000001');

function queueOf(bytes: Uint8Array): ByteQueue {
  const queue = new ByteQueue('main');
  queue.push(bytes);
  queue.end();
  return queue;
}

test('section headers, both ways', () => {
  assert.deepEqual(encodeSectionStart(GLOBALSTATE, SectionType.full), Uint8Array.of(4, ...GLOBALSTATE_HEAD));
  assert.deepEqual(
    encodeSectionStart({ sectionId: 2, idstr: 'ram', instanceId: 0, versionId: 4 }),
    hex('01 00000002 03 72616d 00000000 00000004'),
  );
  assert.deepEqual(encodeSectionPart(2), hex('02 00000002'));
  assert.deepEqual(encodeSectionEnd(0xfffffffe), hex('03 fffffffe'));
  assert.deepEqual(encodeFooter(2), hex('7e 00000002'));
  assert.deepEqual(encodeEof(), hex('00'));
  const result = decodeSectionHeader(queueOf(GLOBALSTATE_HEAD)).next();
  assert.deepEqual(result.value, GLOBALSTATE);
});

test('a device section, with and without footer', () => {
  const section = { ...GLOBALSTATE, data: hex('0102') };
  const body = Uint8Array.of(4, ...GLOBALSTATE_HEAD, 1, 2);
  assert.deepEqual(encodeDeviceSection(section), Uint8Array.of(...body, 0x7e, 0, 0, 0, 0x2c));
  assert.deepEqual(encodeDeviceSection(section, false), body);
});

test('a section header that is cut anywhere', () => {
  for (let length = 0; length < GLOBALSTATE_HEAD.length; length++) {
    const queue = queueOf(GLOBALSTATE_HEAD.subarray(0, length));
    assert.throws(() => decodeSectionHeader(queue).next(), { code: 'truncated', offset: length });
  }
});

test('footers', () => {
  assert.equal(decodeFooter(queueOf(hex('7e 00000002')), 2).next().done, true);
  const wrongType = { code: 'bad-section', offset: 0, found: '0x2' };
  assert.throws(() => decodeFooter(queueOf(hex('02')), 2).next(), wrongType);
  const wrongId = { code: 'bad-section', offset: 0, found: '3', expected: '2' };
  assert.throws(() => decodeFooter(queueOf(hex('7e 00000003')), 2).next(), wrongId);
  assert.throws(() => decodeFooter(queueOf(hex('7e 0000')), 2).next(), { code: 'truncated', offset: 3 });
});
