import { type ByteQueue, need } from './byte-queue.ts';
import { isLegalCommand } from './command.ts';
import {
  copySections,
  headerAt,
  isFooterAt,
  isPlausibleHeader,
  type SectionRange,
  splitByScanning,
  splitByVmdesc,
} from './device-state.ts';
import { refusedIterable } from './iterables.ts';
import { type DeviceSection, type SectionHeader, SectionType } from './messages.ts';
import { isPlausibleRamWord } from './ram-decoder.ts';
import { RAM_IDSTR } from './ram-records.ts';
import { FOOTER_BYTES } from './section.ts';

/** Bytes from the EOF to the JSON text: EOF, type, length. */
const VMDESC_AT = 6;
/** A vmdescription above this is not waited for. */
const MAX_VMDESC_BYTES = 64 * 1024 * 1024;
const OPEN_BRACE = 0x7b;

export interface DeviceRunOptions {
  readonly footers: boolean;
  readonly maxBytes: number;
  /** Whether other sections may follow: an iterable section (ram) is open, or none has started yet. */
  readonly mayResume: boolean;
  /** Section ids that are taken. */
  readonly known: ReadonlySet<number>;
  /** Ids of the iterable sections that have started and not ended. */
  readonly open: ReadonlySet<number>;
  /** FULL sections of earlier runs. */
  readonly early: readonly SectionHeader[];
}

export type DeviceRunResult =
  /** Something else than a FULL section or the EOF follows. */
  | { readonly kind: 'resume'; readonly sections: readonly DeviceSection[] }
  | {
      readonly kind: 'end';
      readonly sections: readonly DeviceSection[];
      readonly vmdesc?: Uint8Array;
      readonly proven: boolean;
      readonly raw: Uint8Array;
    };

/**
 * Decodes a run of FULL sections: everything from a FULL section to the end of the stream or, while other
 * sections may follow, to the next section or command. The queue holds the run until it is decided, so its
 * size is bounded by `maxBytes`.
 *
 * The end is found while the bytes come, each looked at once: at every `7e .. .. .. .. 00 06 LL LL LL LL {`
 * the JSON text of that length is awaited, and the vmdescription must prove the whole run, or the search
 * goes on. A NUL byte ends the wait, since JSON text has none: so no two candidates overlap, and a false
 * one cannot hold up the stream. Guest data in a device could imitate the end only by describing all
 * sections before it with their exact lengths, and would harm its own guest only.
 *
 * When the peer closes without such an end (no vmdescription, or one that is wrong), the run must end with
 * a footer and the EOF, and is split by scanning: `proven` is false then.
 */
export class DeviceRun {
  readonly #queue: ByteQueue;
  readonly #options: DeviceRunOptions;
  readonly #taken: Set<number>;
  readonly #held: SectionRange[] = [];
  /** The section that the scan is in; undefined when no other section may follow. */
  #open: (SectionHeader & { headerAt: number; dataAt: number }) | undefined;
  /** A complete vmdescription that did not prove the run, at the EOF before it. */
  #unproven: { eofAt: number; end: number } | undefined;
  #awaited = 'more of the device state';
  /** The peer closed before all of something that was looked at was there. */
  #cut = false;

  constructor(queue: ByteQueue, options: DeviceRunOptions) {
    this.#queue = queue;
    this.#options = options;
    this.#taken = new Set(options.known);
  }

