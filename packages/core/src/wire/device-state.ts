import { MigrationError } from '../error.ts';
import { type DeviceSection, type SectionHeader, SectionType } from './messages.ts';
import { FOOTER_BYTES } from './section.ts';
import { decodeText } from './text.ts';
import { deviceSectionBytes, parseVmdesc } from './vmdesc.ts';

/*
 * Telling device sections apart. A FULL section has no length, and its footer (7e, section id) may also
 * occur within its data. Two ways:
 * - by the vmdescription, which gives the length of every section: a proof, when every section's footer is
 *   where it says and the last one is followed by the EOF;
 * - by scanning for footers behind which a plausible header or the EOF comes: no proof, since a guest may
 *   hold a copied migration stream in a device's buffers.
 *
 * "Bytes" here are those of the stream from the type byte of the first FULL section on.
 */

const MAX_PLAUSIBLE_NUMBER = 0x10000;

/** Where a section is in the bytes. */
export interface SectionRange extends SectionHeader {
  /** Of the type byte. */
  readonly headerAt: number;
  readonly dataAt: number;
  readonly dataEnd: number;
}

/** The header of a START or FULL section at `at`, or undefined when it is cut or has no proper name. */
export function headerAt(bytes: Uint8Array, at: number): (SectionHeader & { dataAt: number }) | undefined {
  if (at + 6 > bytes.length) return undefined;
  const nameBytes = bytes[at + 5]!;
  const dataAt = at + 6 + nameBytes + 8;
  if (nameBytes === 0 || dataAt > bytes.length) return undefined;
  const idstr = decodeText(bytes.subarray(at + 6, at + 6 + nameBytes));
  if (idstr === undefined) return undefined;
  return {
    sectionId: u32(bytes, at + 1),
    idstr,
    instanceId: u32(bytes, dataAt - 8),
    versionId: u32(bytes, dataAt - 4),
    dataAt,
  };
}

/** Whether a header found by scanning is likely to be one. `known`: section ids that are taken. */
export function isPlausibleHeader(header: SectionHeader, known: ReadonlySet<number>): boolean {
  return (
    !known.has(header.sectionId) &&
    /^[\x20-\x7e]+$/.test(header.idstr) &&
    header.instanceId < MAX_PLAUSIBLE_NUMBER &&
    header.versionId < MAX_PLAUSIBLE_NUMBER
  );
}

export function isFooterAt(bytes: Uint8Array, at: number, sectionId: number): boolean {
  return bytes[at] === SectionType.footer && u32(bytes, at + 1) === sectionId;
}

/**
 * Splits `bytes` at the lengths that the vmdescription gives; undefined when these do not lead from the
 * first byte over a footer each to exactly the EOF at `eofAt`, or when the JSON text is none. `early` are
 * the sections that were sent in the setup phase: QEMU 10 describes them too.
 */
export function splitByVmdesc(
  bytes: Uint8Array,
  eofAt: number,
  json: Uint8Array,
  footers: boolean,
  early: readonly SectionHeader[],
): SectionRange[] | undefined {
  let devices: ReturnType<typeof parseVmdesc>['devices'];
  try {
    devices = parseVmdesc(json).devices;
  } catch {
    return undefined;
  }
  const sent = new Set(early.map(({ idstr, instanceId }) => `${instanceId} ${idstr}`));
  const ranges: SectionRange[] = [];
  let at = 0;
  for (const device of devices) {
    const header = bytes[at] === SectionType.full && at < eofAt ? headerAt(bytes, at) : undefined;
    if (header?.idstr !== device.name || header.instanceId !== device.instanceId) {
      if (sent.delete(`${device.instanceId} ${device.name}`)) continue;
      return undefined;
    }
    const dataEnd = header.dataAt + deviceSectionBytes(device);
    if (dataEnd > eofAt || (footers && !isFooterAt(bytes, dataEnd, header.sectionId))) return undefined;
    ranges.push({ ...header, headerAt: at, dataEnd });
    at = footers ? dataEnd + FOOTER_BYTES : dataEnd;
  }
  return at === eofAt && bytes[at] === SectionType.eof ? ranges : undefined;
}

