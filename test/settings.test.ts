import assert from 'node:assert/strict';
import test from 'node:test';
import { MigrationError } from '@pageferry/core';
import { MigrationSettings, type QemuVersion } from '@pageferry/core/control/schema';
import { QEMU_VERSIONS } from './lib/find-qemus.ts';
import { Qemu } from './lib/qemu.ts';
import { qemuTest } from './lib/qemu-test.ts';
import { askSettings, capabilityPairs, recordedSettings } from './lib/settings-questions.ts';

/** What a call throws; `unsupported` comes after everything that QEMU refuses, so here it counts as accepted. */
function refusal(set: () => void): string | null {
  try {
    set();
    return null;
  } catch (error) {
    assert.ok(error instanceof MigrationError, String(error));
    if (error.code === 'unsupported') return null;
    assert.equal(error.code, 'bad-option');
    return error.message;
  }
}

const fresh = (version: QemuVersion) => new MigrationSettings({ side: 'source', version });
const on = (names: readonly string[]) => names.map((capability) => ({ capability, state: true }));

for (const version of QEMU_VERSIONS) {
  const recorded = recordedSettings(version);

  test(`QEMU ${version}: what a fresh process tells`, () => {
    assert.deepEqual(fresh(version).queryParameters(), recorded.parameters);
    assert.deepEqual(fresh(version).queryCapabilities(), recorded.capabilities);
  });

  test(`QEMU ${version}: which parameters are refused, by which name`, () => {
    for (const { set, refused } of recorded.parameterSets) {
      const message = refusal(() => fresh(version).setParameters(set));
      const named = message === null ? null : /^[\w-]+/.exec(message)![0];
      assert.equal(named, refused, `${JSON.stringify(set)}: ${message}`);
    }
  });

  test(`QEMU ${version}: which capabilities do not go together`, () => {
    const names = recorded.capabilities.map(({ capability }) => capability);
    const pairs = capabilityPairs(names.filter((name) => !recorded.unavailable.includes(name)));
    const refused = pairs.filter((pair) => refusal(() => fresh(version).setCapabilities(on(pair))) !== null);
    assert.deepEqual(refused, recorded.refusedCapabilities);
  });

  qemuTest(version, `QEMU ${version} answers as it is recorded`, async () => {
    await using qemu = await Qemu.start({ version, paused: true });
    assert.deepEqual(await askSettings(qemu.qmp), recorded);
  });
}
