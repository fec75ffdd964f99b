/**
 * The same QMP commands for two QEMUs, two of `pageferry serve`, and one of each: every scenario in every pairing,
 * with every QEMU version that is here. Prints a table of what passed, and ends with 1 if anything failed.
 *   node --conditions=pageferry-src scripts/qmp-matrix.ts [--qemu 10.0] [--only multifd] [--json]
 */
import { parseArgs } from 'node:util';
import { TemporaryFolder } from '../test/lib/capture-files.ts';
import { findQemu, QEMU_VERSIONS, type QemuVersion } from '../test/lib/find-qemus.ts';
import {
  builtinKind,
  heldKind,
  imageOf,
  type PeerKind,
  qemuKind,
  servedByProcess,
} from '../test/lib/qmp-peers.ts';
import { runScenario, SCENARIOS, type Scenario } from '../test/lib/qmp-scenarios.ts';

const { values } = parseArgs({
  options: {
    qemu: { type: 'string', multiple: true, default: [...QEMU_VERSIONS] },
    only: { type: 'string', default: '' },
    json: { type: 'boolean', default: false },
  },
});

interface Pairing {
  readonly name: string;
  readonly source: PeerKind;
  readonly destination: PeerKind;
}

interface Row {
  readonly version: QemuVersion;
  readonly scenario: string;
  /** By pairing: `ok`, why it cannot be, or what went wrong. */
  readonly outcomes: Record<string, string>;
}

function pairings(version: QemuVersion, image: () => Promise<string>, { foreignGuest }: Scenario): Pairing[] {
  const qemu = qemuKind(version);
  const builtin = builtinKind(version, servedByProcess);
  const held = heldKind(version, servedByProcess, image);
  const own = foreignGuest ? held : builtin;
  return [
    { name: 'QEMU to QEMU', source: qemu, destination: qemu },
    { name: 'QEMU to pageferry', source: qemu, destination: held },
    { name: 'pageferry to QEMU', source: held, destination: qemu },
    { name: 'pageferry to pageferry', source: own, destination: own },
  ];
}

let failures = 0;

async function attempt(scenario: Scenario, { name, source, destination }: Pairing): Promise<string> {
  const unfit = scenario.unfit?.(source, destination);
  if (unfit !== undefined) return `- (${unfit})`;
  const startMs = performance.now();
  try {
    await runScenario(scenario, source, destination);
    return `ok ${Math.round(performance.now() - startMs)} ms`;
  } catch (error) {
    failures++;
    const text = (error instanceof Error ? error.message : String(error)).trim().replace(/\s+/g, ' ');
    console.error(`${scenario.name}, ${name}: ${error instanceof Error ? error.stack : error}`);
    return `FAILED: ${text.slice(0, 100)}`;
  }
}

const rows: Row[] = [];
for (const version of QEMU_VERSIONS.filter((name) => values.qemu.includes(name))) {
  const { missing } = findQemu(version);
  if (missing !== undefined) throw new Error(missing);
  await using folder = await TemporaryFolder.create();
  const image = imageOf(version, folder.file('image'));
  for (const scenario of SCENARIOS.filter(({ name }) => name.includes(values.only))) {
    const outcomes: Record<string, string> = {};
    for (const pairing of pairings(version, image, scenario)) {
      outcomes[pairing.name] = await attempt(scenario, pairing);
      console.error(`${version}, ${scenario.name}, ${pairing.name}: ${outcomes[pairing.name]}`);
    }
    rows.push({ version, scenario: scenario.name, outcomes });
  }
}

if (values.json) console.log(JSON.stringify(rows));
else {
  const names = Object.keys(rows[0]?.outcomes ?? {});
  console.log(`| QEMU | migration | ${names.join(' | ')} |`);
  console.log(`| --- | --- |${' --- |'.repeat(names.length)}`);
  for (const { version, scenario, outcomes } of rows) {
    console.log(`| ${version} | ${scenario} | ${names.map((name) => outcomes[name]).join(' | ')} |`);
  }
}
process.exitCode = failures === 0 ? 0 : 1;
