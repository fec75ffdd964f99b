import assert from 'node:assert/strict';
import test from 'node:test';
import { DEVICES, describe, device, hex, tail } from '../testing/wire-streams.ts';
import { concatBytes } from './byte-writer.ts';
import { headerAt, isPlausibleHeader, splitDeviceState } from './device-state.ts';
import { encodeDeviceSection, encodeEof } from './section.ts';

test('the whole device state is split by its vmdescription', () => {
  const split = splitDeviceState(tail(DEVICES));
  assert.deepEqual(split, { sections: DEVICES, vmdesc: describe(DEVICES), proven: true });
  const bare = splitDeviceState(tail(DEVICES, { footers: false }), { footers: false });
  assert.deepEqual(bare.sections, DEVICES);
});

test('the length of a vmdescription may look like an opening brace', () => {
  const name = (bytes: number) => [device(1, 'n'.repeat(bytes), hex('00'))];
  const base = describe(name(1)).length - 2;
  // A length of 0x017b bytes: its last byte is the code of `{`.
  const sections = name((0x17b - base) / 2);
  assert.equal(describe(sections).length, 0x17b);
  assert.equal(splitDeviceState(tail(sections)).proven, true);
});

test('sections that were sent early are described as well', () => {
  const described = [device(20, 'early', hex('0102')), ...DEVICES];
  const raw = tail(DEVICES, { described });
  assert.equal(splitDeviceState(raw).proven, false);
  const split = splitDeviceState(raw, { early: [described[0]!] });
  assert.deepEqual([split.proven, split.sections], [true, DEVICES]);
});

test('without a vmdescription the sections are scanned for', () => {
  const raw = concatBytes([...DEVICES.map((section) => encodeDeviceSection(section)), encodeEof()]);
  assert.deepEqual(splitDeviceState(raw), { sections: DEVICES, proven: false });
});

test('device state that cannot be split', () => {
  const cut = { code: 'bad-device-state', channel: 'main', offset: 7 };
  for (const raw of [hex(''), hex('04'), tail(DEVICES).subarray(0, 50), hex('0400000001')]) {
    assert.throws(() => splitDeviceState(raw, { channel: 'main', offset: 7 }), cut);
  }
  const bare = concatBytes([encodeDeviceSection(DEVICES[0]!, false), encodeEof()]);
  assert.throws(() => splitDeviceState(bare, { footers: false }), { code: 'bad-device-state' });
});

test('headers found by scanning', () => {
  const bytes = encodeDeviceSection(DEVICES[1]!);
  const header = headerAt(bytes, 0);
  const { data, ...expected } = DEVICES[1]!;
  assert.deepEqual(header, { ...expected, dataAt: bytes.length - 5 - data.length });
  assert.equal(headerAt(bytes.subarray(0, 20), 0), undefined);
  assert.ok(isPlausibleHeader(expected, new Set([6])));
  assert.ok(!isPlausibleHeader(expected, new Set([7])));
  assert.ok(!isPlausibleHeader({ ...expected, idstr: 'ä' }, new Set()));
  assert.ok(!isPlausibleHeader({ ...expected, instanceId: 0x10000 }, new Set()));
  assert.ok(!isPlausibleHeader({ ...expected, versionId: 0x10000 }, new Set()));
});
