import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { findQemu, QEMU_VERSIONS } from '../test/lib/find-qemus.ts';
import { Qemu } from '../test/lib/qemu.ts';
import { askSettings, settingsFile } from '../test/lib/settings-questions.ts';

/** Records how each QEMU answers to migration parameters and capabilities. */
for (const version of QEMU_VERSIONS) {
  const { missing } = findQemu(version);
  if (missing !== undefined) throw new Error(missing);
  await using qemu = await Qemu.start({ version, paused: true });
  const answers = await askSettings(qemu.qmp);
  const lines = Object.entries(answers).map(([name, value]) => {
    const items = (value as unknown[]).map?.((item) => `\n    ${JSON.stringify(item)}`);
    return `  ${JSON.stringify(name)}: ${items ? `[${items.join(',')}\n  ]` : JSON.stringify(value)}`;
  });
  await mkdir(dirname(settingsFile(version)), { recursive: true });
  await writeFile(settingsFile(version), `{\n${lines.join(',\n')}\n}\n`);
}
