import assert from 'node:assert/strict';
import test from 'node:test';
import { compatOf, machineVersion } from './machine-compat.ts';

test('versions in machine names', () => {
  const cases: Record<string, [string, number, number]> = {
    'pc-i440fx-10.0': ['pc-i440fx', 10, 0],
    'pc-q35-7.2': ['pc-q35', 7, 2],
    'pc-i440fx-9.2.0': ['pc-i440fx', 9, 2],
    'virt-8.2': ['virt', 8, 2],
    'pseries-2.12': ['pseries', 2, 12],
    's390-ccw-virtio-8.0': ['s390-ccw-virtio', 8, 0],
    'pageferry-builtin-10.0': ['pageferry-builtin', 10, 0],
  };
  for (const [name, [family, major, minor]] of Object.entries(cases)) {
    assert.deepEqual(machineVersion(name), { family, major, minor }, name);
  }
});

test('names without a version of QEMU', () => {
  for (const name of [
    'pc',
    'microvm',
    'q35',
    'none',
    'pc-q35-rhel9.2.0',
    'pc-i440fx-jammy',
    '-8.2',
    'pc-8',
    '',
  ]) {
    assert.equal(machineVersion(name), undefined, name);
  }
});

test('what the version decides', () => {
  const at = (major: number, minor: number, family = 'pc-q35') => compatOf({ family, major, minor });
  assert.equal(at(8, 0).multifdFlushAfterEachSection, true);
  assert.equal(at(7, 9).multifdFlushAfterEachSection, true);
  assert.equal(at(8, 1).multifdFlushAfterEachSection, false);
  assert.equal(at(8, 2).zeroPageDetection, 'legacy');
  assert.equal(at(9, 0).zeroPageDetection, 'multifd');
  assert.equal(at(9, 2).sendSwitchoverStart, false);
  assert.equal(at(9, 0).compress, true);
  assert.equal(at(9, 1).compress, false);
  assert.equal(at(2, 12).decompressErrorCheck, false);
  assert.equal(at(3, 0).decompressErrorCheck, true);
  assert.equal(at(10, 0).sendSwitchoverStart, true);
  assert.deepEqual([at(2, 3).sendConfiguration, at(2, 3).sendSectionFooter], [false, false]);
  assert.deepEqual([at(2, 4).sendConfiguration, at(2, 4).sendSectionFooter], [true, true]);
  assert.deepEqual(compatOf({ major: 10, minor: 0 }), {
    multifdFlushAfterEachSection: false,
    zeroPageDetection: 'multifd',
    sendSwitchoverStart: true,
    compress: false,
    decompressErrorCheck: true,
    sendConfiguration: true,
    sendSectionFooter: true,
    vmdesc: true,
  });
});

test('only old PC and pseries machines have no vmdescription', () => {
  const vmdesc = (name: string) => compatOf(machineVersion(name)!).vmdesc;
  for (const name of ['pc-i440fx-2.2', 'pc-q35-2.1', 'pc-i440fx-1.7', 'pseries-2.2']) {
    assert.equal(vmdesc(name), false, name);
  }
  for (const name of ['pc-i440fx-2.3', 'pc-q35-7.2', 'pseries-2.12', 'virt-2.1', 'pc-i440fx-10.0']) {
    assert.equal(vmdesc(name), true, name);
  }
});