/**
 * Splits `bytes` by scanning for footers, up to the EOF at `eofAt`; undefined when that does not lead there.
 * `known`: section ids that are taken.
 */
export function splitByScanning(
  bytes: Uint8Array,
  eofAt: number,
  known: ReadonlySet<number>,
): SectionRange[] | undefined {
  const taken = new Set(known);
  const ranges: SectionRange[] = [];
  let at = 0;
  while (at !== eofAt) {
    const header = bytes[at] === SectionType.full ? headerAt(bytes, at) : undefined;
    if (header === undefined || !isPlausibleHeader(header, taken)) return undefined;
    taken.add(header.sectionId);
    const dataEnd = scanForFooter(bytes, header.dataAt, eofAt, header.sectionId, taken);
    if (dataEnd === undefined) return undefined;
    ranges.push({ ...header, headerAt: at, dataEnd });
    at = dataEnd + FOOTER_BYTES;
  }
  return ranges;
}

function scanForFooter(
  bytes: Uint8Array,
  from: number,
  eofAt: number,
  sectionId: number,
  known: ReadonlySet<number>,
): number | undefined {
  let at = bytes.indexOf(SectionType.footer, from);
  while (at >= 0 && at + FOOTER_BYTES <= eofAt) {
    const next = at + FOOTER_BYTES;
    if (isFooterAt(bytes, at, sectionId)) {
      if (next === eofAt) return at;
      const header = bytes[next] === SectionType.full ? headerAt(bytes, next) : undefined;
      if (header !== undefined && isPlausibleHeader(header, known)) return at;
    }
    at = bytes.indexOf(SectionType.footer, at + 1);
  }
  return undefined;
}

/** The sections of `ranges`, with their data copied. */
export function copySections(bytes: Uint8Array, ranges: readonly SectionRange[]): DeviceSection[] {
  return ranges.map(({ sectionId, idstr, instanceId, versionId, dataAt, dataEnd }) => ({
    sectionId,
    idstr,
    instanceId,
    versionId,
    data: bytes.slice(dataAt, dataEnd),
  }));
}

/**
 * Splits the whole device state of a stream, from the first FULL section to the stream's end (`raw` of the
 * device-state message).
 * @throws MigrationError `bad-device-state` when it cannot be split
 */
export function splitDeviceState(
  raw: Uint8Array,
  options: { footers?: boolean; early?: readonly SectionHeader[]; channel?: string; offset?: number } = {},
): { sections: DeviceSection[]; vmdesc?: Uint8Array; proven: boolean } {
  const { footers = true, early = [] } = options;
  const known = new Set(early.map(({ sectionId }) => sectionId));
  const eofAt = findVmdesc(raw);
  if (eofAt !== undefined) {
    const vmdesc = raw.slice(eofAt + 6);
    const proven = splitByVmdesc(raw, eofAt, vmdesc, footers, early);
    if (proven !== undefined) return { sections: copySections(raw, proven), vmdesc, proven: true };
    const scanned = footers ? splitByScanning(raw, eofAt, known) : undefined;
    if (scanned !== undefined) return { sections: copySections(raw, scanned), vmdesc, proven: false };
  }
  const scanned =
    footers && raw.at(-1) === SectionType.eof ? splitByScanning(raw, raw.length - 1, known) : undefined;
  if (scanned !== undefined) return { sections: copySections(raw, scanned), proven: false };
  const { channel, offset } = options;
  throw new MigrationError('bad-device-state', 'the device sections cannot be told apart', {
    channel,
    offset,
  });
}

/** The EOF before a vmdescription that reaches exactly to the end. JSON text has no NUL: it is behind the last. */
function findVmdesc(raw: Uint8Array): number | undefined {
  const lastNul = raw.lastIndexOf(0);
  // The NUL is the EOF itself or in the length, where a byte may be 7b as well.
  for (let start = lastNul + 1; start <= lastNul + 6; start++) {
    const eofAt = start - 6;
    if (raw[start] !== 0x7b || raw[eofAt] !== SectionType.eof) continue;
    if (raw[eofAt + 1] === SectionType.vmdescription && u32(raw, eofAt + 2) === raw.length - start) {
      return eofAt;
    }
  }
  return undefined;
}

function u32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
