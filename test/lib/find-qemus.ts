import { execFileSync } from 'node:child_process';

/** The QEMU versions that the live tests are written for. */
export const QEMU_VERSIONS = ['7.2', '10.0'] as const;
export type QemuVersion = (typeof QEMU_VERSIONS)[number];

/** Where each is found unless the environment variable names another binary. */
const BINARIES: Record<QemuVersion, { binary: string; variable: string }> = {
  '7.2': { binary: 'qemu-system-x86_64', variable: 'PAGEFERRY_QEMU_7_2' },
  '10.0': { binary: 'qemu-system-x86_64-10', variable: 'PAGEFERRY_QEMU_10_0' },
};

interface QemuLookup {
  binary: string;
  /** Why it cannot be used; undefined: it can. */
  missing?: string;
}

const lookups = new Map<QemuVersion, QemuLookup>();

/** Looks once for the QEMU of that version. A binary of another version counts as missing. */
export function findQemu(version: QemuVersion): QemuLookup {
  const known = lookups.get(version);
  if (known) return known;
  const { binary: usual, variable } = BINARIES[version];
  const binary = process.env[variable] ?? usual;
  const lookup: QemuLookup = { binary };
  try {
    const answer = execFileSync(binary, ['--version'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const found = /version (\d+\.\d+)/.exec(answer)?.[1];
    if (found !== version) lookup.missing = `${binary} is QEMU ${found ?? '(unknown)'}, not ${version}`;
  } catch {
    lookup.missing = `no QEMU ${version}: ${binary} does not run (scripts/qemu-lab installs it, ${variable} names another)`;
  }
  lookups.set(version, lookup);
  return lookup;
}
