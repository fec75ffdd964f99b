import { MigrationError } from '../error.ts';
import { BlockView } from '../memory/block-view.ts';
import { DirtyBitmap } from '../memory/dirty-bitmap.ts';
import { type RamBlockMemory, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import type { RunControl } from './run-control.ts';

/**
 * How a snapshot keeps the RAM of a running guest as it was at one moment. Every page is pending from then on
 * until its content is saved. A vCPU looks before each write (`WriteBarrier`): a page that is pending it first copies
 * into a slot, from which the snapshot (`WriteTracker`) takes it before all others. All of it is in shared memory, and
 * nobody waits for an event loop but a vCPU that finds every slot full.
 *
 * A page is copied by whoever claims it first, and written by nobody before it is no longer pending:
 *
 *   pending   claimed
 *      1         0      not saved yet
 *      1         1      somebody copies it
 *      0         1      saved: may be written
 *
 * The slots are a ring with many producers and one consumer. Control block, Int32 words:
 *
 *   0         1 while a snapshot is taken
 *   16        slots taken by vCPUs so far, modulo 2^32
 *   32        counts what the snapshot has done; vCPUs sleep on it
 *   48+4*i    slot i: its turn (the number of the next take when it is free, that number plus 1 when it is full),
 *             id of the block, page
 */
export interface WriteTrackingMemory {
  readonly control: SharedArrayBuffer;
  /** A page per slot. */
  readonly slots: SharedArrayBuffer;
  /** One for each block, in the order of the guest's blocks. */
  readonly blocks: readonly TrackedBlock[];
}

/** The bits of a block's pages. */
export interface TrackedBlock {
  /** Names the block in a slot, whatever the order of the blocks. */
  readonly id: number;
  readonly pending: SharedArrayBuffer;
  readonly claimed: SharedArrayBuffer;
}

const ACTIVE = 0;
const TAKEN = 16;
const PROGRESS = 32;
const FIRST_SLOT = 48;
const SLOT_WORDS = 4;
/** A power of two, so that the count of takes may wrap around. */
const SLOT_COUNT = 1024;

/** How long a vCPU sleeps before it looks again by itself whether it has to stop, ms. */
const SLEEP_MS = 5;

/** Memory for the blocks of a guest, whose ids are their places in the list. */
export function createWriteTracking(
  blocks: readonly Pick<RamBlockMemory, 'usedLengthBytes'>[],
): WriteTrackingMemory {
  return {
    control: new SharedArrayBuffer((FIRST_SLOT + SLOT_COUNT * SLOT_WORDS) * 4),
    slots: new SharedArrayBuffer(SLOT_COUNT * TARGET_PAGE_BYTES),
    blocks: blocks.map(({ usedLengthBytes }, id) => {
      const bytes = DirtyBitmap.bytesFor(usedLengthBytes / TARGET_PAGE_BYTES);
      return { id, pending: new SharedArrayBuffer(bytes), claimed: new SharedArrayBuffer(bytes) };
    }),
  };
}

/**
 * Ends the snapshot that is being taken, if there is one: vCPUs write freely again. For whoever finds that its
 * thread has died; otherwise the tracker does it.
 */
export function endWriteTracking({ control }: WriteTrackingMemory): void {
  const words = new Int32Array(control);
  Atomics.store(words, ACTIVE, 0);
  wake(words);
}

function wake(words: Int32Array<SharedArrayBuffer>): void {
  Atomics.add(words, PROGRESS, 1);
  Atomics.notify(words, PROGRESS);
}

class BlockBits {
  readonly pending: DirtyBitmap;
  readonly claimed: DirtyBitmap;

  constructor(block: RamBlockMemory, bits: TrackedBlock) {
    const pageCount = block.usedLengthBytes / TARGET_PAGE_BYTES;
    this.pending = new DirtyBitmap(pageCount, bits.pending);
    this.claimed = new DirtyBitmap(pageCount, bits.claimed);
  }
}

/** A vCPU's side, for the pages of one block. */
export class WriteBarrier {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #slots: Buffer<SharedArrayBuffer>;
  readonly #bits: BlockBits;
  readonly #view: BlockView;
  readonly #id: number;
  readonly #control: Pick<RunControl, 'mayRun'>;

  constructor(
    memory: WriteTrackingMemory,
    bits: TrackedBlock,
    block: RamBlockMemory,
    control: Pick<RunControl, 'mayRun'>,
  ) {
    this.#words = new Int32Array(memory.control);
    this.#slots = Buffer.from(memory.slots);
    this.#bits = new BlockBits(block, bits);
    this.#view = new BlockView(block);
    this.#id = bits.id;
    this.#control = control;
  }

  /**
   * To be called before each write of a page; costs one load when no snapshot is taken. Returns false when the
   * guest was told to stop while the page could not be saved: it must not be written then.
   */
  beforeWrite(page: number): boolean {
    return Atomics.load(this.#words, ACTIVE) === 0 || this.#save(page);
  }

  #save(page: number): boolean {
    const { pending, claimed } = this.#bits;
    for (;;) {
      const progress = Atomics.load(this.#words, PROGRESS);
      if (!pending.test(page) || Atomics.load(this.#words, ACTIVE) === 0) return true;
      if (claimed.set(page)) {
        if (this.#copy(page)) {
          pending.testAndClear(page);
          return true;
        }
        // Somebody else may save it while this vCPU stands still.
        claimed.testAndClear(page);
      } else {
        Atomics.wait(this.#words, PROGRESS, progress, SLEEP_MS);
      }
      if (!this.#control.mayRun()) return Atomics.load(this.#words, ACTIVE) === 0;
    }
  }

  /** Copies a page into a slot. Returns false when none became free before the snapshot or the guest ended. */
  #copy(page: number): boolean {
    const words = this.#words;
    for (;;) {
      const progress = Atomics.load(words, PROGRESS);
      const taken = Atomics.load(words, TAKEN);
      const slot = taken & (SLOT_COUNT - 1);
      const at = FIRST_SLOT + slot * SLOT_WORDS;
      const turn = Atomics.load(words, at);
      if (turn === taken) {
        if (Atomics.compareExchange(words, TAKEN, taken, (taken + 1) | 0) !== taken) continue;
        this.#view.copyOut(page, 1, this.#slots, slot * TARGET_PAGE_BYTES);
        words[at + 1] = this.#id;
        words[at + 2] = page;
        Atomics.store(words, at, (taken + 1) | 0);
        return true;
      }
      // Another vCPU took the slot between the two loads.
      if (Atomics.load(words, TAKEN) !== taken) continue;
      if (Atomics.load(words, ACTIVE) === 0 || !this.#control.mayRun()) return false;
      Atomics.wait(words, PROGRESS, progress, SLEEP_MS);
    }
  }
}

/** The snapshot's side. One at a time. */
export class WriteTracker {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #slots: Buffer<SharedArrayBuffer>;
  readonly #bits: readonly BlockBits[];
  /** Where the block of an id is in the guest's list. */
  readonly #indexOf: ReadonlyMap<number, number>;
  #given = 0;
  #begun = false;
  #blockIndex = 0;
  #page = 0;

  /** @throws MigrationError `bad-option` when the memory is not that of these blocks */
  constructor(memory: WriteTrackingMemory, blocks: readonly RamBlockMemory[]) {
    if (memory.blocks.length !== blocks.length) {
      throw new MigrationError('bad-option', 'write tracking needs bitmaps for each RAM block', {
        found: String(memory.blocks.length),
        expected: String(blocks.length),
      });
    }
    this.#words = new Int32Array(memory.control);
    this.#slots = Buffer.from(memory.slots);
    this.#bits = blocks.map((block, index) => new BlockBits(block, memory.blocks[index]!));
    this.#indexOf = new Map(memory.blocks.map(({ id }, index) => [id, index]));
  }

  /**
   * Makes every page pending. The guest must stand still.
   * @param isSaved whether the pages of a block are saved at all; those of another may be written at any time
   * @throws MigrationError `bad-option` when another snapshot of it is being taken
   */
  begin(isSaved: (blockIndex: number) => boolean = () => true): void {
    const words = this.#words;
    if (Atomics.load(words, ACTIVE) !== 0)
      throw new MigrationError('bad-option', 'a snapshot of this guest is being taken already');
    this.#given = 0;
    for (const [index, { pending, claimed }] of this.#bits.entries()) {
      claimed.clearAll();
      if (isSaved(index)) pending.setAll();
      else pending.clearAll();
    }
    Atomics.store(words, TAKEN, 0);
    for (let slot = 0; slot < SLOT_COUNT; slot++) Atomics.store(words, FIRST_SLOT + slot * SLOT_WORDS, slot);
    Atomics.store(words, ACTIVE, 1);
    this.#begun = true;
  }

  /** Up to `most` pages that vCPUs have copied, to be used before this returns. Returns how many. */
  takeUrgent(
    most: number,
    use: (blockIndex: number, page: number, slots: Buffer, at: number) => void,
  ): number {
    const words = this.#words;
    let count = 0;
    for (; count < most; count++) {
      const slot = this.#given & (SLOT_COUNT - 1);
      const at = FIRST_SLOT + slot * SLOT_WORDS;
      const full = (this.#given + 1) | 0;
      if (Atomics.load(words, at) !== full) break;
      use(this.#indexOf.get(words[at + 1]!)!, words[at + 2]!, this.#slots, slot * TARGET_PAGE_BYTES);
      Atomics.store(words, at, (this.#given + SLOT_COUNT) | 0);
      this.#given = full;
    }
    if (count > 0) wake(words);
    return count;
  }

  /** Block of the pages that `claim` gave last. */
  get blockIndex(): number {
    return this.#blockIndex;
  }

  /**
   * Claims the next pages of one block that nobody has saved, in ascending order, into `pages`. They can be read
   * until `release`; soon, since vCPUs wait for them.
   * @returns how many; 0 at the end of the last block: the next call starts over with the first
   */
  claim(pages: Uint32Array): number {
    for (; this.#blockIndex < this.#bits.length; this.#blockIndex++, this.#page = 0) {
      const { pending, claimed } = this.#bits[this.#blockIndex]!;
      let count = 0;
      while (count < pages.length) {
        const page = pending.nextSet(this.#page);
        if (page < 0) break;
        this.#page = page + 1;
        if (claimed.set(page)) pages[count++] = page;
      }
      if (count > 0) return count;
    }
    this.#blockIndex = 0;
    this.#page = 0;
    return 0;
  }

  /** The claimed pages are saved. */
  release(pages: Uint32Array, count: number): void {
    const { pending } = this.#bits[this.#blockIndex]!;
    for (let i = 0; i < count; i++) pending.testAndClear(pages[i]!);
    wake(this.#words);
  }

  /** Ends what `begin` began: the guest writes freely again. */
  end(): void {
    if (!this.#begun) return;
    this.#begun = false;
    Atomics.store(this.#words, ACTIVE, 0);
    wake(this.#words);
  }
}
