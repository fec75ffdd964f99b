import { MigrationError } from '../error.ts';
import { concatBytes } from '../wire/byte-writer.ts';
import { encodeConfiguration, encodeStreamHeader } from '../wire/configuration.ts';
import { type DeviceSection, RamFlag, type StreamMessage } from '../wire/messages.ts';
import { encodeEos, encodePageHeader, encodeRamBlocks } from '../wire/ram-records.ts';
import {
  encodeDeviceSection,
  encodeEof,
  encodeFooter,
  encodeSectionEnd,
  encodeSectionPart,
  encodeSectionStart,
} from '../wire/section.ts';
import { StreamDecoder, type StreamDecoderOptions } from '../wire/stream-decoder.ts';
import { encodeCountedString, encodeText } from '../wire/text.ts';
import { encodeVmdesc } from '../wire/vmdesc.ts';

/** Small main streams for tests, whole and in pieces. */

/** Bytes of a hex text; spaces and line ends are skipped. */
export function hex(text: string): Uint8Array<ArrayBuffer> {
  const digits = text.replaceAll(/\s/g, '');
  return Uint8Array.from({ length: digits.length / 2 }, (_, i) =>
    Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16),
  );
}

const RAM_ID = 2;
export const BLOCKS = [
  { idstr: 'pc.ram', usedLengthBytes: 4 * 4096 },
  { idstr: 'pc.bios', usedLengthBytes: 4096 },
];
const TOTAL_BYTES = 5 * 4096;

/** A record of a page filled with `value`; without a name it has CONTINUE. */
export function pageRecord(pageIndex: number, value: number, block?: string): Uint8Array<ArrayBuffer> {
  const head = new Uint8Array(8 + 256);
  const name = block === undefined ? undefined : encodeCountedString(block);
  const end = encodePageHeader(head, 0, name, pageIndex, RamFlag.page);
  return concatBytes([head.subarray(0, end), new Uint8Array(4096).fill(value)]);
}

export function zeroRecord(pageIndex: number, block?: string, fill = 0): Uint8Array<ArrayBuffer> {
  const head = new Uint8Array(8 + 256);
  const name = block === undefined ? undefined : encodeCountedString(block);
  const end = encodePageHeader(head, 0, name, pageIndex, RamFlag.zero);
  return concatBytes([head.subarray(0, end), Uint8Array.of(fill)]);
}

/** Header and configuration. */
export const head = concatBytes([encodeStreamHeader(), encodeConfiguration({ machine: 'pc-i440fx-10.0' })]);
/** `head`, and the START section of ram up to its block list. */
export const start = concatBytes([
  head,
  encodeSectionStart({ sectionId: RAM_ID, idstr: 'ram', instanceId: 0, versionId: 4 }),
  encodeRamBlocks(TOTAL_BYTES, BLOCKS),
]);
/** EOS and footer of a section of ram. */
export const endOfRam = concatBytes([encodeEos(), encodeFooter(RAM_ID)]);
/** A PART of ram, up to its records. */
export const part = encodeSectionPart(RAM_ID);
/** An END of ram without a page. */
export const end = concatBytes([encodeSectionEnd(RAM_ID), endOfRam]);

export function device(sectionId: number, idstr: string, data: Uint8Array, instanceId = 0): DeviceSection {
  return { sectionId, idstr, instanceId, versionId: 1, data };
}

/** The vmdescription's JSON text for sections, in QEMU's form. */
export function describe(sections: readonly DeviceSection[]): Uint8Array<ArrayBuffer> {
  const devices = sections.map(({ idstr, instanceId, data }) => ({
    name: idstr,
    instance_id: instanceId,
    vmsd_name: idstr,
    version: 1,
    fields: [{ name: 'data', type: 'buffer', size: data.length }],
  }));
  return encodeText(JSON.stringify({ page_size: 4096, devices }));
}

/** FULL sections, EOF and vmdescription. */
export function tail(
  sections: readonly DeviceSection[],
  options: { described?: readonly DeviceSection[]; footers?: boolean } = {},
): Uint8Array<ArrayBuffer> {
  return concatBytes([
    ...sections.map((section) => encodeDeviceSection(section, options.footers)),
    encodeEof(),
    encodeVmdesc(describe(options.described ?? sections)),
  ]);
}

export const DEVICES = [
  device(0, 'timer', hex('0102030405060708')),
  device(7, '0000:00:02.0/net', hex('7e0000000704ff7e000000077e')),
  device(8, 'globalstate', new Uint8Array(104).fill(3)),
];

/** A whole stream with one page of each kind. */
export const smallStream = concatBytes([
  start,
  endOfRam,
  part,
  pageRecord(1, 0xa1, 'pc.ram'),
  zeroRecord(2),
  zeroRecord(0, 'pc.bios'),
  endOfRam,
  end,
  tail(DEVICES),
]);

export interface Decoded {
  /** Views are copied. */
  readonly messages: StreamMessage[];
  readonly error: MigrationError | undefined;
  readonly decoder: StreamDecoder;
}

/**
 * Everything that the decoder gives for these bytes and the close after them. `bytewise`: one byte at a time;
 * `closeFirst`: the close is known before anything is decoded.
 */
export function decode(
  bytes: Uint8Array | readonly Uint8Array[],
  options: StreamDecoderOptions & { bytewise?: boolean; closeFirst?: boolean } = {},
): Decoded {
  const whole = bytes instanceof Uint8Array ? bytes : concatBytes(bytes);
  const decoder = new StreamDecoder(options);
  const messages: StreamMessage[] = [];
  const drain = () => {
    for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
      messages.push(message.type === 'ram-page' ? { ...message, data: message.data.slice() } : message);
    }
  };
  try {
    const step = options.bytewise ? 1 : Math.max(1, whole.length);
    for (let at = 0; at < whole.length; at += step) {
      decoder.push(whole.slice(at, at + step));
      if (!options.closeFirst) drain();
    }
    decoder.end();
    drain();
    return { messages, error: undefined, decoder };
  } catch (error) {
    if (!(error instanceof MigrationError)) throw error;
    return { messages, error, decoder };
  }
}
