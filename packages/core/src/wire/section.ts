import { type ByteQueue, need } from './byte-queue.ts';
import { ByteWriter, concatBytes } from './byte-writer.ts';
import { type DeviceSection, type SectionHeader, SectionType } from './messages.ts';
import { decodeCountedString, encodeCountedString } from './text.ts';

/*
 * Sections:
 *   START, FULL   u8 type, be32 section id, cstr8 idstr, be32 instance id, be32 version, payload, footer
 *   PART, END     u8 type, be32 section id, payload, footer
 *   footer        u8 0x7e, be32 section id
 *   EOF           u8 0x00
 * There is no length: a payload delimits itself (ram) or is found by its footer (devices).
 */

export const FOOTER_BYTES = 5;

export function encodeSectionStart(
  header: SectionHeader,
  type: typeof SectionType.start | typeof SectionType.full = SectionType.start,
): Uint8Array<ArrayBuffer> {
  return new ByteWriter()
    .u8(type)
    .u32(header.sectionId)
    .bytes(encodeCountedString(header.idstr))
    .u32(header.instanceId)
    .u32(header.versionId)
    .finish();
}

export function encodeSectionPart(sectionId: number): Uint8Array<ArrayBuffer> {
  return new ByteWriter().u8(SectionType.part).u32(sectionId).finish();
}

export function encodeSectionEnd(sectionId: number): Uint8Array<ArrayBuffer> {
  return new ByteWriter().u8(SectionType.end).u32(sectionId).finish();
}

export function encodeFooter(sectionId: number): Uint8Array<ArrayBuffer> {
  return new ByteWriter().u8(SectionType.footer).u32(sectionId).finish();
}

/** A whole FULL section: header, data and footer. */
export function encodeDeviceSection(section: DeviceSection, footers = true): Uint8Array<ArrayBuffer> {
  const header = encodeSectionStart(section, SectionType.full);
  return concatBytes(
    footers ? [header, section.data, encodeFooter(section.sectionId)] : [header, section.data],
  );
}

export function encodeEof(): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(SectionType.eof);
}

/** Reads what follows the type byte of a START or FULL section. */
export function* decodeSectionHeader(queue: ByteQueue): Generator<undefined, SectionHeader> {
  const sectionId = yield* decodeSectionId(queue);
  const idstr = yield* decodeCountedString(queue, 'name of a section');
  yield* need(queue, 8, `instance id and version of section ${idstr}`);
  const instanceId = queue.u32();
  const versionId = queue.u32();
  return { sectionId, idstr, instanceId, versionId };
}

export function* decodeSectionId(queue: ByteQueue): Generator<undefined, number> {
  yield* need(queue, 4, 'a section id');
  return queue.u32();
}

/** Reads the footer of a section. @throws MigrationError `bad-section` when it is not that of `sectionId` */
export function* decodeFooter(queue: ByteQueue, sectionId: number): Generator<undefined, void> {
  yield* need(queue, 1, `the footer of section ${sectionId}`);
  const type = queue.peekU8();
  if (type !== SectionType.footer) {
    const expected = `0x7e, the footer of section ${sectionId}`;
    throw queue.error('bad-section', 'no footer', { found: `0x${type.toString(16)}`, expected });
  }
  yield* need(queue, FOOTER_BYTES, `the footer of section ${sectionId}`);
  const found = queue.peekU32(1);
  if (found !== sectionId) {
    throw queue.error('bad-section', 'section id in a footer', {
      found: `${found}`,
      expected: `${sectionId}`,
    });
  }
  queue.skip(FOOTER_BYTES);
}
