import type { CaptureIoOptions } from './capture.ts';
import type { CaptureFile } from './capture-file.ts';

const STEP_BYTES = 4 * 1024 * 1024;

export interface CaptureReadOptions extends CaptureIoOptions {
  /** Where the stream begins in the file (`file:PATH,offset=`). */
  readonly offsetBytes?: number;
}

/** Tells how far a file was read, but not about each of the millions of runs that a guest may have. */
export class ReadProgress {
  readonly #options: CaptureReadOptions;
  readonly #sizeBytes: number;
  #told: number;

  constructor(file: CaptureFile, options: CaptureReadOptions) {
    this.#options = options;
    this.#sizeBytes = file.sizeBytes;
    this.#told = options.offsetBytes ?? 0;
  }

  /** Everything before this offset was read. */
  reached(offset: number): void {
    if (offset < this.#told + STEP_BYTES && offset !== this.#sizeBytes) return;
    this.#told = offset;
    const start = this.#options.offsetBytes ?? 0;
    this.#options.onProgress?.({ doneBytes: offset - start, totalBytes: this.#sizeBytes - start });
  }
}
