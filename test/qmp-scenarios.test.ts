import { after } from 'node:test';
import { TemporaryFolder } from './lib/capture-files.ts';
import { QEMU_VERSIONS } from './lib/find-qemus.ts';
import { qemuTest } from './lib/qemu-test.ts';
import { builtinKind, heldKind, imageOf, qemuKind, servedHere } from './lib/qmp-peers.ts';
import { runScenario, SCENARIOS } from './lib/qmp-scenarios.ts';

/**
 * Each scenario of scripts/qmp-matrix.ts with a pageferry at one end or both; the script has all pairings, and runs
 * pageferry as processes.
 */

const folder = await TemporaryFolder.create();
after(() => folder[Symbol.asyncDispose]());

for (const [turn, version] of QEMU_VERSIONS.entries()) {
  const qemu = qemuKind(version);
  const builtin = builtinKind(version, servedHere);
  const held = heldKind(version, servedHere, imageOf(version, folder.file(version)));
  for (const [index, scenario] of SCENARIOS.entries()) {
    const own = scenario.foreignGuest ? held : builtin;
    const pairings = [
      { name: 'QEMU to pageferry', source: qemu, destination: held },
      { name: 'pageferry to QEMU', source: held, destination: qemu },
      { name: 'pageferry to pageferry', source: own, destination: own },
    ];
    const fitting = pairings.filter(({ source, destination }) => !scenario.unfit?.(source, destination));
    const { name, source, destination } = fitting[(index + turn) % fitting.length]!;
    qemuTest(version, `QEMU ${version}, ${scenario.name}, ${name}`, async () => {
      await runScenario(scenario, source, destination);
    });
  }
}
