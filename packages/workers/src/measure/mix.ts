import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isZeroPage, TARGET_PAGE_BYTES } from '@pageferry/core/memory';

/**
 * A mix like the memory of a Linux guest, in runs of pages as an allocator leaves them: zero pages 30 %, text
 * 18 %, shared libraries 45 %, incompressible 7 %. The libraries are real ones of this machine: the same
 * bytes on every run here, comparable elsewhere.
 */
const MIX = [
  { kind: 'zero', share: 0.3 },
  { kind: 'text', share: 0.18 },
  { kind: 'library', share: 0.45 },
  { kind: 'incompressible', share: 0.07 },
] as const;
type Kind = (typeof MIX)[number]['kind'];

const SEED = 0x2545f491;
const MAX_RUN_PAGES = 64;
const LIBRARY_FOLDERS = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib', '/usr/lib64'];
const WORDS = (
  'the of and to in is that for it as was with be by on not he his but at are this have from or had an they ' +
  'which one you were all her she there would their we him been has when who will no more if out so up said ' +
  'what its about than into them can only other time new some could these two may first then do any like my ' +
  'now over such our man me even most made after also did many off before must well back through years much ' +
  'where your way down should because long each just state people those too mr how little good world make ' +
  'error: warning: INFO DEBUG 127.0.0.1 /usr/share/ /var/log/ return static const struct {"id": null, true, false'
).split(' ');

/** Writes the mix from its first page on. Holds a file open until it is disposed of. */
export class GuestMix implements Disposable {
  readonly #random = xorshift32(SEED);
  readonly #library = new LibraryReader();
  #kind: Kind = 'zero';
  /** Pages that the current run still has. */
  #left = 0;

  /**
   * Fills `target` (whole pages) with the next pages of the mix.
   *
   * @returns bytes of the pages that are not all zero: what a migration has to carry
   */
  fill(target: Buffer): number {
    let nonZeroBytes = 0;
    for (let at = 0; at < target.length; at += TARGET_PAGE_BYTES) {
      if (this.#left === 0) {
        this.#kind = pickKind(this.#random() / 2 ** 32);
        this.#left = 1 + (this.#random() % MAX_RUN_PAGES);
      }
      this.#left--;
      const page = target.subarray(at, at + TARGET_PAGE_BYTES);
      this.#fillPage(page);
      if (!isZeroPage(page)) nonZeroBytes += TARGET_PAGE_BYTES;
    }
    return nonZeroBytes;
  }

  [Symbol.dispose](): void {
    this.#library.close();
  }

  #fillPage(page: Buffer): void {
    switch (this.#kind) {
      case 'zero':
        page.fill(0);
        return;
      case 'text':
        fillText(page, this.#random);
        return;
      case 'library':
        this.#library.read(page);
        return;
      case 'incompressible':
        for (let at = 0; at < page.length; at += 4) page.writeUInt32LE(this.#random(), at);
    }
  }
}

function pickKind(point: number): Kind {
  let sum = 0;
  for (const { kind, share } of MIX) {
    sum += share;
    if (point < sum) return kind;
  }
  return 'zero';
}

function fillText(page: Buffer, random: () => number): void {
  let text = '';
  while (text.length < page.length) {
    const value = random();
    // Squaring prefers the front of the list, as common words are common.
    text += WORDS[Math.floor(((value & 0xffff) / 65536) ** 2 * WORDS.length)];
    text += value % 11 === 0 ? `, ${value >>> 16}\n` : ' ';
  }
  page.write(text, 'latin1');
}

/** The bytes of this machine's shared libraries and of Node's own binary, one after the other, for ever. */
class LibraryReader {
  readonly #paths: string[];
  #next = 0;
  #file: number;

  constructor() {
    this.#paths = [process.execPath];
    for (const folder of LIBRARY_FOLDERS) {
      for (const name of listFolder(folder)) if (name.includes('.so')) this.#paths.push(join(folder, name));
    }
    this.#file = this.#open();
  }

  read(page: Buffer): void {
    while (readSync(this.#file, page, 0, page.length, null) < page.length) {
      closeSync(this.#file);
      this.#file = this.#open();
    }
  }

  close(): void {
    closeSync(this.#file);
  }

  #open(): number {
    return openSync(this.#paths[this.#next++ % this.#paths.length]!, 'r');
  }
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
