import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { findQemu, QEMU_VERSIONS } from '../test/lib/find-qemus.ts';
import { askHmp, hmpFile } from '../test/lib/hmp-questions.ts';

/** Records what each QEMU's monitor for people shows and takes. */
for (const version of QEMU_VERSIONS) {
  const { missing } = findQemu(version);
  if (missing !== undefined) throw new Error(missing);
  await mkdir(dirname(hmpFile(version)), { recursive: true });
  await writeFile(hmpFile(version), `${JSON.stringify(await askHmp(version), null, 1)}\n`);
}
