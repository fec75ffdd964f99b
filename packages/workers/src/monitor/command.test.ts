import assert from 'node:assert/strict';
import test from 'node:test';
import { MigrationError } from '@pageferry/core';
import { z } from 'zod';
import { command } from './command.ts';

const ADDRESS = z.union([
  z.strictObject({ transport: z.literal('file'), filename: z.string() }),
  z.strictObject({ transport: z.literal('exec'), args: z.array(z.string()) }),
]);
const sample = command(
  { uri: z.string(), state: z.enum(['a', 'b']).optional(), n: z.int().optional(), addr: ADDRESS.optional() },
  (args) => args,
);

test('arguments are read, and what is wrong with them is told in the words of QEMU', async () => {
  assert.deepEqual(await sample.run({ uri: 'x', n: 3 }), { uri: 'x', n: 3 });
  for (const [args, desc] of [
    [{}, 'argument uri is missing'],
    [{ uri: 5 }, 'argument uri has another type than string'],
    [{ uri: 'x', n: 1.5 }, 'argument n has another type than integer'],
    [{ uri: 'x', n: '1' }, 'argument n has another type than integer'],
    [{ uri: 'x', y: 1 }, 'there is no argument y'],
    [{ uri: 5, y: 1 }, 'argument uri has another type than string'],
    [{ uri: 'x', state: 'c' }, 'argument state cannot be c'],
    [{ uri: 'x', addr: { transport: 'file' } }, 'argument addr.filename is missing'],
    [
      { uri: 'x', addr: { transport: 'exec', args: [1] } },
      'argument addr.args.0 has another type than string',
    ],
    [{ uri: 'x', addr: { transport: 'exec', args: [], z: 1 } }, 'there is no argument addr.z'],
  ] as const) {
    await assert.rejects(async () => sample.run(args), { name: 'QmpError', class: 'GenericError', desc });
  }
});

test('nothing becomes an empty object, a MigrationError an answer, a defect stays one', async () => {
  assert.deepEqual(await command({}, () => undefined).run({}), {});
  const failing = (error: Error) => async () =>
    command({}, () => {
      throw error;
    }).run({});
  await assert.rejects(failing(new MigrationError('bad-state', 'not now')), {
    name: 'QmpError',
    desc: 'not now',
  });
  await assert.rejects(failing(new TypeError('defect')), { name: 'TypeError' });
});
