import { MigrationError } from '@pageferry/core';
import type { CodecBackend, MultifdCompression } from '@pageferry/core/control';
import { MultifdFlag } from '@pageferry/core/wire';
import { loadLibZstd } from '../system/libzstd.ts';
import type { PageCompressor, PageDecompressor } from './codec.ts';
import { createFrameCompressor, createFrameDecompressor } from './libzstd.ts';

/** What multifd-compression can be, and what each method is made of. */
export interface Codec {
  readonly name: MultifdCompression;
  /** The method's bits in the flags of a multifd packet. */
  readonly methodFlag: number;
  /** Whether a QEMU can be at the other end. */
  readonly knownToQemu: boolean;
  /** The levels that it has, if any. */
  readonly levels?: { readonly least: number; readonly most: number };
  /** Backends by direction, the default first (measured, docs/codecs.md). Empty for `none`. */
  readonly compressBackends: readonly CodecBackend[];
  readonly decompressBackends: readonly CodecBackend[];
}

export type CodecDirection = 'compress' | 'decompress';

export const CODECS: { readonly [name in MultifdCompression]: Codec } = {
  none: {
    name: 'none',
    methodFlag: 0,
    knownToQemu: true,
    compressBackends: [],
    decompressBackends: [],
  },
  zlib: {
    name: 'zlib',
    methodFlag: MultifdFlag.zlib,
    knownToQemu: true,
    levels: { least: 0, most: 9 },
    compressBackends: ['minizlib', 'pako'],
    decompressBackends: ['minizlib', 'pako'],
  },
  zstd: {
    name: 'zstd',
    methodFlag: MultifdFlag.zstd,
    knownToQemu: true,
    // 0 is the library's default, 3.
    levels: { least: 0, most: 20 },
    compressBackends: ['libzstd', 'minizlib', 'mongodb-zstd'],
    decompressBackends: ['libzstd', 'minizlib'],
  },
  lz4: {
    name: 'lz4',
    methodFlag: MultifdFlag.lz4,
    knownToQemu: false,
    compressBackends: ['lz4-napi'],
    decompressBackends: ['lz4-napi'],
  },
  adaptive: {
    name: 'adaptive',
    methodFlag: MultifdFlag.adaptive,
    knownToQemu: false,
    // What does its zstd; its lz4 is lz4-napi's.
    compressBackends: ['libzstd', 'minizlib'],
    decompressBackends: ['libzstd', 'minizlib'],
  },
};

/**
 * The backend that does `codec` in this direction: `wanted`, or the default.
 *
 * @returns undefined for `none`
 * @throws MigrationError `bad-option` when `wanted` does not do it
 */
export function resolveBackend(
  codec: Codec,
  direction: CodecDirection,
  wanted?: CodecBackend,
): CodecBackend | undefined {
  const backends = direction === 'compress' ? codec.compressBackends : codec.decompressBackends;
  if (wanted === undefined) return backends[0];
  if (backends.includes(wanted)) return wanted;
  throw new MigrationError('bad-option', `multifd-backend does not ${direction} ${codec.name}`, {
    found: wanted,
    expected: backends.length === 0 ? 'no backend at all' : `one of ${backends.join(', ')}`,
  });
}

/** @throws MigrationError `bad-option` when the codec has no such level */
export function checkLevel(codec: Codec, level: number | undefined): void {
  if (codec.levels === undefined) return;
  const { least, most } = codec.levels;
  if (level !== undefined && Number.isInteger(level) && level >= least && level <= most) return;
  throw new MigrationError('bad-option', `multifd-${codec.name}-level is out of range`, {
    found: String(level),
    expected: `an integer from ${least} to ${most}`,
  });
}

/**
 * A compressor for one channel; loads the backend's library, and no other.
 *
 * @param level ignored by codecs without levels
 * @returns undefined for `none`: pages travel as they are
 * @throws MigrationError `bad-option` for a backend or level that the codec does not have, `unsupported` where
 *   the library has no build for this platform
 */
export async function createCompressor(
  codec: Codec,
  level: number | undefined,
  backend?: CodecBackend,
): Promise<PageCompressor | undefined> {
  checkLevel(codec, level);
  switch (resolveBackend(codec, 'compress', backend)) {
    case undefined:
      return undefined;
    case 'minizlib': {
      if (codec.name === 'adaptive')
        return (await load(codec, () => import('./adaptive/compressor.ts'))).createAdaptiveCompressor();
      const { createZlibCompressor, createZstdCompressor } = await load(codec, () => import('./minizlib.ts'));
      return codec.name === 'zlib' ? createZlibCompressor(level!) : createZstdCompressor(level!);
    }
    case 'libzstd': {
      const library = await loadLibZstd();
      if (library !== undefined && codec.name === 'adaptive')
        return (await load(codec, () => import('./adaptive/compressor.ts'))).createAdaptiveCompressor(
          library,
        );
      const frames = library !== undefined && (backend !== undefined || level! <= MAX_DEFAULT_FRAME_LEVEL);
      if (frames) return createFrameCompressor(library, level!);
      if (backend === undefined) return createCompressor(codec, level, 'minizlib');
      throw noLibZstd();
    }
    case 'pako':
      return (await load(codec, () => import('./pako.ts'))).createPakoCompressor(level!);
    case 'mongodb-zstd':
      return (await load(codec, () => import('./mongodb-zstd.ts'))).createMongodbZstdCompressor(level!);
    case 'lz4-napi':
      return (await load(codec, () => import('./lz4.ts'))).createLz4Compressor();
  }
}

/** The counterpart of `createCompressor`, with the same errors. */
export async function createDecompressor(
  codec: Codec,
  backend?: CodecBackend,
): Promise<PageDecompressor | undefined> {
  switch (resolveBackend(codec, 'decompress', backend)) {
    case undefined:
    case 'mongodb-zstd':
      return undefined;
    case 'minizlib': {
      if (codec.name === 'adaptive')
        return (await load(codec, () => import('./adaptive/decompressor.ts'))).createAdaptiveDecompressor();
      const { createZlibDecompressor, createZstdDecompressor } = await load(
        codec,
        () => import('./minizlib.ts'),
      );
      return codec.name === 'zlib' ? createZlibDecompressor() : createZstdDecompressor();
    }
    case 'libzstd': {
      const library = await loadLibZstd();
      if (library !== undefined && codec.name === 'adaptive')
        return (await load(codec, () => import('./adaptive/decompressor.ts'))).createAdaptiveDecompressor(
          library,
        );
      if (library !== undefined) return createFrameDecompressor(library);
      if (backend === undefined) return createDecompressor(codec, 'minizlib');
      throw noLibZstd();
    }
    case 'pako':
      return (await load(codec, () => import('./pako.ts'))).createPakoDecompressor();
    case 'lz4-napi':
      return (await load(codec, () => import('./lz4.ts'))).createLz4Decompressor();
  }
}

/**
 * Above it a frame per packet costs more bytes than the time is worth: those levels live from a window over many
 * packets (measured in docs/codecs.md).
 */
const MAX_DEFAULT_FRAME_LEVEL = 3;

function noLibZstd(): MigrationError {
  return new MigrationError('unsupported', 'backend libzstd cannot be used on this platform', {
    expected: 'a build of koffi for it, and a Node that exports its zstd',
  });
}

async function load<T>(codec: Codec, module: () => Promise<T>): Promise<T> {
  try {
    return await module();
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw new MigrationError('unsupported', `${codec.name} cannot be loaded on this platform`, {
      cause,
      found,
    });
  }
}
