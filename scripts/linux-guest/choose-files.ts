import { createHash } from 'node:crypto';
import { type Dirent, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** What a Linux machine keeps in memory: code, Python, text, and files that are compressed already. */
const SHARES = { library: 0.45, python: 0.2, text: 0.15, compressed: 0.2 } as const;
type Kind = keyof typeof SHARES;

const LEAST_BYTES = 6000;
const MOST_BYTES = 48 << 20;

export interface ChosenFile {
  readonly path: string;
  readonly bytes: number;
  readonly kind: Kind;
}

/**
 * Files below a folder, together as many bytes as there are: the same ones whenever the folder is the same,
 * from all over it. Where there are too few of one kind, more of the others.
 */
export function chooseFiles(folder: string, bytes: number): ChosenFile[] {
  const candidates = filesBelow(folder)
    .map((file) => ({ file, order: createHash('md5').update(file.path).digest('hex') }))
    .sort((a, b) => (a.order < b.order ? -1 : 1))
    .map(({ file }) => file);
  const left = new Map(Object.entries(SHARES).map(([kind, share]) => [kind, share * bytes]));
  const chosen = new Set<ChosenFile>();
  let leftBytes = bytes;
  const take = (file: ChosenFile): void => {
    chosen.add(file);
    leftBytes -= file.bytes;
    left.set(file.kind, left.get(file.kind)! - file.bytes);
  };
  for (const file of candidates) if (file.bytes <= left.get(file.kind)!) take(file);
  for (const file of candidates) if (!chosen.has(file) && file.bytes <= leftBytes) take(file);
  return [...chosen];
}

function filesBelow(folder: string): ChosenFile[] {
  return entriesOf(folder).flatMap((entry): ChosenFile[] => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return filesBelow(path);
    const kind = kindOf(path, entry.name);
    if (!entry.isFile() || kind === undefined) return [];
    const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    return bytes >= LEAST_BYTES && bytes <= MOST_BYTES ? [{ path, bytes, kind }] : [];
  });
}

/** Nothing where the folder cannot be read. */
function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch {
    return [];
  }
}

function kindOf(path: string, name: string): Kind | undefined {
  if (/\.(gz|xz|zst|whl|png|jpg)$/.test(name)) return 'compressed';
  if (/\.(py|pyc|pyi)$/.test(name)) return 'python';
  if (name.includes('.so') || path.includes('/bin/')) return 'library';
  if (/\.(txt|h|pl|pm|js|json|html|md|c|conf|xml)$/.test(name)) return 'text';
  return undefined;
}
