import assert from 'node:assert/strict';
import test from 'node:test';
import type { DeviceSection } from '../../wire/messages.ts';
import type { DeviceState } from '../contract.ts';
import { decodeMachine, encodeMachine, type MachineImage, RAM_SECTION_ID } from './device-state.ts';
import { machineConfig } from './options.ts';

const memoryBytes = 2 ** 22;
const image: MachineImage = {
  config: machineConfig({
    memoryBytes,
    vcpus: 2,
    dirtyRateBytesPerSecond: 1e6,
    workload: 'hot-cold',
    workingSetBytes: 2 ** 20,
    content: 'library',
    seed: 99,
    verify: true,
  }),
  vcpus: [
    { writes: 2 ** 40, versionSum: -5, cursor: 3, random: Int32Array.of(1, -2, 3, -4) },
    { writes: 0, versionSum: 7, cursor: 0, random: Int32Array.of(5, 6, 7, 8) },
  ],
  running: true,
  mac: Uint8Array.of(0x52, 0x54, 0, 1, 2, 3),
  verify: { key: Buffer.alloc(16, 0xab), blocks: [{ idstr: 'builtin.ram', digest: '00' }] },
};

/** The state with one section replaced, added or (undefined) removed. */
function altered(idstr: string, change: (section: DeviceSection) => DeviceSection | undefined): DeviceState {
  const { sections } = encodeMachine(image);
  return {
    early: [],
    sections: sections.flatMap((each) => (each.idstr === idstr ? (change(each) ?? []) : each)),
  };
}

test('a machine survives its way through the device sections', () => {
  assert.deepEqual(decodeMachine(encodeMachine(image), memoryBytes), image);
  const { mac: _, ...plain } = { ...image, verify: undefined, running: false };
  assert.deepEqual(decodeMachine(encodeMachine(plain), memoryBytes), plain);
});

test('sections have ids of their own, and the description has the size of each', () => {
  const { sections, vmdesc } = encodeMachine(image);
  const ids = sections.map(({ sectionId }) => sectionId);
  assert.equal(new Set([...ids, RAM_SECTION_ID]).size, ids.length + 1);
  const { devices, page_size } = JSON.parse(new TextDecoder().decode(vmdesc));
  assert.equal(page_size, 4096);
  const described = devices.map((device: { name: string; instance_id: number; fields: FieldJson[] }) => ({
    idstr: device.name,
    instanceId: device.instance_id,
    bytes: device.fields.reduce((sum, { size, array_len = 1 }) => sum + size * array_len, 0),
  }));
  assert.deepEqual(
    described,
    sections.map(({ idstr, instanceId, data }) => ({ idstr, instanceId, bytes: data.length })),
  );
});

interface FieldJson {
  size: number;
  array_len?: number;
}

test("the global state is QEMU 10's", () => {
  const { sections } = encodeMachine(image);
  const { data, versionId } = sections.at(-1)!;
  const expected = Buffer.concat([
    Buffer.from('0000000872756e6e696e67', 'hex'),
    Buffer.alloc(25),
    Buffer.from('0100', 'hex'),
    Buffer.alloc(66),
  ]);
  assert.equal(versionId, 1);
  assert.deepEqual(Buffer.from(data), expected);
});

for (const [what, state] of [
  [
    'a MAC address of the wrong length',
    altered('builtin-nic', (section) => ({ ...section, data: new Uint8Array(5) })),
  ],
  [
    'a multicast MAC address',
    altered('builtin-nic', (section) => ({ ...section, data: Uint8Array.of(1, 0, 0, 0, 0, 0) })),
  ],
  ['a device that is not known', altered('globalstate', (section) => ({ ...section, idstr: 'apic' }))],
  ['an unknown version', altered('globalstate', (section) => ({ ...section, versionId: 2 }))],
  ['no global state', altered('globalstate', () => undefined)],
  [
    'a short global state',
    altered('globalstate', (section) => ({ ...section, data: section.data.subarray(1) })),
  ],
  ['an empty run state', altered('globalstate', (section) => ({ ...section, data: new Uint8Array(104) }))],
  ['no options', altered('builtin-workload', () => undefined)],
  ['options that are no JSON', withData('builtin-workload', '{')],
  ['options that are no object', withData('builtin-workload', 'null')],
  ['an option out of range', withData('builtin-workload', '{"vcpus":2,"dirtyRateBytesPerSecond":"5"}')],
  ['more vCPUs than memory can have', withData('builtin-workload', '{"vcpus":64}')],
  ['too many vCPUs', withData('builtin-workload', '{"vcpus":1}')],
  ['a vCPU missing', altered('builtin-cpu', (section) => (section.instanceId === 0 ? undefined : section))],
  ['a vCPU twice', altered('builtin-cpu', (section) => ({ ...section, instanceId: 0 }))],
  ['a short vCPU', altered('builtin-cpu', (section) => ({ ...section, data: section.data.subarray(4) }))],
  [
    'an absurd vCPU',
    altered('builtin-cpu', (section) => ({ ...section, data: new Uint8Array(32).fill(255) })),
  ],
  ['another hash', withData('builtin-verify', '{"algorithm":"md5"}')],
  ['hashes without a key', withData('builtin-verify', '{"algorithm":"gmac-aes128-8m-sha256","blocks":[]}')],
  ['hashes of nothing', withData('builtin-verify', verifyJson('{"blocks":null}'))],
  ['hashes of unnamed blocks', withData('builtin-verify', verifyJson('{"blocks":[null]}'))],
  ['a huge section', withData('builtin-verify', ' '.repeat(70_000))],
] as const) {
  test(`${what} is refused`, () => {
    assert.throws(() => decodeMachine(state, memoryBytes), { code: 'bad-device-state' });
  });
}

function withData(idstr: string, text: string): DeviceState {
  return altered(idstr, (section) => ({ ...section, data: new TextEncoder().encode(text) }));
}

function verifyJson(rest: string): string {
  const key = 'ab'.repeat(16);
  return JSON.stringify({ algorithm: 'gmac-aes128-8m-sha256', key, ...JSON.parse(rest) });
}
