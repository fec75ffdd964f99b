import assert from 'node:assert/strict';
import test from 'node:test';
import {
  parseInteger,
  parseMilliseconds,
  parseOnOff,
  parseSeconds,
  parseSize,
  parseUuidOption,
} from './values.ts';

test('sizes take binary suffixes', () => {
  assert.equal(parseSize('4096'), 4096);
  assert.equal(parseSize('64k'), 65_536);
  assert.equal(parseSize('512M'), 512 * 2 ** 20);
  assert.equal(parseSize('2G'), 2 ** 31);
  assert.equal(parseSize('1.5GiB'), 1.5 * 2 ** 30);
  assert.equal(parseSize('1T'), 2 ** 40);
  assert.equal(parseSize('0'), 0);
});

test('sizes that mean nothing are refused', () => {
  for (const text of ['', 'M', '-1', '1.5', '12MB', '1e3', '0x10', '9999999999T', '64 M M']) {
    assert.throws(() => parseSize(text), /size is a number of bytes/i, text);
  }
});

test('times have a default unit and take suffixes', () => {
  assert.equal(parseSeconds('10'), 10_000);
  assert.equal(parseSeconds('0.5'), 500);
  assert.equal(parseSeconds('250ms'), 250);
  assert.equal(parseSeconds('2m'), 120_000);
  assert.equal(parseSeconds('0'), 0);
  assert.equal(parseMilliseconds('300'), 300);
  assert.equal(parseMilliseconds('2s'), 2000);
});

test('times that mean nothing, or more than a timer holds, are refused', () => {
  for (const text of ['', 's', '-1', '10h', '3000000', 'NaN']) {
    assert.throws(() => parseSeconds(text), /time is a number of seconds/, text);
  }
  assert.throws(() => parseMilliseconds('x'), /number of milliseconds/);
});

test('integers keep to their range', () => {
  const parse = parseInteger(1, 255);
  assert.equal(parse('1'), 1);
  assert.equal(parse('255'), 255);
  for (const text of ['0', '256', '-1', '1.5', 'two', '']) {
    assert.throws(() => parse(text), /integer from 1 to 255/, text);
  }
});

test('on and off', () => {
  assert.equal(parseOnOff('on'), true);
  assert.equal(parseOnOff('off'), false);
  assert.throws(() => parseOnOff('yes'), /on or off/);
});

test('UUIDs become 16 bytes in the order in which they are written', () => {
  const bytes = parseUuidOption('6ba7b810-9dad-11d1-80b4-00c04fd430c8');
  assert.equal(Buffer.from(bytes).toString('hex'), '6ba7b8109dad11d180b400c04fd430c8');
  assert.deepEqual(parseUuidOption('6BA7B8109DAD11D180B400C04FD430C8'), bytes);
  for (const text of ['', '6ba7b810', '6ba7b810-9dad-11d1-80b4-00c04fd430c8-', 'g'.repeat(32)]) {
    assert.throws(() => parseUuidOption(text), /UUID looks like/, text);
  }
});