  /** Starts at the type byte of a FULL section, or at the EOF when there is no FULL section. */
  *decode(): Generator<undefined, DeviceRunResult> {
    const { footers, mayResume } = this.#options;
    const queue = this.#queue;
    if (queue.peekU8() === SectionType.eof) return yield* this.#noSections();
    if (mayResume && footers) yield* this.#openFirst();
    const mark = footers ? SectionType.footer : SectionType.eof;
    const eofDistance = footers ? FOOTER_BYTES : 0;
    let at = 1;
    for (;;) {
      if (!(yield* this.#has(at + 1))) return this.#closed();
      const view = queue.peek(queue.available);
      const found = view.indexOf(mark, at);
      at = found < 0 ? view.length : found;
      this.#checkLimit(at);
      if (found < 0) continue;
      if (!(yield* this.#has(at + eofDistance + 1))) return this.#closed();
      if (queue.peekU8(at + eofDistance) === SectionType.eof) {
        const end = yield* this.#tryEnd(at + eofDistance);
        if (end !== undefined) return end;
      } else if (
        this.#open !== undefined &&
        isFooterAt(queue.peek(at + FOOTER_BYTES), at, this.#open.sectionId)
      ) {
        const next = yield* this.#tryNext(at, this.#open);
        if (next === 'resume') return this.#resume(at + FOOTER_BYTES);
        if (next !== undefined) {
          at = next;
          continue;
        }
      }
      at++;
    }
  }

  /** An EOF that no FULL section comes before: the vmdescription must follow, or the stream ends. */
  *#noSections(): Generator<undefined, DeviceRunResult> {
    const queue = this.#queue;
    if (!(yield* this.#has(2))) return this.#end([], 1, undefined, false);
    if (queue.peekU8(1) === SectionType.vmdescription) {
      const end = yield* this.#tryEnd(0);
      if (end !== undefined) return end;
      if (this.#cut) throw queue.truncated(this.#awaited);
    }
    throw queue.error('bad-device-state', 'what follows the EOF is no vmdescription of no sections');
  }

  *#openFirst(): Generator<undefined, void> {
    const queue = this.#queue;
    yield* need(queue, 6, 'the header of a device section');
    yield* need(queue, 14 + queue.peekU8(5), 'the header of a device section');
    const header = headerAt(queue.peek(14 + queue.peekU8(5)), 0);
    if (header === undefined)
      throw queue.error('bad-section', 'the name of a device section is not plain text');
    this.#taken.add(header.sectionId);
    this.#open = { ...header, headerAt: 0 };
  }

  /** Decides on an EOF at `eofAt`: gives the result when a vmdescription follows that proves the run. */
  *#tryEnd(eofAt: number): Generator<undefined, DeviceRunResult | undefined> {
    const queue = this.#queue;
    const jsonAt = eofAt + VMDESC_AT;
    this.#awaited = 'a vmdescription';
    if (!(yield* this.#has(jsonAt + 1))) return undefined;
    this.#awaited = 'more of the device state';
    if (queue.peekU8(eofAt + 1) !== SectionType.vmdescription) return undefined;
    if (queue.peekU8(jsonAt) !== OPEN_BRACE) return undefined;
    const length = queue.peekU32(eofAt + 2);
    const end = jsonAt + length;
    if (length > MAX_VMDESC_BYTES || end > this.#options.maxBytes) return undefined;
    let checked = jsonAt;
    while (checked < end) {
      this.#awaited = `the rest of a vmdescription of ${length} bytes`;
      if (!(yield* this.#has(checked + 1))) return undefined;
      const there = Math.min(end, queue.available);
      if (queue.peek(there).indexOf(0, checked) >= 0) {
        this.#awaited = 'more of the device state';
        return undefined;
      }
      checked = there;
    }
    const { footers, early } = this.#options;
    const view = queue.peek(end);
    const json = view.subarray(jsonAt);
    const ranges = splitByVmdesc(view, eofAt, json, footers, early);
    if (ranges !== undefined) return this.#end(ranges, end, json.slice(), true);
    this.#unproven = { eofAt, end };
    this.#awaited = 'more of the device state';
    return undefined;
  }

  /**
   * Decides whether the section that is open ends with the footer at `at`: gives 'resume' when a section
   * follows that is no FULL section, or the position of the next FULL section's data.
   */
  *#tryNext(
    at: number,
    open: SectionHeader & { headerAt: number; dataAt: number },
  ): Generator<undefined, 'resume' | number | undefined> {
    const queue = this.#queue;
    const next = at + FOOTER_BYTES;
    switch (queue.peekU8(next)) {
      case SectionType.part:
      case SectionType.end: {
        if (!(yield* this.#has(next + 13))) return undefined;
        const known = this.#options.open.has(queue.peekU32(next + 1));
        const plausible = isPlausibleRamWord(queue.peekU32(next + 5), queue.peekU32(next + 9));
        if (!known || !plausible) return undefined;
        break;
      }
      case SectionType.command: {
        if (!(yield* this.#has(next + 5))) return undefined;
        const word = queue.peekU32(next + 1);
        if (!isLegalCommand(word >>> 16, word & 0xffff)) return undefined;
        break;
      }
      case SectionType.start:
      case SectionType.full: {
        if (!(yield* this.#has(next + 6))) return undefined;
        const end = next + 14 + queue.peekU8(next + 5);
        if (!(yield* this.#has(end))) return undefined;
        const header = headerAt(queue.peek(end), next);
        if (header === undefined || !isPlausibleHeader(header, this.#taken)) return undefined;
        if (queue.peekU8(next) === SectionType.start) {
          if (header.idstr !== RAM_IDSTR && refusedIterable(header.idstr) === undefined) return undefined;
          break;
        }
        this.#held.push({ ...open, dataEnd: at });
        this.#taken.add(header.sectionId);
        this.#open = { ...header, headerAt: next };
        return header.dataAt;
      }
      default:
        return undefined;
    }
    this.#held.push({ ...open, dataEnd: at });
    return 'resume';
  }

  #resume(bytes: number): DeviceRunResult {
    this.#check(this.#held);
    const queue = this.#queue;
    const sections = copySections(queue.peek(bytes), this.#held);
    queue.skip(bytes);
    return { kind: 'resume', sections };
  }

  #closed(): DeviceRunResult {
    const queue = this.#queue;
    const bytes = queue.available;
    const view = queue.peek(bytes);
    const unproven = this.#unproven?.end === bytes ? this.#unproven : undefined;
    const eofAt = unproven?.eofAt ?? bytes - 1;
    const ranges = view[eofAt] === SectionType.eof ? this.#scan(view, eofAt) : undefined;
    if (ranges === undefined) throw queue.truncated(this.#awaited);
    return this.#end(ranges, bytes, unproven && view.slice(eofAt + VMDESC_AT), false);
  }

  #scan(view: Uint8Array, eofAt: number): SectionRange[] | undefined {
    if (!this.#options.footers) {
      throw this.#queue.error(
        'bad-device-state',
        'device sections without footers and without vmdescription cannot be told apart',
        { expected: 'a vmdescription (machine option suppress-vmdesc=off at the source)' },
      );
    }
    return splitByScanning(view, eofAt, this.#options.known);
  }

  #end(
    ranges: readonly SectionRange[],
    bytes: number,
    vmdesc: Uint8Array | undefined,
    proven: boolean,
  ): DeviceRunResult {
    const queue = this.#queue;
    const raw = queue.peek(bytes).slice();
    this.#check(ranges);
    queue.skip(bytes);
    return { kind: 'end', sections: copySections(raw, ranges), vmdesc, proven, raw };
  }

  #check(ranges: readonly SectionRange[]): void {
    const ids = new Set(this.#options.known);
    for (const { sectionId, idstr, headerAt } of ranges) {
      const at = this.#queue.offset + headerAt;
      const found = `${idstr} with id ${sectionId}`;
      if (ids.has(sectionId))
        throw this.#queue.error('bad-section', 'section id that is taken', { found }, at);
      if (idstr === RAM_IDSTR) throw this.#queue.error('unknown-section', 'SECTION_FULL of ram', {}, at);
      ids.add(sectionId);
    }
  }

  /** Waits for `bytes` bytes of the run; false when the peer closed before. */
  *#has(bytes: number): Generator<undefined, boolean> {
    while (!this.#queue.has(bytes)) {
      if (this.#queue.ended) {
        this.#cut = true;
        return false;
      }
      yield undefined;
    }
    return true;
  }

  #checkLimit(bytes: number): void {
    const { maxBytes } = this.#options;
    if (bytes <= maxBytes) return;
    const expected = `at most ${maxBytes} bytes`;
    const at = this.#queue.offset + maxBytes;
    throw this.#queue.error('limit-exceeded', 'size of the device state', { expected }, at);
  }
}
