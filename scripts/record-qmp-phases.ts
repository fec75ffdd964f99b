import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { findQemu, QEMU_VERSIONS } from '../test/lib/find-qemus.ts';
import { observePhases, phasesFile } from '../test/lib/migration-phases.ts';
import { Qemu } from '../test/lib/qemu.ts';

/** Records what each QEMU tells over QMP in the phases of a migration. */
for (const version of QEMU_VERSIONS) {
  const { missing } = findQemu(version);
  if (missing !== undefined) throw new Error(missing);
  await using destination = await Qemu.start({ version, incoming: 'defer' });
  await using source = await Qemu.start({ version });
  await source.waitForMoreSerial(1);
  const record = await observePhases({
    source: source.qmp,
    destination: destination.qmp,
    deadUri: 'tcp:127.0.0.1:1',
  });
  await mkdir(dirname(phasesFile(version)), { recursive: true });
  await writeFile(phasesFile(version), `${JSON.stringify(record, undefined, 1)}\n`);
}
