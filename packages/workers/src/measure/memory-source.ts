import type { RamBlock } from '@pageferry/core/memory';
import { GuestMix } from './mix.ts';

/** A piece of guest memory that has a name. */
export interface SourceBlock {
  readonly name: string;
  /** A multiple of 4096. */
  readonly bytes: number;
}

/** Guest memory to be measured, wherever it lies. */
export interface MemorySource {
  readonly kind: 'capture' | 'image' | 'core-dump' | 'generated';
  /** File name, or what was generated. */
  readonly name: string;
  readonly blocks: readonly SourceBlock[];
  /** What of the input is left out, one sentence each. */
  readonly notes: readonly string[];
  /**
   * Fills `target` from a block.
   *
   * @param offsetBytes where in the block; `target` ends within the block
   * @throws MigrationError `file-failed`, `truncated`
   */
  read(block: number, offsetBytes: number, target: Buffer): Promise<void>;
  close(): Promise<void>;
}

/** `Buffer.copy` keeps 32 bits of its offsets only: larger blocks are seen through windows. */
const WINDOW_BYTES = 2 ** 30;

/** RAM that is in memory: a loaded capture, a machine that stands still. */
export function sourceOfBlocks(
  blocks: readonly RamBlock[],
  kind: MemorySource['kind'],
  name: string,
): MemorySource {
  return {
    kind,
    name,
    blocks: blocks.map(({ idstr, usedLengthBytes }) => ({ name: idstr, bytes: usedLengthBytes })),
    notes: [],
    async read(block, offsetBytes, target) {
      const { buffer, byteOffset } = blocks[block]!;
      for (let done = 0; done < target.length; ) {
        const length = Math.min(WINDOW_BYTES, target.length - done);
        Buffer.from(buffer, byteOffset + offsetBytes + done, length).copy(target, done);
        done += length;
      }
    },
    async close() {},
  };
}

const GENERATE_CHUNK_BYTES = 4 * 2 ** 20;

/**
 * The mix of `GuestMix`, in memory.
 *
 * @param sizeBytes a multiple of 4096
 * @param onProgress called along the way; may throw to end it
 */
export async function generateSource(
  sizeBytes: number,
  onProgress: (doneBytes: number) => void = () => {},
): Promise<MemorySource> {
  const memory = Buffer.alloc(sizeBytes);
  using mix = new GuestMix();
  for (let at = 0; at < sizeBytes; at += GENERATE_CHUNK_BYTES) {
    mix.fill(memory.subarray(at, at + GENERATE_CHUNK_BYTES));
    onProgress(Math.min(sizeBytes, at + GENERATE_CHUNK_BYTES));
    // Signals and timers get their turn.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return {
    kind: 'generated',
    name: 'a mix of zero pages, text, shared libraries and noise',
    blocks: [{ name: 'generated', bytes: sizeBytes }],
    notes: [],
    async read(_block, offsetBytes, target) {
      memory.copy(target, 0, offsetBytes, offsetBytes + target.length);
    },
    async close() {},
  };
}
