export { BlockView, runLength } from './block-view.ts';
export {
  CLEAR_BITMAP_SHIFT_DEFAULT,
  CLEAR_BITMAP_SHIFT_MAX,
  CLEAR_BITMAP_SHIFT_MIN,
  ClearBitmap,
} from './clear-bitmap.ts';
export { DirtyBitmap } from './dirty-bitmap.ts';
export { type DirtyLog, type DirtyLogMemory, openDirtyLog } from './dirty-log.ts';
export { PageCache } from './page-cache.ts';
export {
  adviseAllocations,
  RamBlock,
  type RamBlockMemory,
  TARGET_PAGE_BITS,
  TARGET_PAGE_BYTES,
} from './ram-block.ts';
export { ReceivedBitmap } from './received-bitmap.ts';
export { isZeroPage } from './zero-page.ts';
