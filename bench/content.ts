import { closeSync, openSync, readdirSync, readSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The content of the benchmark's guest: a mix like the memory of a Linux guest, in runs of pages as an
 * allocator leaves them. Zero pages 30 %, text 18 %, shared libraries 45 %, incompressible 7 %. The
 * libraries are real ones of this machine: the same file on every run here, comparable elsewhere.
 */
const MIX = [
  { kind: 'zero', share: 0.3 },
  { kind: 'text', share: 0.18 },
  { kind: 'library', share: 0.45 },
  { kind: 'incompressible', share: 0.07 },
] as const;
type Kind = (typeof MIX)[number]['kind'];

const PAGE_BYTES = 4096;
const CHUNK_BYTES = 1 << 20;
const LIBRARY_FOLDERS = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib', '/usr/lib64'];
const WORDS = (
  'the of and to in is that for it as was with be by on not he his but at are this have from or had an they ' +
  'which one you were all her she there would their we him been has when who will no more if out so up said ' +
  'what its about than into them can only other time new some could these two may first then do any like my ' +
  'now over such our man me even most made after also did many off before must well back through years much ' +
  'where your way down should because long each just state people those too mr how little good world make ' +
  'error: warning: INFO DEBUG 127.0.0.1 /usr/share/ /var/log/ return static const struct {"id": null, true, false'
).split(' ');

export interface Content {
  path: string;
  sizeBytes: number;
  /** Bytes in pages that are not all zero: what a migration really has to carry. */
  nonZeroBytes: number;
}

/** Writes `sizeBytes` (a multiple of 4096) of guest content to `path`. */
export function generateContent(path: string, sizeBytes: number): Content {
  const random = xorshift32(0x2545f491);
  const library = openLibraries();
  const chunk = Buffer.alloc(CHUNK_BYTES);
  const file = openSync(path, 'w', 0o600);
  let nonZeroBytes = 0;
  try {
    let left = 0;
    let kind: Kind = 'zero';
    for (let written = 0; written < sizeBytes; ) {
      const bytes = Math.min(CHUNK_BYTES, sizeBytes - written);
      for (let at = 0; at < bytes; at += PAGE_BYTES) {
        if (left === 0) {
          kind = pickKind(random() / 2 ** 32);
          left = 1 + (random() % 64);
        }
        left--;
        const page = chunk.subarray(at, at + PAGE_BYTES);
        fillPage(page, kind, random, library.read);
        if (page.some((byte) => byte !== 0)) nonZeroBytes += PAGE_BYTES;
      }
      written += writeSync(file, chunk, 0, bytes);
    }
  } finally {
    closeSync(file);
    library.close();
  }
  return { path, sizeBytes, nonZeroBytes };
}

function pickKind(point: number): Kind {
  let sum = 0;
  for (const { kind, share } of MIX) {
    sum += share;
    if (point < sum) return kind;
  }
  return 'zero';
}

function fillPage(page: Buffer, kind: Kind, random: () => number, library: (page: Buffer) => void): void {
  if (kind === 'zero') page.fill(0);
  else if (kind === 'library') library(page);
  else if (kind === 'text') fillText(page, random);
  else for (let at = 0; at < PAGE_BYTES; at += 4) page.writeUInt32LE(random(), at);
}

function fillText(page: Buffer, random: () => number): void {
  let text = '';
  while (text.length < PAGE_BYTES) {
    const value = random();
    // Squaring prefers the front of the list, as common words are common.
    text += WORDS[Math.floor(((value & 0xffff) / 65536) ** 2 * WORDS.length)];
    text += value % 11 === 0 ? `, ${value >>> 16}\n` : ' ';
  }
  page.write(text, 'latin1');
}

/** The bytes of this machine's shared libraries and of Node's own binary, one after the other, for ever. */
function openLibraries(): { read(page: Buffer): void; close(): void } {
  const paths = [process.execPath];
  for (const folder of LIBRARY_FOLDERS) {
    for (const name of listFolder(folder)) if (name.includes('.so')) paths.push(join(folder, name));
  }
  let next = 0;
  let file = -1;
  const open = () => {
    if (file >= 0) closeSync(file);
    file = openSync(paths[next++ % paths.length]!, 'r');
  };
  open();
  return {
    read(page) {
      while (readSync(file, page, 0, PAGE_BYTES, null) < PAGE_BYTES) open();
    },
    close: () => closeSync(file),
  };
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder)
      .sort()
      .filter((name) => statSync(join(folder, name), { throwIfNoEntry: false })?.isFile());
  } catch {
    return [];
  }
}

function xorshift32(seed: number): () => number {
  let x = seed;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}
