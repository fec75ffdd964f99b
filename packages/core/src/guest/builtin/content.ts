import { mix, Random } from './random.ts';

/**
 * What the built-in machine's pages hold. A page is composed from small tables, at about 2 GB/s, so that its
 * bytes compress like the real thing and no two pages are the same: phrases of text with numbers between
 * them, machine-code-like patterns with operands, or noise.
 */

/** `mixed` is a plausible guest: a quarter of its pages zero, the rest text, library and some noise. */
export const CONTENT_MIXES = ['zero', 'text', 'library', 'random', 'mixed'] as const;
export type ContentMix = (typeof CONTENT_MIXES)[number];

export const ContentKind = { zero: 0, sparse: 1, text: 2, library: 3, random: 4 } as const;
export type Kind = (typeof ContentKind)[keyof typeof ContentKind];

/** Neighbouring pages are alike in real memory: a run of this many pages has one kind (2^4 = 64 KiB). */
const RUN_SHIFT = 4;

/** What a page holds before the guest first writes it. */
export function initialKind(mixIndex: number, page: number, seed: number): Kind {
  switch (CONTENT_MIXES[mixIndex]) {
    case 'zero':
      return ContentKind.zero;
    case 'text':
      return ContentKind.text;
    case 'library':
      return ContentKind.library;
    case 'random':
      return ContentKind.random;
    default:
      return mixedKind((mix((page >>> RUN_SHIFT) ^ seed) >>> 0) % 100);
  }
}

function mixedKind(percent: number): Kind {
  if (percent < 25) return ContentKind.zero;
  if (percent < 57) return ContentKind.text;
  if (percent < 87) return ContentKind.library;
  return ContentKind.random;
}

/** What a page holds once the guest writes it: never all zeros, since a written page has a header. */
export function writtenKind(mixIndex: number, page: number, seed: number): Kind {
  const kind = initialKind(mixIndex, page, seed);
  if (kind !== ContentKind.zero) return kind;
  return CONTENT_MIXES[mixIndex] === 'zero' ? ContentKind.sparse : ContentKind.text;
}

const PHRASES = 512;
const PHRASE_WORDS = 4;
const PATTERNS = 256;
const PATTERN_WORDS = 2;

/** Fills ranges of pages; keeps the tables. */
export class ContentWriter {
  readonly #phrases = phraseTable();
  readonly #patterns = patternTable();

  /** Fills `words[start..end)`, for a start and end within one page. */
  fill(kind: Kind, words: Int32Array, start: number, end: number, random: Random): void {
    switch (kind) {
      case ContentKind.text:
        this.#text(words, start, end, random);
        return;
      case ContentKind.library:
        this.#library(words, start, end, random);
        return;
      case ContentKind.random:
        for (let at = start; at < end; at++) words[at] = random.next();
        return;
      case ContentKind.sparse:
        words.fill(0, start, end);
        words[start] = random.next() & 0xffff;
        return;
      case ContentKind.zero:
        words.fill(0, start, end);
    }
  }

  /** 16 bytes of a phrase, the early ones more often, then 4 digits. */
  #text(words: Int32Array, start: number, end: number, random: Random): void {
    const phrases = this.#phrases;
    let at = start;
    while (at < end) {
      const bits = random.next();
      const phrase = (((bits & 0x1ff) * ((bits >>> 9) & 0x1ff)) >>> 9) * PHRASE_WORDS;
      words[at++] = phrases[phrase]!;
      for (let word = 1; word < PHRASE_WORDS && at < end; word++) words[at++] = phrases[phrase + word]!;
      // Four octal digits: what tells one line of a log from the next.
      if (at < end) words[at++] = octalDigits(bits >>> 20);
    }
  }

  /** An 8-byte pattern, a random operand and a small one. */
  #library(words: Int32Array, start: number, end: number, random: Random): void {
    const patterns = this.#patterns;
    let at = start;
    while (at < end) {
      const bits = random.next();
      const pattern = (bits & (PATTERNS - 1)) * PATTERN_WORDS;
      words[at++] = patterns[pattern]!;
      if (at < end) words[at++] = patterns[pattern + 1]!;
      if (at < end) words[at++] = random.next();
      if (at < end) words[at++] = (bits >>> 8) & 0xff;
    }
  }
}

/** The 12 low bits as four ASCII digits. */
function octalDigits(bits: number): number {
  const digits = (bits & 0o7) | ((bits & 0o70) << 5) | ((bits & 0o700) << 10) | ((bits & 0o7000) << 15);
  return 0x30303030 | digits;
}

const VOCABULARY =
  'the of and to in is for on with as by at from that page block memory guest host state value error ' +
  'device driver kernel process thread buffer request response server client version default option ' +
  'configuration directory message connection started stopped failed loaded service system user time';

function phraseTable(): Int32Array {
  const random = new Random(0x70616765);
  const vocabulary = VOCABULARY.split(' ');
  let text = '';
  while (text.length < PHRASES * PHRASE_WORDS * 4) text += `${vocabulary[random.below(vocabulary.length)]} `;
  const bytes = new TextEncoder().encode(text.slice(0, PHRASES * PHRASE_WORDS * 4));
  return new Int32Array(bytes.buffer, 0, PHRASES * PHRASE_WORDS);
}

function patternTable(): Int32Array {
  const random = new Random(0x66657272);
  return Int32Array.from({ length: PATTERNS * PATTERN_WORDS }, () => random.next());
}
