import { MigrationError } from '../error.ts';
import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { decodeXbzrle } from '../wire/xbzrle.ts';
import type { CaptureFile } from './capture-file.ts';

/** Offsets that are allocated together: 8 KiB of memory for 4 MiB of guest. */
const CHUNK_PAGES = 1024;
/** In place of an offset: the page's bytes are in the file, but compressed. */
const COMPRESSED = -1;

/**
 * The pages of a block whose differences (XBZRLE) come in a stream that is read without its RAM being held. Of
 * the others it keeps where in the file their bytes are, which is where a difference finds what it changes.
 */
export class DeltaPages {
  readonly #file: CaptureFile;
  /** Where a page's last bytes begin; 0: nowhere, it is zero. */
  readonly #offsets: (Float64Array | undefined)[] = [];
  readonly #changed = new Map<number, Uint8Array>();
  /** Page whose bytes come next, out of a compressed record. */
  #compressed: number | undefined;

  constructor(file: CaptureFile) {
    this.#file = file;
  }

  /** The page that is placed next is not in the file as it is. */
  compressed(page: number): void {
    this.#compressed = page;
  }

  /** A record with all of a page's bytes, which begin at `offset` in the file. */
  placed(page: number, offset: number): void {
    this.#changed.delete(page);
    const there = page === this.#compressed ? COMPRESSED : offset;
    this.#compressed = undefined;
    const index = Math.floor(page / CHUNK_PAGES);
    this.#offsets[index] ??= new Float64Array(CHUNK_PAGES);
    this.#offsets[index][page % CHUNK_PAGES] = there;
  }

  zeroed(page: number): void {
    this.#changed.delete(page);
    const chunk = this.#offsets[Math.floor(page / CHUNK_PAGES)];
    if (chunk !== undefined) chunk[page % CHUNK_PAGES] = 0;
  }

  /**
   * The page's content after these runs; valid until the next call for it.
   * @throws MigrationError `unsupported` for a page that came compressed: no QEMU sends changes of one
   */
  async change(page: number, runs: Uint8Array): Promise<Uint8Array> {
    let content = this.#changed.get(page);
    if (content === undefined) {
      content = new Uint8Array(TARGET_PAGE_BYTES);
      const offset = this.#offsets[Math.floor(page / CHUNK_PAGES)]?.[page % CHUNK_PAGES] ?? 0;
      if (offset === COMPRESSED) {
        throw new MigrationError('unsupported', 'changes (xbzrle) of a page that came compressed', {
          channel: this.#file.path,
        });
      }
      if (offset > 0) await this.#file.readFully(content, offset, 'a page');
      this.#changed.set(page, content);
    }
    decodeXbzrle(runs, 0, runs.length, content);
    return content;
  }
}
