import type { FileHandle } from 'node:fs/promises';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { isZeroPage } from '../memory/zero-page.ts';
import { writeFully } from './atomic-file.ts';
import { PageSet } from './page-set.ts';

const BUFFER_PAGES = (1024 * 1024) / TARGET_PAGE_BYTES;
const ZEROS = new Uint8Array(TARGET_PAGE_BYTES);

/**
 * Pages of a block on their way to a raw file. Neighbours are written together, one write after the other, so
 * that the last content of a page wins. A page of zeros is a hole, unless it had content before.
 */
export class ExtractOutput {
  readonly #handle: FileHandle;
  readonly #path: string;
  readonly #buffer = new Uint8Array(BUFFER_PAGES * TARGET_PAGE_BYTES);
  readonly #written = new PageSet();
  #first = 0;
  #count = 0;

  constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.#path = path;
  }

  /** Takes a page's content; gives a promise when it has to be waited for. */
  page(page: number, content: Uint8Array): Promise<void> | undefined {
    if (isZeroPage(content)) return this.zero(page);
    this.#written.add(page);
    return this.#put(page, content);
  }

  zero(page: number): Promise<void> | undefined {
    return this.#written.has(page) ? this.#put(page, ZEROS) : undefined;
  }

  /** Writes what is left, and gives the file its size. */
  async finish(sizeBytes: number): Promise<void> {
    await this.#flush();
    await this.#handle.truncate(sizeBytes);
  }

  #put(page: number, content: Uint8Array): Promise<void> | undefined {
    if (this.#count < BUFFER_PAGES && (this.#count === 0 || page === this.#first + this.#count)) {
      this.#append(page, content);
      return undefined;
    }
    // The content is the decoder's: it has to be kept while the buffer is written.
    const copy = content.slice();
    return this.#flush().then(() => this.#append(page, copy));
  }

  #append(page: number, content: Uint8Array): void {
    if (this.#count === 0) this.#first = page;
    this.#buffer.set(content, this.#count * TARGET_PAGE_BYTES);
    this.#count++;
  }

  async #flush(): Promise<void> {
    const bytes = this.#buffer.subarray(0, this.#count * TARGET_PAGE_BYTES);
    await writeFully(this.#handle, this.#path, bytes, this.#first * TARGET_PAGE_BYTES);
    this.#count = 0;
  }
}
