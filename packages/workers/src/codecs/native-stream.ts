import { Deflate, Inflate, ZstdCompress, ZstdDecompress } from 'minizlib';

/**
 * One native context of node:zlib (a deflate, inflate or zstd stream), fed synchronously, a packet at a time,
 * into a buffer of ours.
 *
 * minizlib makes the synchronous, unfinished stream possible, but each of its outputs is a new Buffer: on
 * payloads of 512 KiB that costs a fifth of the decompression's time, and the bound on the output is a chunk
 * and not a byte. So the context's own `writeSync` is called where it is found, as minizlib and node:zlib do
 * inside; on a Node where it is not found, minizlib's `write` does the same, slower.
 */
export class NativeStream {
  /** Of the last step: bytes taken from the input. */
  consumed = 0;
  /** Of the last step: bytes written to the output. */
  produced = 0;
  readonly #stream: MinizlibStream;
  readonly #flush: number;
  readonly #native: NativeContext | undefined;
  readonly #writeState: Uint32Array | undefined;
  #error: Error | undefined;
  #chunks: Uint8Array[] = [];

  /** @param direct whether to look for the context's own `writeSync`; only tests say no */
  constructor(kind: NativeKind, options: NativeOptions, direct = true) {
    // A small chunk: the direct way never uses it.
    const common = { flush: options.flush, chunkSize: direct ? 64 : 64 * 1024 };
    this.#flush = options.flush;
    this.#stream = create(kind, { ...options, ...common });
    this.#stream.on('error', (error: unknown) => {
      this.#error ??= error instanceof Error ? error : new Error(String(error));
    });
    this.#stream.on('data', (chunk: Uint8Array) => this.#chunks.push(chunk));
    const inside = this.#stream.handle as unknown as Partial<NodeZlibStream> | undefined;
    if (!direct || typeof inside?._handle?.writeSync !== 'function') return;
    if (!(inside._writeState instanceof Uint32Array)) return;
    this.#native = inside._handle;
    this.#writeState = inside._writeState;
    // Errors come back through a callback during writeSync.
    this.#native.onerror = (message, _errno, code) => {
      this.#error ??= Object.assign(new Error(message), { code });
    };
  }

  /**
   * Feeds `input` from `from` on up to `end`, with the flush of the constructor, and writes at most up to the end
   * of `output`, from `at` on. Sets `consumed` and `produced`.
   *
   * @throws Error of the library; the stream cannot be used after it
   */
  step(input: Uint8Array, from: number, output: Uint8Array, at: number, end = input.length): void {
    if (this.#error !== undefined) throw this.#error;
    const inputBytes = end - from;
    const outputBytes = output.length - at;
    if (this.#native !== undefined && this.#writeState !== undefined) {
      this.#native.writeSync(this.#flush, input, from, inputBytes, output, at, outputBytes);
      this.produced = outputBytes - this.#writeState[0]!;
      this.consumed = inputBytes - this.#writeState[1]!;
    } else {
      this.#throughMinizlib(inputBytes === input.length ? input : input.subarray(from, end), output, at);
    }
    if (this.#error !== undefined) throw this.#error;
  }

  /** Begins a new stream with the same settings. */
  reset(): void {
    this.#stream.reset();
  }

  close(): void {
    this.#stream.close();
  }

  #throughMinizlib(input: Uint8Array, output: Uint8Array, at: number): void {
    this.#chunks = [];
    this.#stream.write(Buffer.from(input.buffer, input.byteOffset, input.length));
    if (this.#error !== undefined) return;
    this.consumed = this.#stream.handle?.bytesWritten ?? 0;
    this.produced = 0;
    for (const chunk of this.#chunks) {
      const part = chunk.subarray(0, output.length - at - this.produced);
      output.set(part, at + this.produced);
      this.produced += part.length;
    }
    this.#chunks = [];
  }
}

export type NativeKind = 'deflate' | 'inflate' | 'zstd-compress' | 'zstd-decompress';

export interface NativeOptions {
  /** The flush that ends each step: Z_SYNC_FLUSH, ZSTD_e_flush; Z_FINISH where a step is a whole stream. */
  readonly flush: number;
  /** Most bytes that a step may put out, where the output's length cannot be given to the library. */
  readonly maxOutputLength: number;
  readonly level?: number;
  readonly memLevel?: number;
  /** Parameters of zstd, by their number. */
  readonly params?: Record<number, number>;
}

type MinizlibStream = Deflate | Inflate | ZstdCompress | ZstdDecompress;

/** What node:zlib's streams hold, as far as it is used here. */
interface NodeZlibStream {
  readonly _handle: NativeContext;
  /** [room left in the output, bytes left of the input] after each write. */
  readonly _writeState: Uint32Array;
}

interface NativeContext {
  writeSync(
    flush: number,
    input: Uint8Array,
    inputAt: number,
    inputBytes: number,
    output: Uint8Array,
    outputAt: number,
    outputBytes: number,
  ): void;
  onerror: (message: string, errno: number, code: string) => void;
}

function create(kind: NativeKind, options: NativeOptions & { chunkSize: number }): MinizlibStream {
  switch (kind) {
    case 'deflate':
      return new Deflate(options);
    case 'inflate':
      return new Inflate(options);
    case 'zstd-compress':
      return new ZstdCompress(options);
    case 'zstd-decompress':
      return new ZstdDecompress(options);
  }
}
