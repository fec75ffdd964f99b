import { type ByteQueue, need } from './byte-queue.ts';
import { ByteWriter } from './byte-writer.ts';
import { type ConfigurationSection, SectionType } from './messages.ts';
import { decodeCountedString, decodeText, encodeCountedString, encodeText, hexOf } from './text.ts';

/*
 * Stream header:
 *   be32  magic 0x5145564d ("QEVM")
 *   be32  version 3
 */

export const STREAM_MAGIC = 0x5145564d;
const STREAM_VERSION = 3;

export function encodeStreamHeader(): Uint8Array<ArrayBuffer> {
  return new ByteWriter().u32(STREAM_MAGIC).u32(STREAM_VERSION).finish();
}

/** @throws MigrationError `bad-magic`, `bad-version` */
export function* decodeStreamHeader(queue: ByteQueue): Generator<undefined, number> {
  yield* need(queue, 4, 'the magic number of a migration stream');
  if (queue.peekU32() !== STREAM_MAGIC) {
    const found = hexOf(queue.peek(4));
    throw queue.error('bad-magic', 'this is no migration stream', { found, expected: '0x5145564d ("QEVM")' });
  }
  queue.skip(4);
  yield* need(queue, 4, 'the version of the migration stream');
  const version = queue.peekU32();
  if (version !== STREAM_VERSION) {
    const found = version === 2 ? '2 (obsolete)' : `${version}`;
    throw queue.error('bad-version', 'version of the migration stream', { found, expected: '3' });
  }
  queue.skip(4);
  return version;
}

/*
 * Configuration section, directly after the header; no id, no footer:
 *   u8    0x07
 *   be32  length of the machine type's name, then the name
 *   subsections, in this order, each only when it is needed:
 *     u8 0x05, cstr8 name, be32 version 1, then the body:
 *       configuration/target-page-bits   be32 bits
 *       configuration/capabilities       be32 count, count * cstr8
 *       configuration/uuid               16 bytes
 * Nothing marks the end: whether another subsection comes shows in the byte after.
 */

const TARGET_PAGE_BITS = 'configuration/target-page-bits';
const CAPABILITIES = 'configuration/capabilities';
const UUID = 'configuration/uuid';
const SUBSECTIONS: readonly string[] = [TARGET_PAGE_BITS, CAPABILITIES, UUID];
const SUBSECTION_VERSION = 1;
const MAX_MACHINE_NAME_BYTES = 255;
/** The capability that makes a stream's pages lie at fixed places of the file. */
export const MAPPED_RAM_CAPABILITY = 'mapped-ram';
/** The capability that leaves shared memory out of the stream. */
export const IGNORE_SHARED_CAPABILITY = 'x-ignore-shared';
/** The capabilities that change the stream and are therefore listed. */
const VALIDATED_CAPABILITIES: ReadonlySet<string> = new Set([
  IGNORE_SHARED_CAPABILITY,
  MAPPED_RAM_CAPABILITY,
]);

export function encodeConfiguration(configuration: ConfigurationSection): Uint8Array<ArrayBuffer> {
  const { machine, targetPageBits, capabilities, uuid } = configuration;
  const name = encodeText(machine);
  const writer = new ByteWriter().u8(SectionType.configuration).u32(name.length).bytes(name);
  if (targetPageBits !== undefined) subsection(writer, TARGET_PAGE_BITS).u32(targetPageBits);
  if (capabilities !== undefined && capabilities.length > 0) {
    subsection(writer, CAPABILITIES).u32(capabilities.length);
    for (const capability of capabilities) writer.bytes(encodeCountedString(capability));
  }
  if (uuid !== undefined) subsection(writer, UUID).bytes(uuid.subarray(0, 16));
  return writer.finish();
}

function subsection(writer: ByteWriter, name: string): ByteWriter {
  return writer.u8(SectionType.subsection).bytes(encodeCountedString(name)).u32(SUBSECTION_VERSION);
}

