import { MigrationError } from '../error.ts';
import { checkCancelled, fileError } from '../file-error.ts';
import { type RamBlock, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { isZeroPage } from '../memory/zero-page.ts';
import { commandName } from '../wire/command.ts';
import { IGNORE_SHARED_CAPABILITY, MAPPED_RAM_CAPABILITY } from '../wire/configuration.ts';
import {
  Command,
  type ConfigurationSection,
  type DeviceSection,
  type DeviceStateMessage,
  type RamBlockDescriptor,
  type StreamMessage,
} from '../wire/messages.ts';
import { decodeXbzrle } from '../wire/xbzrle.ts';
import { allocateBlocks, leaveOut } from './allocate.ts';
import { type Capture, MULTIFD_ALONE } from './capture.ts';
import { CaptureFile } from './capture-file.ts';
import { InFlight } from './in-flight.ts';
import { mappedRuns } from './mapped-pages.ts';
import { PageSet } from './page-set.ts';
import { type CaptureReadOptions, ReadProgress } from './read-progress.ts';
import { walkStream } from './walk.ts';

export interface LoadCaptureOptions extends CaptureReadOptions {
  /** Limit of the guest's RAM in bytes. */
  readonly maxRamBytes?: number;
  /** The machine type, for a stream that does not say it (machine types up to 2.3). */
  readonly machine?: string | undefined;
}

const RUN_PAGES = (4 * 1024 * 1024) / TARGET_PAGE_BYTES;
/** Node's thread pool has four threads: more would only queue. */
const READS_IN_FLIGHT = 4;
/** Commands that change nothing about what the file holds; all others belong to postcopy or COLO. */
const HARMLESS_COMMANDS: ReadonlySet<number> = new Set([
  Command.openReturnPath,
  Command.ping,
  Command.postcopyAdvise,
  Command.switchoverStart,
]);

/**
 * Loads a captured machine, of either format: which one it is stands in the file.
 *
 * @throws MigrationError `file-failed`, `bad-file`, `truncated`, `limit-exceeded`, `unsupported`, `cancelled` and
 *   those of a malformed stream, with the path as channel and the byte offset in the file
 */
export async function loadCapture(path: string, options: LoadCaptureOptions = {}): Promise<Capture> {
  const file = await CaptureFile.open(path);
  try {
    const progress = new ReadProgress(file, options);
    const loader = new Loader(file, options, progress);
    const endOffset = await walkStream(file, loader.take, options, progress);
    return loader.finish(endOffset);
  } catch (error) {
    throw fileError(error, path, `load ${path}`);
  } finally {
    await file.close();
  }
}

class Loader {
  readonly #file: CaptureFile;
  readonly #options: LoadCaptureOptions;
  readonly #progress: ReadProgress;
  #configuration: ConfigurationSection | undefined;
  #ramSectionId: number | undefined;
  #memory: RamBlock[] | undefined;
  /** Pages of each block that a plain stream has a record of. */
  #recorded: PageSet[] = [];
  #pageRecords = 0;
  #zeroRecords = 0;
  #xbzrleRecords = 0;
  #partBegun = false;
  readonly #early: DeviceSection[] = [];
  /** FULL sections between RAM parts: what they say was said of RAM that is there by the end. */
  readonly #late: DeviceSection[] = [];
  #deviceState: DeviceStateMessage | undefined;

  constructor(file: CaptureFile, options: LoadCaptureOptions, progress: ReadProgress) {
    this.#file = file;
    this.#options = options;
    this.#progress = progress;
    if (options.machine !== undefined) this.#configuration = { machine: options.machine };
  }

  readonly take = (message: StreamMessage, offset: number): Promise<void> | undefined => {
    switch (message.type) {
      case 'ram-page':
        this.#pageRecords++;
        this.#recorded[message.blockIndex]!.add(message.pageIndex);
        this.#memory![message.blockIndex]!.bytes.set(message.data, message.pageIndex * TARGET_PAGE_BYTES);
        return undefined;
      case 'ram-zero':
        this.#zeroRecords++;
        this.#recorded[message.blockIndex]!.add(message.pageIndex);
        this.#clear(this.#memory![message.blockIndex]!, message.pageIndex);
        return undefined;
      case 'ram-xbzrle': {
        this.#xbzrleRecords++;
        const { blockIndex, pageIndex, data } = message;
        this.#recorded[blockIndex]!.add(pageIndex);
        const { bytes } = this.#memory![blockIndex]!;
        decodeXbzrle(data, 0, data.length, bytes, pageIndex * TARGET_PAGE_BYTES);
        return undefined;
      }
      case 'configuration':
        this.#checkMachine(message.configuration, offset);
        this.#configuration = message.configuration;
        return undefined;
      case 'section-start':
        this.#ramSectionId = message.section.sectionId;
        return undefined;
      case 'section-part':
        this.#partBegun = true;
        return undefined;
      case 'ram-blocks':
        return this.#allocate(message.blocks, offset);
      case 'ram-multifd-flush':
        throw this.#unsupported(MULTIFD_ALONE, offset);
      case 'command':
        if (!HARMLESS_COMMANDS.has(message.command)) {
          throw this.#unsupported(`postcopy or COLO (command ${commandName(message.command)})`, offset);
        }
        return undefined;
      case 'device-section':
        (this.#partBegun ? this.#late : this.#early).push(message.section);
        return undefined;
      case 'device-state':
        this.#deviceState = message;
        return undefined;
      default:
        return undefined;
    }
  };

  finish(endOffset: number): Capture {
    const deviceState = this.#deviceState;
    if (
      this.#configuration === undefined ||
      this.#ramSectionId === undefined ||
      this.#memory === undefined ||
      deviceState === undefined
    ) {
      throw new MigrationError('bad-file', 'the stream holds no whole machine', {
        channel: this.#file.path,
        offset: endOffset,
        found: [
          this.#configuration === undefined ? 'no configuration: which machine it is must be told' : '',
          this.#memory === undefined ? 'no RAM' : '',
          deviceState === undefined ? 'no device state' : '',
        ]
          .filter((text) => text !== '')
          .join(', '),
      });
    }
    const format = isMapped(this.#configuration) ? 'mapped-ram' : 'stream';
    const absent = this.#absentBlocks(this.#memory);
    const memory = leaveOut(this.#memory, absent);
    const missingPages = format === 'stream' ? this.#missingPages(memory) : 0;
    if (missingPages > 0 && this.#pageRecords === 0) throw this.#unsupported(MULTIFD_ALONE, endOffset);
    return {
      path: this.#file.path,
      format,
      configuration: this.#configuration,
      memory,
      ramSectionId: this.#ramSectionId,
      deviceState: {
        early: this.#early,
        sections: [...this.#late, ...deviceState.sections],
        vmdesc: deviceState.vmdesc,
      },
      proven: deviceState.proven,
      stats: {
        fileBytes: this.#file.sizeBytes,
        endOffset,
        pageRecords: this.#pageRecords,
        zeroRecords: this.#zeroRecords,
        xbzrleRecords: this.#xbzrleRecords,
        missingPages,
      },
    };
  }

  #checkMachine({ machine }: ConfigurationSection, offset: number): void {
    const { machine: expected } = this.#options;
    if (expected === undefined || expected === machine) return;
    throw new MigrationError('bad-configuration', 'the file holds another machine', {
      channel: this.#file.path,
      offset,
      found: machine,
      expected,
    });
  }

  #missingPages(memory: readonly RamBlock[]): number {
    return memory.reduce(
      (sum, block, index) => (block.elsewhere ? sum : sum + block.pageCount - this.#recorded[index]!.size),
      0,
    );
  }

  /** With x-ignore-shared a block without any record was shared: its content is not in the file. */
  #absentBlocks(memory: readonly RamBlock[]): string[] {
    if (this.#configuration?.capabilities?.includes(IGNORE_SHARED_CAPABILITY) !== true) return [];
    return memory.filter((_, index) => this.#recorded[index]!.size === 0).map(({ idstr }) => idstr);
  }

  #allocate(blocks: readonly RamBlockDescriptor[], offset: number): Promise<void> | undefined {
    const at = { channel: this.#file.path, offset };
    this.#memory = allocateBlocks(blocks, this.#options.maxRamBytes, at);
    this.#recorded = blocks.map(() => new PageSet());
    return blocks.some((block) => block.mappedRam) ? this.#readMappedPages(blocks) : undefined;
  }

  /** Reads the pages from where they are in the file to where they are in RAM; zero pages are not touched. */
  async #readMappedPages(blocks: readonly RamBlockDescriptor[]): Promise<void> {
    const reads = new InFlight(READS_IN_FLIGHT);
    try {
      for (const [index, block] of blocks.entries()) {
        const { bytes } = this.#memory![index]!;
        for (const run of await mappedRuns(this.#file, block, RUN_PAGES)) {
          checkCancelled(this.#options.signal, this.#file.path);
          const start = run.first * TARGET_PAGE_BYTES;
          const target = bytes.subarray(start, start + run.count * TARGET_PAGE_BYTES);
          this.#pageRecords += run.count;
          await reads.run(() => this.#file.readFully(target, run.offset, `the pages of ${block.idstr}`));
          this.#progress.reached(run.offset + target.length);
        }
      }
      await reads.drain();
    } finally {
      // The caller closes the file next.
      await reads.settle();
    }
  }

  /** A page may have had content in an earlier pass; one that was always zero is not touched. */
  #clear(block: RamBlock, page: number): void {
    const start = page * TARGET_PAGE_BYTES;
    if (!isZeroPage(block.bytes, start)) block.bytes.fill(0, start, start + TARGET_PAGE_BYTES);
  }

  #unsupported(what: string, offset: number): MigrationError {
    return new MigrationError('unsupported', what, { channel: this.#file.path, offset });
  }
}

function isMapped(configuration: ConfigurationSection): boolean {
  return configuration.capabilities?.includes(MAPPED_RAM_CAPABILITY) === true;
}
