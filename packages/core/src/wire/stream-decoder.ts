import { need } from './byte-queue.ts';
import { commandName, decodeCommand } from './command.ts';
import {
  decodeConfiguration,
  decodeStreamHeader,
  IGNORE_SHARED_CAPABILITY,
  MAPPED_RAM_CAPABILITY,
} from './configuration.ts';
import { DeviceRun } from './device-run.ts';
import { refusedIterable } from './iterables.ts';
import {
  Command,
  type ConfigurationSection,
  type PageSink,
  type SectionHeader,
  SectionType,
  type StreamMessage,
} from './messages.ts';
import { QueueDecoder } from './queue-decoder.ts';
import { decodeRamBlocks } from './ram-blocks.ts';
import { RamDecoder } from './ram-decoder.ts';
import { RAM_IDSTR, RAM_VERSION } from './ram-records.ts';
import { decodeFooter, decodeSectionHeader, decodeSectionId } from './section.ts';
import { hex } from './text.ts';

const TARGET_PAGE_BITS = 12;
const DEFAULT_MAX_DEVICE_STATE_BYTES = 256 * 1024 * 1024;

export interface StreamDecoderOptions {
  /** Name for errors; `main` by default. */
  readonly channel?: string;
  /** Whether a configuration section must follow the header; by default the stream shows whether one does. */
  readonly configuration?: boolean | undefined;
  /** Whether sections must have footers; by default the end of ram's START section shows whether they do. */
  readonly footers?: boolean | undefined;
  /** Whether capability x-ignore-shared is on, for a stream whose configuration section does not say so. */
  readonly ignoreShared?: boolean | undefined;
  /** Limit of the device sections together with the vmdescription; 256 MiB by default. */
  readonly maxDeviceStateBytes?: number;
  /** Absolute offset of the first byte: where the stream starts in a file. 0 by default. */
  readonly offset?: number;
  /** Takes the pages of RAM sections; `ram-page`, `ram-zero` and `ram-xbzrle` do not come then. */
  readonly pages?: PageSink;
}

/**
 * Decodes the main stream of a migration from chunks of any size: the same bytes give the same messages and
 * the same errors, however they are cut.
 *
 * **Order.** `header`, `configuration`; `section-start` of ram, `ram-blocks`, ...; `section-part` /
 * `section-end`, RAM records, `ram-eos`, `section-footer`; commands between sections; `device-state`, `end`.
 *
 * **Device sections** have no length (device-state.ts). Once all iterable sections have ended, everything up
 * to the stream's end is the device state. While one is open, or none has started, a run of FULL sections is
 * held until it shows what follows it: a START, PART, END or command makes them `device-section` messages
 * (sections sent early, in the setup phase), the EOF with its vmdescription makes the same run the
 * `device-state` (background-snapshot, whose stream has no SECTION_END of ram).
 *
 * **mapped-ram files.** The pages lie between the entries of the block list, and are not part of the
 * messages: `ram-blocks` says where they are. While the decoder does not need the bytes that come next,
 * `wanted` is the absolute offset of the first one that it needs. A reader with random access continues
 * there, with `push(chunk, decoder.wanted)`; one that cannot just pushes everything, and the decoder drops
 * what it does not need.
 *
 * **Machine types up to 2.3** have neither configuration section nor footers. Which one a stream is shows by itself:
 * a configuration's first byte is no section's, and a footer's is neither.
 *
 * Postcopy and COLO are not decoded: their commands are messages like any other, for the consumer to refuse.
 * A packaged blob (PACKAGED) is refused here with `unsupported`.
 */
export class StreamDecoder extends QueueDecoder<StreamMessage> {
  readonly #configuration: boolean | undefined;
  #footers: boolean | undefined;
  readonly #ignoreShared: boolean;
  readonly #maxDeviceStateBytes: number;
  #capabilities: readonly string[] = [];
  /** Iterable sections by id. */
  readonly #iterables = new Map<number, { readonly idstr: string; ended: boolean }>();
  #ram: RamDecoder | undefined;
  readonly #early: SectionHeader[] = [];
  readonly #pages: PageSink | undefined;
  #done = false;

