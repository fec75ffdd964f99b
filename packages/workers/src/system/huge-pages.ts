import { adviseAllocations } from '@pageferry/core/memory';
import { loadSystemCalls } from './system-calls.ts';

/** Transparent huge pages are of this size on x86-64, and on arm64 with pages of 4 KiB. */
const HUGE_PAGE_BYTES = 2 * 2 ** 20;

/**
 * Asks the kernel for transparent huge pages under the guest RAM that this thread allocates from now on
 * (`RamBlock.allocate`: the built-in machine's, a loaded capture's, that of a guest that is taken in), as QEMU does
 * for its own. First touches cost a fraction, and whoever reads or copies pages misses the TLB less. Memory that is
 * touched in few places takes more: 2 MiB for each. A host whose administrator said `never` does as it did.
 *
 * Call it before there is a guest.
 *
 * @returns whether the kernel can be asked: on Linux, where system calls can be made from JavaScript
 */
export async function useHugePages(): Promise<boolean> {
  const calls = await loadSystemCalls();
  if (calls === undefined) return false;
  adviseAllocations((buffer) => {
    // A plain buffer does not begin at a page, which the kernel demands; only whole huge pages count anyway.
    const start = calls.addressOf(buffer);
    const first = Math.ceil(start / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES;
    const bytes = Math.floor((start + buffer.byteLength - first) / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES;
    if (bytes > 0) calls.adviseHugePages(first, bytes);
  });
  return true;
}