/** @throws MigrationError `bad-configuration`, `bad-version`, `limit-exceeded` */
export function* decodeConfiguration(queue: ByteQueue): Generator<undefined, ConfigurationSection> {
  yield* need(queue, 1, 'the configuration section');
  if (queue.peekU8() !== SectionType.configuration) {
    const found = `section type ${queue.peekU8()}`;
    throw queue.error('bad-configuration', 'no configuration section', { found, expected: '7' });
  }
  queue.skip(1);
  const configuration: {
    -readonly [Key in keyof ConfigurationSection]: ConfigurationSection[Key];
  } = { machine: yield* decodeMachineName(queue) };
  let next = 0;
  for (;;) {
    yield* need(queue, 1, 'a subsection of the configuration or a section');
    if (queue.peekU8() !== SectionType.subsection) return configuration;
    const at = queue.offset;
    queue.skip(1);
    const name = yield* decodeCountedString(queue, 'name of a subsection', 'bad-configuration');
    const index = SUBSECTIONS.indexOf(name);
    if (index < next) {
      const message = index < 0 ? 'unknown subsection' : 'subsection out of order';
      throw queue.error('bad-configuration', message, { found: name }, at);
    }
    next = index + 1;
    yield* need(queue, 4, `the version of ${name}`);
    if (queue.peekU32() !== SUBSECTION_VERSION) {
      throw queue.error('bad-version', `version of ${name}`, { found: `${queue.peekU32()}`, expected: '1' });
    }
    queue.skip(4);
    if (name === TARGET_PAGE_BITS) configuration.targetPageBits = yield* decodeTargetPageBits(queue);
    else if (name === CAPABILITIES) configuration.capabilities = yield* decodeCapabilities(queue);
    else {
      yield* need(queue, 16, 'the UUID');
      configuration.uuid = queue.take(16).slice();
    }
  }
}

function* decodeMachineName(queue: ByteQueue): Generator<undefined, string> {
  yield* need(queue, 4, 'the length of the machine name');
  const length = queue.peekU32();
  if (length > MAX_MACHINE_NAME_BYTES) {
    const expected = `at most ${MAX_MACHINE_NAME_BYTES}`;
    throw queue.error('limit-exceeded', 'length of the machine name', { found: `${length}`, expected });
  }
  if (length === 0) throw queue.error('bad-configuration', 'the machine name is empty');
  queue.skip(4);
  yield* need(queue, length, 'the machine name');
  const name = decodeText(queue.peek(length));
  if (name === undefined) {
    const found = hexOf(queue.peek(length));
    throw queue.error('bad-configuration', 'the machine name is not plain text', { found });
  }
  queue.skip(length);
  return name;
}

function* decodeTargetPageBits(queue: ByteQueue): Generator<undefined, number> {
  yield* need(queue, 4, 'the target page bits');
  const bits = queue.peekU32();
  if (bits < 10 || bits > 30) {
    throw queue.error('bad-configuration', 'target page bits', { found: `${bits}`, expected: '10 to 30' });
  }
  queue.skip(4);
  return bits;
}

function* decodeCapabilities(queue: ByteQueue): Generator<undefined, string[]> {
  yield* need(queue, 4, 'the number of capabilities');
  const count = queue.peekU32();
  if (count === 0 || count > VALIDATED_CAPABILITIES.size) {
    const expected = `1 to ${VALIDATED_CAPABILITIES.size}`;
    throw queue.error('bad-configuration', 'number of capabilities', { found: `${count}`, expected });
  }
  queue.skip(4);
  const names: string[] = [];
  for (let i = 0; i < count; i++) {
    const at = queue.offset;
    const name = yield* decodeCountedString(queue, 'name of a capability', 'bad-configuration');
    if (!VALIDATED_CAPABILITIES.has(name) || names.includes(name)) {
      throw queue.error('bad-configuration', 'capability that is unknown or twice', { found: name }, at);
    }
    names.push(name);
  }
  return names;
}
