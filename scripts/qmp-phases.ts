/**
 * What `query-migrate` answers in each phase of a migration: of two QEMUs, beside it of two of `pageferry serve`, driven
 * by the same commands. With --record it writes what the QEMUs answered to test/fixtures/qmp-phases instead.
 *   node --conditions=pageferry-src scripts/qmp-phases.ts [--qemu 10.0] [--record]
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import type { MigrationInfo } from '@pageferry/core/qmp';
import { findQemu, QEMU_VERSIONS, type QemuVersion } from '../test/lib/find-qemus.ts';
import { observePhases, type PhaseRecord, phasesFile } from '../test/lib/migration-phases.ts';
import { builtinKind, type PeerKind, qemuKind, servedByProcess } from '../test/lib/qmp-peers.ts';

const { values } = parseArgs({
  options: {
    qemu: { type: 'string', multiple: true, default: [...QEMU_VERSIONS] },
    record: { type: 'boolean', default: false },
  },
});

/** Answers by phase and side. */
type Answers = Map<string, Record<string, unknown>>;

async function observe(kind: PeerKind): Promise<{ record: PhaseRecord; answers: Answers }> {
  await using destination = await kind.start({ incoming: true });
  await using source = await kind.start({});
  const answers: Answers = new Map();
  const record = await observePhases({
    source: source.qmp,
    destination: destination.qmp,
    deadUri: 'tcp:127.0.0.1:1',
    onAnswer: (phase, side, info) => answers.set(`${phase}, ${side}`, flat(info)),
  });
  return { record, answers };
}

function flat(info: MigrationInfo): Record<string, unknown> {
  const members = Object.entries(info).flatMap(([name, value]) =>
    typeof value === 'object' && !Array.isArray(value)
      ? Object.entries(value).map(([member, inner]) => [`${name}.${member}`, inner])
      : [[name, JSON.stringify(value)]],
  );
  return Object.fromEntries(members) as Record<string, unknown>;
}

function show(version: QemuVersion, theirs: Answers, ours: Answers): void {
  for (const [phase, answer] of theirs) {
    const own = ours.get(phase) ?? {};
    console.log(`\n${phase} | QEMU ${version} | pageferry`);
    const names = new Set([...Object.keys(answer), ...Object.keys(own)]);
    if (names.size === 0) console.log('  (nothing)');
    for (const name of [...names].sort()) {
      console.log(`  ${name} | ${answer[name] ?? '(absent)'} | ${own[name] ?? '(absent)'}`);
    }
  }
}

for (const version of QEMU_VERSIONS.filter((name) => values.qemu.includes(name))) {
  const { missing } = findQemu(version);
  if (missing !== undefined) throw new Error(missing);
  const { record, answers } = await observe(qemuKind(version));
  if (values.record) {
    await mkdir(dirname(phasesFile(version)), { recursive: true });
    await writeFile(phasesFile(version), `${JSON.stringify(record, undefined, 1)}\n`);
  } else show(version, answers, (await observe(builtinKind(version, servedByProcess))).answers);
}
