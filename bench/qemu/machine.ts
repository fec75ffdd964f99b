import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import type { QemuBinary } from './qemu-process.ts';

/** What it was measured on. */
export interface MachineDescription {
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  /** Mode of transparent huge pages, for anonymous memory and for files in memory. */
  readonly hugePages: string;
  readonly sharedHugePages: string;
  readonly node: string;
  readonly qemu: string;
}

export function describeMachine(qemu: QemuBinary): MachineDescription {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: release(),
    hugePages: hugePageMode('enabled'),
    sharedHugePages: hugePageMode('shmem_enabled'),
    node: process.versions.node,
    qemu: qemu.version,
  };
}

/** The kernel lists all modes, the one that is on in brackets. */
function hugePageMode(file: string): string {
  try {
    const modes = readFileSync(`/sys/kernel/mm/transparent_hugepage/${file}`, 'latin1');
    return /\[(\w+)\]/.exec(modes)?.[1] ?? 'unknown';
  } catch {
    return 'none';
  }
}
