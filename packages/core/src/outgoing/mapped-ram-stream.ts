import type { RamBlock } from '../memory/ram-block.ts';
import type { SeekableChannel } from '../transport/byte-channel.ts';
import { concatBytes } from '../wire/byte-writer.ts';
import { MAPPED_RAM_CAPABILITY } from '../wire/configuration.ts';
import { encodeMappedRamEntry, layOutMappedRam, type MappedRamPlace } from '../wire/mapped-ram-layout.ts';
import { RamFlag } from '../wire/messages.ts';
import { encodeRamWord } from '../wire/ram-records.ts';
import { encodeRamStart, MainStreamWriter, type StreamForm, totalBytesOf } from './main-stream.ts';

/** The main stream of a mapped-ram file: it jumps over the bitmaps and the pages, which the page sender writes. */
export class MappedRamStreamWriter extends MainStreamWriter {
  readonly #file: SeekableChannel;
  readonly #sectionId: number;

  protected override readonly capabilities = [MAPPED_RAM_CAPABILITY];

  constructor(file: SeekableChannel, ramSectionId: number, form: StreamForm = {}) {
    super(file, ramSectionId, form);
    this.#file = file;
    this.#sectionId = ramSectionId;
  }

  /** Where the blocks will be, when `ramStart` comes next. */
  override places(blocks: readonly RamBlock[]): MappedRamPlace[] {
    return layOutMappedRam(blocks, this.#file.position + this.#opening(blocks).length);
  }

  override ramStart(blocks: readonly RamBlock[]): void {
    const places = this.places(blocks);
    this.#file.write(this.#opening(blocks));
    for (const [index, block] of blocks.entries()) {
      this.#file.write(encodeMappedRamEntry(block, places[index]!));
      this.#file.skipTo(places[index]!.endOffset);
    }
  }

  #opening(blocks: readonly RamBlock[]): Uint8Array {
    return concatBytes([
      encodeRamStart(this.#sectionId),
      encodeRamWord(totalBytesOf(blocks), RamFlag.memSize),
    ]);
  }
}
