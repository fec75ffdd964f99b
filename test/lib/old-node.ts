import { execFileSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** A Node on this machine that is too old for pageferry, if there is one. */
export function findOldNode(): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/bin', '/usr/local/bin'];
  const candidates = folders.map((folder) => join(folder, 'node')).filter((path) => existsSync(path));
  for (const candidate of new Set(candidates.map((path) => realpathSync(path)))) {
    const version = execFileSync(candidate, ['--version'], { encoding: 'utf8' });
    if (Number(/^v(\d+)\./.exec(version)?.[1] ?? Number.NaN) < 24) return candidate;
  }
  return undefined;
}
