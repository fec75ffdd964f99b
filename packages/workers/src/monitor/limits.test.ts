import assert from 'node:assert/strict';
import test from 'node:test';
import { MigrationSettings } from '@pageferry/core/control/schema';
import { BuiltinMachine } from '@pageferry/core/guest';
import { settingsLimits } from './limits.ts';

const on = (capability: string) => [{ capability, state: true }];

test("settings know the guest's machine type and whether it can be throttled", async () => {
  const machine = await BuiltinMachine.create({ memoryBytes: 4 << 20, vcpus: 1 });
  try {
    const settings = (guest: Parameters<typeof settingsLimits>[0]) =>
      new MigrationSettings({ side: 'source', limits: settingsLimits(guest) });
    const ofBuiltin = settings(machine);
    ofBuiltin.setCapabilities(on('auto-converge'));
    assert.equal(ofBuiltin.valueOf('zero-page-detection'), 'multifd');
    const { blocks, dirtyLog } = machine.memory;
    const ofOther = settings({
      machine: 'pc-i440fx-7.2',
      targetPageBits: 14,
      memory: { blocks, dirtyLog },
    });
    assert.equal(ofOther.queryParameters()['zero-page-detection'], 'legacy');
    assert.throws(() => ofOther.setParameters({ 'xbzrle-cache-size': 4096 }), /from 16384 on/);
    for (const capability of ['auto-converge', 'dirty-limit', 'background-snapshot']) {
      assert.throws(() => ofOther.setCapabilities(on(capability)), {
        code: 'bad-option',
        message: new RegExp(`^capability ${capability}: the guest's .* cannot be`),
      });
    }
  } finally {
    await machine.close();
  }
});
