import assert from 'node:assert/strict';
import test from 'node:test';
import { type QmpClient, QmpError } from '@pageferry/core/qmp';
import { QEMU_VERSIONS, type QemuVersion } from './lib/find-qemus.ts';
import { listen, reach } from './lib/migration-phases.ts';
import { Qemu } from './lib/qemu.ts';
import { qemuTest } from './lib/qemu-test.ts';
import { Served } from './lib/served.ts';

/** When a destination's capabilities can be set: the same for a QEMU and for pageferry in its place. */

/** Whether multifd can be turned on at the destination; off it is in the end. */
async function canTurnOn(client: QmpClient): Promise<boolean> {
  const turn = (state: boolean) =>
    client.execute('migrate-set-capabilities', { capabilities: [{ capability: 'multifd', state }] });
  try {
    await turn(true);
    await turn(false);
    return true;
  } catch (error) {
    assert.ok(error instanceof QmpError && /multifd/i.test(error.desc), String(error));
    return false;
  }
}

async function check(version: QemuVersion, source: QmpClient, destination: QmpClient): Promise<void> {
  assert.equal(await canTurnOn(destination), true, 'before it listens');
  const uri = await listen(destination);
  assert.equal(await canTurnOn(destination), version === '7.2', 'while it listens');
  await source.execute('migrate', { uri });
  await reach(source, 'completed');
  await reach(destination, 'completed');
  assert.equal(await canTurnOn(destination), true, 'with its guest');
}

for (const version of QEMU_VERSIONS) {
  test(`QMP of QEMU ${version}: when multifd can be set at a destination`, { timeout: 60_000 }, async () => {
    const release = ['--qemu-version', version];
    await using source = await Served.start('--guest', 'builtin,size=16M', ...release);
    await using destination = await Served.start('--incoming', 'defer', ...release);
    await check(version, source.qmp, destination.qmp);
  });

  qemuTest(version, `QEMU ${version}: when multifd can be set at a destination`, async () => {
    await using source = await Qemu.start({ version });
    await using destination = await Qemu.start({ version, incoming: 'defer' });
    await check(version, source.qmp, destination.qmp);
  });
}
