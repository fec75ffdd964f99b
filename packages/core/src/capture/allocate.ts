import { MigrationError } from '../error.ts';
import { RamBlock } from '../memory/ram-block.ts';
import type { RamBlockDescriptor } from '../wire/messages.ts';

/** How much RAM a capture may announce, unless told otherwise: memory is only taken for pages that come. */
const MAX_RAM_BYTES_DEFAULT = 2 ** 40;

/**
 * Allocates announced blocks, zeroed. `at` says where they were announced.
 * @throws MigrationError `limit-exceeded` when they are together above the limit or the system refuses
 */
export function allocateBlocks(
  blocks: readonly RamBlockDescriptor[],
  maxRamBytes = MAX_RAM_BYTES_DEFAULT,
  at: { channel?: string; offset?: number } = {},
): RamBlock[] {
  const totalBytes = blocks.reduce((sum, block) => sum + block.usedLengthBytes, 0);
  if (totalBytes > maxRamBytes) {
    throw new MigrationError('limit-exceeded', "the guest's RAM", {
      found: `${totalBytes} bytes`,
      expected: `at most ${maxRamBytes}`,
      ...at,
    });
  }
  return blocks.map((block) => {
    try {
      const { guestPhysicalAddress } = block;
      const allocated = RamBlock.allocate(block.idstr, block.usedLengthBytes);
      return guestPhysicalAddress === undefined
        ? allocated
        : new RamBlock({ ...allocated.toMemory(), guestPhysicalAddress });
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new MigrationError(
        'limit-exceeded',
        `this host has not enough memory for the RAM block ${block.idstr} of ${block.usedLengthBytes} bytes`,
        { cause: error, ...at },
      );
    }
  });
}

/**
 * The same blocks, those of the given names as shared ones whose content stayed where it was: with x-ignore-shared the
 * source keeps it, for a destination that has mapped the same memory.
 */
export function leaveOut(blocks: readonly RamBlock[], names: readonly string[]): RamBlock[] {
  return blocks.map((block) =>
    names.includes(block.idstr)
      ? new RamBlock({ ...block.toMemory(), shared: true, elsewhere: true })
      : block,
  );
}
