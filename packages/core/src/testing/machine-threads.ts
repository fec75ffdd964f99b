import { readdirSync, readFileSync } from 'node:fs';

/** Names of the threads of built-in machines in this process; empty where the system does not tell. */
export function machineThreads(): string[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc/self/task')
    .map((id) => {
      try {
        return readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim();
      } catch {
        return '';
      }
    })
    .filter((name) => name.startsWith('builtin-'));
}
