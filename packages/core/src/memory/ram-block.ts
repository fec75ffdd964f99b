import { MigrationError } from '../error.ts';

/** Size of a target page in bytes. Every guest that pageferry knows has 4 KiB pages. */
export const TARGET_PAGE_BYTES = 4096;
export const TARGET_PAGE_BITS = 12;

/**
 * What identifies a RAM block and where its bytes are: a plain object, so that it can be sent to another
 * thread as it is (the SharedArrayBuffer is shared, not copied).
 */
export interface RamBlockMemory {
  /** QEMU's name of the block, such as `pc.ram`; 1 to 255 bytes. */
  readonly idstr: string;
  /** Bytes that migrate; a multiple of the target page. */
  readonly usedLengthBytes: number;
  /** Host page size in bytes (4096, or 2 MiB/1 GiB when backed by huge pages). */
  readonly pageSizeBytes: number;
  readonly buffer: SharedArrayBuffer;
  /** Where the block starts in `buffer`; a multiple of the target page. */
  readonly byteOffset: number;
  /** Mapped shared: with x-ignore-shared it is announced, and its pages stay where they are. */
  readonly shared?: boolean | undefined;
  /** Of a shared block: its content is not in `buffer`, but where the guest's next owner finds it. */
  readonly elsewhere?: boolean | undefined;
  /** Where the guest sees it; with x-ignore-shared a destination compares it for the blocks that it shares. */
  readonly guestPhysicalAddress?: bigint | undefined;
  /** At a destination whose memory was zero at the start: the bits of a `ReceivedBitmap`. */
  readonly received?: SharedArrayBuffer | undefined;
  /** At a destination with x-ignore-shared: a word that is not 0 once anything has come for the block. */
  readonly arrived?: SharedArrayBuffer | undefined;
}

/** A RAM block with the views that the hot path needs. */
export class RamBlock implements RamBlockMemory {
  readonly idstr: string;
  readonly usedLengthBytes: number;
  readonly pageSizeBytes: number;
  readonly buffer: SharedArrayBuffer;
  readonly byteOffset: number;
  readonly shared: boolean;
  readonly elsewhere: boolean;
  readonly guestPhysicalAddress: bigint | undefined;
  /** All bytes of the block. */
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  readonly pageCount: number;

  /** @throws MigrationError `bad-option` when length or offset is not page-aligned or outside the buffer. */
  constructor(memory: RamBlockMemory) {
    const { idstr, usedLengthBytes, buffer, byteOffset } = memory;
    if (idstr.length === 0 || new TextEncoder().encode(idstr).length > 255) {
      throw new MigrationError(
        'bad-option',
        `the name of a RAM block has 1 to 255 bytes: ${JSON.stringify(idstr)}`,
      );
    }
    if (usedLengthBytes % TARGET_PAGE_BYTES !== 0 || byteOffset % TARGET_PAGE_BYTES !== 0) {
      throw new MigrationError(
        'bad-option',
        `RAM block ${idstr} is not aligned to ${TARGET_PAGE_BYTES} bytes`,
      );
    }
    if (byteOffset + usedLengthBytes > buffer.byteLength) {
      throw new MigrationError('bad-option', `RAM block ${idstr} lies outside its buffer`);
    }
    this.idstr = idstr;
    this.usedLengthBytes = usedLengthBytes;
    this.pageSizeBytes = memory.pageSizeBytes;
    this.shared = memory.shared === true;
    this.elsewhere = memory.elsewhere === true;
    this.guestPhysicalAddress = memory.guestPhysicalAddress;
    this.buffer = buffer;
    this.byteOffset = byteOffset;
    this.bytes = new Uint8Array(buffer, byteOffset, usedLengthBytes);
    this.pageCount = pagesOf(usedLengthBytes);
  }

  /** A block over new, zeroed memory of its own, page-aligned in the process as `alignedBuffer` can. */
  static allocate(idstr: string, usedLengthBytes: number, pageSizeBytes = TARGET_PAGE_BYTES): RamBlock {
    const buffer = alignedBuffer(usedLengthBytes);
    adviseNewMemory?.(buffer);
    return new RamBlock({ idstr, usedLengthBytes, pageSizeBytes, buffer, byteOffset: 0 });
  }

  /** The plain object for another thread. */
  toMemory(): RamBlockMemory {
    const { idstr, usedLengthBytes, pageSizeBytes, buffer, byteOffset } = this;
    const { shared, elsewhere, guestPhysicalAddress } = this;
    return {
      ...{ idstr, usedLengthBytes, pageSizeBytes, buffer, byteOffset },
      ...(shared && { shared }),
      ...(elsewhere && { elsewhere }),
      ...(guestPhysicalAddress !== undefined && { guestPhysicalAddress }),
    };
  }
}

/**
 * Pages of a block, as an integer also for V8: the quotient of a length above 2 GiB is a floating-point number to
 * it, and each function that meets one would be compiled anew.
 */
export function pagesOf(lengthBytes: number): number {
  return (lengthBytes / TARGET_PAGE_BYTES) >>> 0;
}

let adviseNewMemory: ((buffer: SharedArrayBuffer) => void) | undefined;

/**
 * Names what tells the kernel how the memory of each block that this thread allocates from now on will be
 * used, before anything touches it. Memory works without; there is one adviser, the last.
 */
export function adviseAllocations(adviser: (buffer: SharedArrayBuffer) => void): void {
  adviseNewMemory = adviser;
}

const WASM_PAGE_BYTES = 65536;
const WASM32_LIMIT_BYTES = 2 ** 32;

/** The part of WebAssembly's interface that is used here; a 64-bit memory is described in bigints. */
interface MemoryConstructor {
  new (
    descriptor:
      | { initial: number; maximum: number; shared: true }
      | { address: 'i64'; initial: bigint; maximum: bigint; shared: true },
  ): { readonly buffer: SharedArrayBuffer };
}

/**
 * A zeroed SharedArrayBuffer of at least `bytes` that starts at a page of the process: that of a WebAssembly
 * memory. A plain one starts 16 bytes behind it, which keeps direct I/O and the kernel's page tracking out.
 * Where no such memory can be had (above 16 GiB, or without WebAssembly) it is a plain one.
 */
function alignedBuffer(bytes: number): SharedArrayBuffer {
  const { WebAssembly } = globalThis as { WebAssembly?: { Memory: MemoryConstructor } };
  const pages = Math.ceil(bytes / WASM_PAGE_BYTES);
  try {
    if (WebAssembly === undefined) return new SharedArrayBuffer(bytes);
    if (bytes <= WASM32_LIMIT_BYTES) {
      return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }).buffer;
    }
    const wide = BigInt(pages);
    return new WebAssembly.Memory({ address: 'i64', initial: wide, maximum: wide, shared: true }).buffer;
  } catch {
    return new SharedArrayBuffer(bytes);
  }
}
