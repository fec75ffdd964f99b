import { readFileSync } from 'node:fs';

export interface BenchConfig {
  compression: 'none' | 'zlib' | 'zstd';
  channels: number;
  /** The guest's RAM, see `generateContent`. */
  content: { path: string; sizeBytes: number; nonZeroBytes: number };
}

/** What one migration cost one process. */
export interface ProcessCost {
  /** User and system time from just before the migration to just after it, all threads. */
  cpuSeconds: number;
  /** Most memory the process ever had resident. */
  vmHwmBytes: number;
}

/** One migration of a guest whose RAM was touched beforehand on both sides. */
export interface BenchRun {
  engine: 'qemu' | 'pageferry';
  compression: BenchConfig['compression'];
  channels: number;
  /** From the start of the migration to the source's knowledge that the destination has it. */
  totalMs: number;
  setupMs: number;
  downtimeMs: number;
  transferredBytes: number;
  guestBytes: number;
  nonZeroBytes: number;
  source: ProcessCost;
  destination: ProcessCost;
}

/** Clock ticks per second of /proc's CPU times: 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** CPU time of a process so far, all threads, ended ones included. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // The name in parentheses may contain anything; the fields after it start with the state.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [userTicks, systemTicks] = [fields[11], fields[12]];
  return (Number(userTicks) + Number(systemTicks)) / TICKS_PER_SECOND;
}

export function vmHwmBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
}
