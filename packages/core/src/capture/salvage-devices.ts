import { headerAt, isFooterAt, isPlausibleHeader, type SectionRange } from '../wire/device-state.ts';
import { type SectionHeader, SectionType } from '../wire/messages.ts';
import { FOOTER_BYTES } from '../wire/section.ts';
import { deviceSectionBytes, parseVmdesc, type VmDescription } from '../wire/vmdesc.ts';

/** The longest header of a section. */
const HEADER_BYTES_MAX = 1 + 4 + 1 + 255 + 4 + 4;

export interface SalvagedDevices {
  readonly sections: readonly SectionRange[];
  /** Where the vmdescription's type byte is, when it is whole. */
  readonly vmdescAt?: number;
  /** The first thing that is not as it must be, when the vmdescription tells. */
  readonly damage?: { readonly message: string; readonly at: number };
}

/**
 * The device sections of a damaged file, as far as they can be told: by the vmdescription if that is whole, else
 * by their footers. `bytes` begin where a FULL section should; `early` were sent before.
 */
export function salvageDevices(bytes: Uint8Array, early: readonly SectionHeader[]): SalvagedDevices {
  const eofAt = findWholeVmdesc(bytes);
  if (eofAt !== undefined) {
    let description: VmDescription | undefined;
    try {
      description = parseVmdesc(bytes.subarray(eofAt + 6));
    } catch {
      // It is where it should be, but damaged itself.
    }
    if (description !== undefined)
      return { ...followVmdesc(bytes, eofAt, description, early), vmdescAt: eofAt + 1 };
  }
  return { sections: scan(bytes, new Set(early.map(({ sectionId }) => sectionId))) };
}

/** The EOF before a vmdescription that reaches to the end of the file. */
function findWholeVmdesc(bytes: Uint8Array): number | undefined {
  // JSON text has no NUL, and the last one before it is in the length.
  const jsonAt = bytes.indexOf(0x7b, bytes.lastIndexOf(0) + 1);
  const eofAt = jsonAt - 6;
  if (jsonAt < 6 || bytes[eofAt] !== SectionType.eof) return undefined;
  const length = new DataView(bytes.buffer, bytes.byteOffset + eofAt + 2).getUint32(0);
  return bytes[eofAt + 1] === SectionType.vmdescription && length === bytes.length - jsonAt
    ? eofAt
    : undefined;
}

/** Walks along the lengths that the vmdescription gives, up to the first section that is not there. */
function followVmdesc(
  bytes: Uint8Array,
  eofAt: number,
  description: VmDescription,
  early: readonly SectionHeader[],
): Pick<SalvagedDevices, 'sections' | 'damage'> {
  const sections: SectionRange[] = [];
  let at = 0;
  for (const device of description.devices) {
    const header = bytes[at] === SectionType.full && at < eofAt ? headerAt(bytes, at) : undefined;
    const name = `${device.name} instance ${device.instanceId}`;
    const isIt = ({ idstr, instanceId }: SectionHeader) =>
      idstr === device.name && instanceId === device.instanceId;
    if (header === undefined || !isIt(header)) {
      if (early.some(isIt)) continue;
      return { sections, damage: { message: `the section of ${name} does not begin here`, at } };
    }
    const dataEnd = header.dataAt + deviceSectionBytes(device);
    if (dataEnd + FOOTER_BYTES > eofAt || !isFooterAt(bytes, dataEnd, header.sectionId)) {
      const message = `the section of ${name} has no footer here`;
      return { sections, damage: { message, at: Math.min(dataEnd, eofAt) } };
    }
    sections.push({ ...header, headerAt: at, dataEnd });
    at = dataEnd + FOOTER_BYTES;
  }
  if (at === eofAt) return { sections };
  return { sections, damage: { message: 'bytes between the last section and the EOF', at } };
}

/** Walks from footer to footer, up to the first section that has none. */
function scan(bytes: Uint8Array, known: Set<number>): SectionRange[] {
  const sections: SectionRange[] = [];
  let at = 0;
  for (;;) {
    const header = bytes[at] === SectionType.full ? headerAt(bytes, at) : undefined;
    if (header === undefined || !isPlausibleHeader(header, known)) return sections;
    known.add(header.sectionId);
    const dataEnd = findFooter(bytes, header.dataAt, header, known);
    if (dataEnd === undefined) return sections;
    sections.push({ ...header, headerAt: at, dataEnd });
    at = dataEnd + FOOTER_BYTES;
  }
}

/** The first footer of the section behind which another section, the EOF or the end of the file comes. */
function findFooter(
  bytes: Uint8Array,
  from: number,
  section: SectionHeader,
  known: ReadonlySet<number>,
): number | undefined {
  let at = bytes.indexOf(SectionType.footer, from);
  while (at >= 0 && at + FOOTER_BYTES <= bytes.length) {
    if (isFooterAt(bytes, at, section.sectionId)) {
      const next = at + FOOTER_BYTES;
      const header = bytes[next] === SectionType.full ? headerAt(bytes, next) : undefined;
      const plausible = header !== undefined && isPlausibleHeader(header, known);
      // A header that the cut went through cannot be told from data, but what else would be here?
      if (plausible || next >= bytes.length - HEADER_BYTES_MAX) return at;
      if (bytes[next] === SectionType.eof && bytes[next + 1] === SectionType.vmdescription) return at;
    }
    at = bytes.indexOf(SectionType.footer, at + 1);
  }
  return undefined;
}
