import { MigrationError } from '../error.ts';
import { ByteWriter, concatBytes } from './byte-writer.ts';
import { type DeviceSection, SectionType } from './messages.ts';
import { encodeText } from './text.ts';

/*
 * VMDESCRIPTION, directly after the EOF byte, and the last thing in the stream:
 *   u8 0x06, be32 length, JSON text (UTF-8, no NUL)
 *
 *   { "configuration": {body},              QEMU 10.0; absent in 7.2
 *     "page_size": 4096, "devices": [device, ...] }     one device per FULL section, in stream order
 *   device: { "name", "instance_id", body }
 *         | { "name", "instance_id", "size", "fields": [{ "name": "data", "size", "type": "buffer" }] }
 *   body:   "vmsd_name", "version", "fields": [field, ...], "subsections": [body, ...]
 *   field:  { "name", "array_len" | "index", "type", "struct": {body}, "size" }
 *
 * `size` is that of one element, all its nested fields and subsections included; with `array_len` k there
 * are k elements of it.
 */

export interface VmField {
  readonly name: string;
  readonly type: string;
  readonly sizeBytes: number;
  readonly arrayLength?: number;
  readonly index?: number;
  readonly struct?: VmBody;
}

export interface VmBody {
  readonly vmsdName: string;
  readonly version: number;
  readonly fields: readonly VmField[];
  readonly subsections: readonly VmBody[];
}

/** One FULL section. The old kind of device has no vmsd name, and one field `data`. */
export interface VmDevice extends VmBody {
  readonly name: string;
  readonly instanceId: number;
}

export interface VmDescription {
  readonly pageSizeBytes: number;
  readonly devices: readonly VmDevice[];
  readonly configuration?: VmBody;
}

const SUBSECTION_OVERHEAD_BYTES = 1 + 1 + 4;
/** Deeper nesting than any device has; it keeps a hostile description from exhausting the stack. */
const MAX_DEPTH = 64;

/** The VMDESCRIPTION block around the JSON text `json`. */
export function encodeVmdesc(json: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = new ByteWriter().u8(SectionType.vmdescription).u32(json.length).finish();
  return concatBytes([head, json]);
}

/**
 * A description of opaque sections, each as one buffer: what lets a receiver find the end of every section
 * of a guest that brings no description of its own.
 */
export function describeSections(sections: readonly DeviceSection[]): Uint8Array<ArrayBuffer> {
  const devices = sections.map(({ idstr, instanceId, data }) => {
    const field = { name: 'data', size: data.length, type: 'buffer' };
    return { name: idstr, instance_id: instanceId, size: data.length, fields: [field] };
  });
  return encodeText(JSON.stringify({ page_size: 4096, devices }));
}

/**
 * Reads the JSON text of a vmdescription.
 * @throws MigrationError `bad-device-state` when it is no JSON, or not of the form above
 */
export function parseVmdesc(json: Uint8Array): VmDescription {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json.slice()));
  } catch (error) {
    throw bad('the vmdescription is no JSON', error);
  }
  const top = asObject(value, 'vmdescription');
  const configuration = top.configuration;
  return {
    pageSizeBytes: asNumber(top.page_size, 'page_size'),
    devices: asArray(top.devices, 'devices').map((entry) => {
      const device = asObject(entry, 'device');
      const name = asString(device.name, 'name of a device');
      return { name, instanceId: asNumber(device.instance_id, 'instance_id'), ...parseBody(device, name, 0) };
    }),
    ...(configuration !== undefined && {
      configuration: parseBody(asObject(configuration, 'configuration'), 'configuration', 0),
    }),
  };
}

/** Bytes of a device section's payload, without header and footer. */
export function deviceSectionBytes(device: VmBody): number {
  let bytes = 0;
  for (const field of device.fields) bytes += (field.arrayLength ?? 1) * field.sizeBytes;
  for (const subsection of device.subsections) {
    const name = encodeText(subsection.vmsdName).length;
    bytes += SUBSECTION_OVERHEAD_BYTES + name + deviceSectionBytes(subsection);
  }
  return bytes;
}

function parseBody(body: Record<string, unknown>, where: string, depth: number): VmBody {
  if (depth > MAX_DEPTH) throw bad(`the vmdescription of ${where} is nested too deep`);
  return {
    vmsdName: body.vmsd_name === undefined ? '' : asString(body.vmsd_name, 'vmsd_name'),
    version: body.version === undefined ? 0 : asNumber(body.version, 'version'),
    fields: asArray(body.fields ?? [], `fields of ${where}`).map((entry) => parseField(entry, where, depth)),
    subsections: asArray(body.subsections ?? [], `subsections of ${where}`).map((entry) =>
      parseBody(asObject(entry, `subsection of ${where}`), where, depth + 1),
    ),
  };
}

function parseField(entry: unknown, where: string, depth: number): VmField {
  const field = asObject(entry, `field of ${where}`);
  const what = `a field of ${where}`;
  return {
    name: asString(field.name, `name of ${what}`),
    type: asString(field.type, `type of ${what}`),
    sizeBytes: asNumber(field.size, `size of ${what}`),
    ...(field.array_len !== undefined && { arrayLength: asNumber(field.array_len, `array_len of ${what}`) }),
    ...(field.index !== undefined && { index: asNumber(field.index, `index of ${what}`) }),
    ...(field.struct !== undefined && {
      struct: parseBody(asObject(field.struct, `struct of ${what}`), where, depth + 1),
    }),
  };
}

function asObject(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw expected(what, 'an object');
  return value as Record<string, unknown>;
}

function asArray(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value)) throw expected(what, 'an array');
  return value;
}

function asString(value: unknown, what: string): string {
  if (typeof value !== 'string') throw expected(what, 'a string');
  return value;
}

function asNumber(value: unknown, what: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw expected(what, 'a whole number');
  }
  return value;
}

function expected(what: string, kind: string): MigrationError {
  return bad(`in the vmdescription, ${what} is not ${kind}`);
}

function bad(message: string, cause?: unknown): MigrationError {
  return new MigrationError('bad-device-state', message, { cause });
}