  constructor(options: StreamDecoderOptions = {}) {
    super(options.channel ?? 'main', options.offset);
    this.#pages = options.pages;
    this.#configuration = options.configuration;
    this.#footers = options.footers;
    this.#ignoreShared = options.ignoreShared ?? false;
    this.#maxDeviceStateBytes = options.maxDeviceStateBytes ?? DEFAULT_MAX_DEVICE_STATE_BYTES;
  }

  /** `end` was given. */
  get done(): boolean {
    return this.#done;
  }

  /** Absolute offset at which the next push should start; undefined: where the one before ended. */
  get wanted(): number | undefined {
    return this.queue.wanted;
  }

  /** Adds a chunk; `at` is its absolute offset when it does not follow the one before, see `wanted`. */
  override push(chunk: Uint8Array, at?: number): void {
    this.queue.push(chunk, at);
  }

  protected override *decode(): Generator<StreamMessage | undefined, void> {
    const queue = this.queue;
    yield { type: 'header', version: yield* decodeStreamHeader(queue) };
    if (this.#configuration ?? (yield* this.#configurationFollows())) {
      const configuration = yield* decodeConfiguration(queue);
      yield { type: 'configuration', configuration };
      this.#configure(configuration);
    }
    while (!this.#done) {
      yield* need(queue, 1, 'a section');
      const type = queue.peekU8();
      switch (type) {
        case SectionType.start:
          yield* this.#start();
          break;
        case SectionType.part:
        case SectionType.end:
          yield* this.#partOrEnd(type);
          break;
        case SectionType.command:
          yield* this.#command();
          break;
        case SectionType.full:
        case SectionType.eof:
          yield* this.#devices(type);
          break;
        default: {
          const expected = 'START, PART, END, FULL, COMMAND or EOF';
          throw queue.error('unknown-section', 'section type', { found: hex(type), expected });
        }
      }
    }
  }

