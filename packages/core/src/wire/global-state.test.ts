import assert from 'node:assert/strict';
import test from 'node:test';
import { decodeRunState, encodeGlobalState, withRunState } from './global-state.ts';

test('the section of a running guest is as QEMU 10 writes it', () => {
  const section = encodeGlobalState('running');
  assert.equal(section.length, 104);
  assert.equal(Buffer.from(section.subarray(0, 12)).toString('hex'), '0000000872756e6e696e6700');
  assert.deepEqual([...section.subarray(36, 38)], [1, 0]);
  assert.equal(decodeRunState(section), 'running');
});

test('another run state changes nothing else, and leaves nothing of the old one', () => {
  const old = encodeGlobalState('finish-migrate').fill(0, 36);
  const section = withRunState(old, 'paused');
  assert.equal(decodeRunState(section), 'paused');
  assert.equal(decodeRunState(old), 'finish-migrate');
  assert.deepEqual(section.subarray(11), new Uint8Array(93));
  assert.deepEqual(withRunState(section, 'finish-migrate'), old);
});

test('bytes that hold no run state', () => {
  for (const bytes of [[], [0, 0, 0, 1], [0, 0, 0, 1, 0], [0, 0, 0, 2, 0xff, 0], [0, 0, 0, 8, 0x72]]) {
    assert.equal(decodeRunState(Uint8Array.from(bytes)), undefined, String(bytes));
  }
});
