import { whileNotKilled } from './native-load.ts';

/**
 * The zstd library inside Node's own executable, which exports it for addons, called by address: a whole
 * packet in one call, from and to memory of the caller's choice, with the parameters that node:zlib keeps to
 * itself. Sizes and addresses are in bytes; every function of the library that returns a size returns an error
 * code instead where `isError` says so.
 */
export interface LibZstd {
  createCompressor(): unknown;
  freeCompressor(context: unknown): void;
  setParameter(context: unknown, parameter: number, value: number): number;
  /** One complete frame with its content's size. */
  compressFrame(context: unknown, target: number, targetBytes: number, source: number, bytes: number): number;
  createDecompressor(): unknown;
  freeDecompressor(context: unknown): void;
  setDecoderParameter(context: unknown, parameter: number, value: number): number;
  decompressFrame(
    context: unknown,
    target: number,
    targetBytes: number,
    source: number,
    bytes: number,
  ): number;
  /** @param output @param input addresses of ZSTD_outBuffer and ZSTD_inBuffer */
  decompressStream(context: unknown, output: number, input: number): number;
  /** Length of the complete frame that the bytes start with, or an error code. */
  frameBytes(source: number, bytes: number): number;
  /** What the frame's header says of its content; 2^64 - 1 unknown, 2^64 - 2 no frame. */
  contentBytes(source: number, bytes: number): number | bigint;
  isError(code: number | bigint): boolean;
  errorName(code: number): string;
  addressOf(view: ArrayBufferView | ArrayBufferLike): number;
}

export const ZstdParameter = {
  compressionLevel: 100,
  windowLog: 101,
  hashLog: 102,
  /** Of a decompressor. */
  windowLogMax: 100,
} as const;

let loaded: Promise<LibZstd | undefined> | undefined;

/** The library; undefined where koffi has no build, or Node's executable does not export it. */
export function loadLibZstd(): Promise<LibZstd | undefined> {
  loaded ??= whileNotKilled(bind).catch(() => undefined);
  return loaded;
}

async function bind(): Promise<LibZstd> {
  const { default: koffi } = await import('koffi');
  const node = koffi.load(null);
  const func = <T>(signature: string) => node.func(signature) as T;
  const isError = func<(code: number | bigint) => number>('unsigned int ZSTD_isError(size_t code)');
  return {
    createCompressor: func('void *ZSTD_createCCtx(void)'),
    freeCompressor: func('size_t ZSTD_freeCCtx(void *context)'),
    setParameter: func('size_t ZSTD_CCtx_setParameter(void *context, int parameter, int value)'),
    compressFrame: func(
      'size_t ZSTD_compress2(void *context, uintptr_t target, size_t targetBytes, uintptr_t source, size_t bytes)',
    ),
    createDecompressor: func('void *ZSTD_createDCtx(void)'),
    freeDecompressor: func('size_t ZSTD_freeDCtx(void *context)'),
    setDecoderParameter: func('size_t ZSTD_DCtx_setParameter(void *context, int parameter, int value)'),
    decompressFrame: func(
      'size_t ZSTD_decompressDCtx(void *context, uintptr_t target, size_t targetBytes, uintptr_t source, size_t bytes)',
    ),
    decompressStream: func('size_t ZSTD_decompressStream(void *context, uintptr_t output, uintptr_t input)'),
    frameBytes: func('size_t ZSTD_findFrameCompressedSize(uintptr_t source, size_t bytes)'),
    contentBytes: func('uint64_t ZSTD_getFrameContentSize(uintptr_t source, size_t bytes)'),
    isError: (code) => isError(code) !== 0,
    errorName: func('const char *ZSTD_getErrorName(size_t code)'),
    addressOf: (view) => Number(koffi.address(view)),
  };
}
