import { closeSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';

/** What one migration cost one process, all its threads. */
export interface ProcessCost {
  readonly userSeconds: number;
  readonly systemSeconds: number;
  /** Most memory that was resident during the migration, the guest's RAM not counted. */
  readonly peakBesideRamBytes: number;
}

/** Clock ticks per second of /proc's CPU times: 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Counts from now on until `cost` is asked for. */
export class CostMeter {
  readonly #pid: number;
  readonly #before: { userSeconds: number; systemSeconds: number };

  constructor(pid: number) {
    this.#pid = pid;
    // 5: the peak of resident memory begins anew (proc(5)).
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
    this.#before = cpuSeconds(pid);
  }

  cost(ramBytes: number): ProcessCost {
    const { userSeconds, systemSeconds } = cpuSeconds(this.#pid);
    return {
      userSeconds: userSeconds - this.#before.userSeconds,
      systemSeconds: systemSeconds - this.#before.systemSeconds,
      peakBesideRamBytes: peakBytes(this.#pid) - ramBytes,
    };
  }
}

/** CPU time of a process so far, threads that have ended included. */
function cpuSeconds(pid: number): { userSeconds: number; systemSeconds: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // The name in parentheses may contain anything; the fields after it start with the state.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return {
    userSeconds: Number(fields[11]) / TICKS_PER_SECOND,
    systemSeconds: Number(fields[12]) / TICKS_PER_SECOND,
  };
}

function peakBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
}

/** The memory of another process (which must be one of our own). */
export class ProcessMemory implements Disposable {
  readonly #file: number;

  constructor(pid: number) {
    this.#file = openSync(`/proc/${pid}/mem`, 'r');
  }

  /** @throws when there is no such memory */
  read(address: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      done += readSync(this.#file, target, done, target.length - done, address + done);
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }
}
