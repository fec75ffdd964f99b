import assert from 'node:assert/strict';
import test from 'node:test';
import { MigrationError } from '@pageferry/core';
import { MigrationSettings, type QemuVersion } from '@pageferry/core/control/schema';
import { QEMU_VERSIONS } from './lib/find-qemus.ts';
import { listFixtures, readTranscript } from './lib/fixtures.ts';
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

/** What the recorded migrations set and will not be there: postcopy, and bitmaps of disks. */
const REFUSED = [
  ...['dst dirty-bitmaps', 'dst postcopy-ram'],
  ...['src dirty-bitmaps', 'src max-postcopy-bandwidth', 'src postcopy-ram'],
];

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

  test(`QEMU ${version}: what the recorded migrations set, is set here or refused by name`, () => {
    const refused = new Set<string>();
    for (const fixture of listFixtures().filter(({ qemu }) => qemu === version)) {
      const settings = {
        src: new MigrationSettings({ side: 'source', version }),
        dst: new MigrationSettings({ side: 'destination', version }),
      };
      for (const { side, command, reply } of readTranscript(fixture.path)) {
        const args = command?.arguments ?? {};
        const set: Record<string, () => void> = {
          'migrate-set-capabilities': () => settings[side].setCapabilities(args.capabilities),
          'migrate-set-parameters': () => settings[side].setParameters(args),
        };
        const act = set[command?.execute ?? ''];
        if (act === undefined) continue;
        assert.ok(reply !== undefined && 'return' in reply);
        try {
          act();
        } catch (error) {
          assert.ok(
            error instanceof MigrationError && error.code === 'unsupported',
            `${fixture.path}: ${error}`,
          );
          if (error.message.endsWith('not supported yet')) continue;
          refused.add(`${side} ${/^(?:capability )?(\S+)/.exec(error.message)![1]}`);
        }
      }
    }
    assert.deepEqual([...refused].sort(), REFUSED);
  });

  qemuTest(version, `QEMU ${version} answers as it is recorded`, async () => {
    await using qemu = await Qemu.start({ version, paused: true });
    assert.deepEqual(await askSettings(qemu.qmp), recorded);
  });
}