  /** Without one the first section comes at once, or the opening of the return path. */
  *#configurationFollows(): Generator<undefined, boolean> {
    yield* need(this.queue, 1, 'the configuration section');
    const type = this.queue.peekU8();
    return type !== SectionType.start && type !== SectionType.full && type !== SectionType.command;
  }

  #configure(configuration: ConfigurationSection): void {
    this.#capabilities = configuration.capabilities ?? [];
    const bits = configuration.targetPageBits ?? TARGET_PAGE_BITS;
    if (bits !== TARGET_PAGE_BITS) {
      const details = { found: `${bits} bits`, expected: `${TARGET_PAGE_BITS}` };
      throw this.queue.error('unsupported', 'target pages that are not of 4 KiB', details);
    }
  }

  *#start(): Generator<StreamMessage | undefined, void> {
    const queue = this.queue;
    const at = queue.offset;
    queue.skip(1);
    const section = yield* decodeSectionHeader(queue);
    this.#checkStart(section, at);
    this.#iterables.set(section.sectionId, { idstr: section.idstr, ended: false });
    yield { type: 'section-start', section };
    const mappedRam = this.#capabilities.includes(MAPPED_RAM_CAPABILITY);
    const ignoreShared = this.#ignoreShared || this.#capabilities.includes(IGNORE_SHARED_CAPABILITY);
    const { totalBytes, blocks } = yield* decodeRamBlocks(queue, { mappedRam, ignoreShared });
    this.#ram = new RamDecoder(queue, blocks, mappedRam, this.#pages);
    yield { type: 'ram-blocks', totalBytes, blocks };
    yield* this.#records(this.#ram, section.sectionId);
  }

  #checkStart(section: SectionHeader, at: number): void {
    const queue = this.queue;
    const { sectionId, idstr, instanceId, versionId } = section;
    const refused = refusedIterable(idstr);
    if (refused !== undefined) throw queue.error('unsupported', refused, {}, at);
    if (idstr !== RAM_IDSTR || instanceId !== 0) {
      const found = `${idstr} instance ${instanceId}`;
      throw queue.error('unknown-section', 'SECTION_START', { found, expected: 'ram instance 0' }, at);
    }
    if (versionId !== RAM_VERSION) {
      const expected = `${RAM_VERSION}`;
      throw queue.error('bad-version', 'version of section ram', { found: `${versionId}`, expected }, at);
    }
    if (this.#ram !== undefined) throw queue.error('bad-section', 'a second SECTION_START of ram', {}, at);
    if (this.#takenIds().has(sectionId)) {
      throw queue.error('bad-section', 'section id that is taken', { found: `${sectionId}` }, at);
    }
  }

  *#partOrEnd(
    type: typeof SectionType.part | typeof SectionType.end,
  ): Generator<StreamMessage | undefined, void> {
    const queue = this.queue;
    const at = queue.offset;
    queue.skip(1);
    const sectionId = yield* decodeSectionId(queue);
    const section = this.#iterables.get(sectionId);
    if (section === undefined || this.#ram === undefined) {
      const expected = 'the id of a started section';
      throw queue.error('unknown-section', 'section id', { found: `${sectionId}`, expected }, at);
    }
    if (section.ended) {
      throw queue.error('bad-section', `section ${section.idstr} goes on after its SECTION_END`, {}, at);
    }
    const { idstr } = section;
    if (type === SectionType.part) {
      yield { type: 'section-part', sectionId, idstr };
    } else {
      section.ended = true;
      yield { type: 'section-end', sectionId, idstr };
    }
    yield* this.#records(this.#ram, sectionId);
  }

  /** The RAM records of one section, and its footer. */
  *#records(ram: RamDecoder, sectionId: number): Generator<StreamMessage | undefined, void> {
    const queue = this.queue;
    for (;;) {
      const message = ram.next();
      if (message === undefined && queue.ended) throw queue.truncated(ram.expected);
      yield message;
      if (message?.type === 'ram-eos') break;
    }
    this.#footers ??= yield* this.#footerFollows();
    if (!this.#footers) return;
    yield* decodeFooter(queue, sectionId);
    yield { type: 'section-footer', sectionId };
  }

  /** Behind the first section: what is no section, command or EOF either must be a footer. */
  *#footerFollows(): Generator<undefined, boolean> {
    yield* need(this.queue, 1, 'the footer of a section, or the next section');
    const type = this.queue.peekU8();
    return type > SectionType.full && type !== SectionType.command;
  }

  *#command(): Generator<StreamMessage | undefined, void> {
    const queue = this.queue;
    const at = queue.offset;
    queue.skip(1);
    const { command, payload } = yield* decodeCommand(queue);
    yield { type: 'command', command, payload };
    if (command === Command.packaged) {
      throw queue.error('unsupported', `a postcopy package (command ${commandName(command)})`, {}, at);
    }
  }

  *#devices(
    type: typeof SectionType.full | typeof SectionType.eof,
  ): Generator<StreamMessage | undefined, void> {
    const queue = this.queue;
    const open = new Set<number>();
    for (const [id, { ended }] of this.#iterables) if (!ended) open.add(id);
    const allEnded = this.#iterables.size > 0 && open.size === 0;
    if (type === SectionType.eof && !allEnded) {
      throw queue.error('bad-section', 'EOF before the SECTION_END of ram');
    }
    const result = yield* new DeviceRun(queue, {
      footers: this.#footers ?? true,
      maxBytes: this.#maxDeviceStateBytes,
      mayResume: !allEnded,
      known: this.#takenIds(),
      open,
      early: this.#early,
    }).decode();
    if (result.kind === 'resume') {
      for (const section of result.sections) {
        this.#early.push(section);
        yield { type: 'device-section', section };
      }
      return;
    }
    const { sections, vmdesc, proven, raw } = result;
    yield { type: 'device-state', sections, vmdesc, proven, raw };
    this.#done = true;
    yield { type: 'end' };
  }

  #takenIds(): Set<number> {
    return new Set([...this.#iterables.keys(), ...this.#early.map(({ sectionId }) => sectionId)]);
  }
}
