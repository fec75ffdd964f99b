import assert from 'node:assert/strict';
import test from 'node:test';
import { hex } from '../testing/wire-streams.ts';
import { encodeText } from './text.ts';
import { deviceSectionBytes, encodeVmdesc, parseVmdesc } from './vmdesc.ts';

const parse = (value: unknown) => parseVmdesc(encodeText(JSON.stringify(value)));

test('a description with arrays, structs, subsections and an old-style device', () => {
  const description = parse({
    configuration: {
      vmsd_name: 'configuration',
      version: 1,
      fields: [{ name: 'len', type: 'uint32', size: 4 }],
    },
    page_size: 4096,
    devices: [
      {
        name: 'timer',
        instance_id: 0,
        vmsd_name: 'timer',
        version: 2,
        fields: [
          { name: 'a', type: 'int64', size: 8 },
          {
            name: 'b',
            array_len: 3,
            type: 'struct',
            struct: { vmsd_name: 'b', version: 1, fields: [] },
            size: 5,
          },
          { name: 'c', index: 0, type: 'uint8', size: 1 },
        ],
        subsections: [
          {
            vmsd_name: 'timer/äx',
            version: 1,
            fields: [{ name: 'd', type: 'uint16', size: 2 }],
            subsections: [{ vmsd_name: 'timer/äx/y', version: 1, fields: [] }],
          },
        ],
      },
      { name: 'slirp', instance_id: 1, size: 131, fields: [{ name: 'data', size: 131, type: 'buffer' }] },
    ],
  });
  const [timer, slirp] = description.devices;
  assert.equal(description.pageSizeBytes, 4096);
  assert.equal(description.configuration?.fields[0]?.name, 'len');
  assert.deepEqual(timer!.fields[1], {
    name: 'b',
    type: 'struct',
    sizeBytes: 5,
    arrayLength: 3,
    struct: { vmsdName: 'b', version: 1, fields: [], subsections: [] },
  });
  assert.equal(timer!.fields[2]?.index, 0);
  // 8 + 3*5 + 1; subsections: marker, name length, name of 9 and 11 bytes, version, and 2 bytes.
  assert.equal(deviceSectionBytes(timer!), 24 + (6 + 9 + 2) + (6 + 11));
  assert.deepEqual([slirp!.name, slirp!.instanceId, slirp!.vmsdName], ['slirp', 1, '']);
  assert.equal(deviceSectionBytes(slirp!), 131);
});

test('the block around the text', () => {
  assert.deepEqual(encodeVmdesc(encodeText('{}')), hex('06 00000002 7b7d'));
});

test('descriptions that are none', () => {
  const bad = { code: 'bad-device-state' };
  const device = { name: 'x', instance_id: 0, fields: [] };
  const wrong = [
    [],
    null,
    'text',
    { devices: [] },
    { page_size: 4096 },
    { page_size: '4096', devices: [] },
    { page_size: 4096, devices: {} },
    { page_size: 4096, devices: [3] },
    { page_size: 4096, devices: [{ ...device, name: 1 }] },
    { page_size: 4096, devices: [{ ...device, instance_id: -1 }] },
    { page_size: 4096, devices: [{ ...device, instance_id: 0.5 }] },
    { page_size: 4096, devices: [{ ...device, fields: 'x' }] },
    { page_size: 4096, devices: [{ ...device, fields: [{ name: 'f', type: 't' }] }] },
    { page_size: 4096, devices: [{ ...device, fields: [{ name: 'f', type: 't', size: -4 }] }] },
    {
      page_size: 4096,
      devices: [{ ...device, fields: [{ name: 'f', type: 't', size: 4, array_len: '2' }] }],
    },
    { page_size: 4096, devices: [{ ...device, subsections: [1] }] },
    { page_size: 4096, devices: [], configuration: 7 },
  ];
  for (const value of wrong) assert.throws(() => parse(value), bad, JSON.stringify(value));
  assert.throws(() => parseVmdesc(encodeText('{')), bad);
  assert.throws(() => parseVmdesc(hex('7bff7d')), bad);
});

test('nesting is bounded', () => {
  const nested = (depth: number): object =>
    depth === 0 ? { fields: [] } : { subsections: [nested(depth - 1)] };
  const of = (depth: number) => ({
    page_size: 4096,
    devices: [{ name: 'x', instance_id: 0, ...nested(depth) }],
  });
  assert.doesNotThrow(() => parse(of(64)));
  assert.throws(() => parse(of(65)), { code: 'bad-device-state', message: /nested too deep/ });
});
