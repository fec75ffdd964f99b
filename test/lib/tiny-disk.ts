import { execFileSync } from 'node:child_process';

/** Mounts a file system of that size, or says why it cannot. */
export function mountTiny(path: string, sizeBytes: number): string | undefined {
  try {
    execFileSync('/bin/mount', ['-t', 'tmpfs', '-o', `size=${sizeBytes}`, 'tmpfs', path], { stdio: 'pipe' });
    return undefined;
  } catch (error) {
    return `no file system can be mounted here (${(error as Error).message.split('\n')[0]})`;
  }
}

export function unmountTiny(path: string): void {
  execFileSync('/bin/umount', [path]);
}
