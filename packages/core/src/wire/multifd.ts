import { MigrationError, type MigrationErrorDetails } from '../error.ts';
import { decodeText, encodeText, hex, hexOf } from './text.ts';

/*
 * Multifd channels: a handshake of 64 bytes, then packets: a header of 1344 bytes and its payload.
 * These functions work on whole headers in memory that the caller owns and reuses; `MultifdDecoder` in
 * multifd-decoder.ts takes chunks of any size.
 */

export const MULTIFD_MAGIC = 0x11223344;
export const MULTIFD_VERSION = 1;
export const MULTIFD_HANDSHAKE_BYTES = 64;
/** 512 KiB of pages, fixed for 4 KiB target pages. */
export const MULTIFD_PAGES_PER_PACKET = 128;
export const MULTIFD_PACKET_BYTES = 320 + 8 * MULTIFD_PAGES_PER_PACKET;
/** A QEMU's receive buffer: a longer payload overflows it. */
export const MULTIFD_PAYLOAD_LIMIT_BYTES = 1024 * 1024;

/**
 * Flags of a packet; the compression method is a value in `MULTIFD_COMPRESSION_MASK`, not a set of bits.
 * No QEMU sends lz4 and adaptive: they are spoken between two pageferrys.
 */
export const MultifdFlag = {
  sync: 0x01,
  zlib: 0x02,
  zstd: 0x04,
  lz4: 0x06,
  qpl: 0x08,
  adaptive: 0x0a,
  uadk: 0x10,
  qatzip: 0x20,
  deviceState: 0x40,
} as const;
export const MULTIFD_COMPRESSION_MASK = 0x3e;
const KNOWN_FLAGS = MultifdFlag.sync | MULTIFD_COMPRESSION_MASK | MultifdFlag.deviceState;

const TARGET_PAGE_BYTES = 4096;
const UUID_BYTES = 16;
const NAME_AT = 64;
const NAME_BYTES = 256;
const OFFSETS_AT = NAME_AT + NAME_BYTES;
/** Page offsets are below 2^44: page numbers are 32-bit. */
const MAX_OFFSET_HIGH = 1 << 12;

/*
 * Handshake, sent once by the source on each channel:
 *    0  be32   magic 0x11223344
 *    4  be32   version 1
 *    8  16     UUID of the VM in RFC 4122 order; zeros when it has none
 *   24  u8     channel id, from 0
 *   25  39     zeros
 */

/** `uuid`: 16 bytes, zeros when left out. */
export function encodeMultifdHandshake(handshake: {
  channel: number;
  uuid?: Uint8Array;
}): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(MULTIFD_HANDSHAKE_BYTES);
  putU32(bytes, 0, MULTIFD_MAGIC);
  putU32(bytes, 4, MULTIFD_VERSION);
  if (handshake.uuid !== undefined) bytes.set(handshake.uuid.subarray(0, UUID_BYTES), 8);
  bytes[24] = handshake.channel;
  return bytes;
}

/**
 * Reads the first 64 bytes of a channel; `channelName` is for errors.
 * @throws MigrationError `bad-magic`, `bad-version`
 */
export function decodeMultifdHandshake(
  bytes: Uint8Array,
  channelName: string,
): { channel: number; uuid: Uint8Array<ArrayBuffer> } {
  checkMagic(bytes, { channel: channelName, offset: 0 }, 'multifd handshake');
  return { channel: bytes[24]!, uuid: Uint8Array.from(bytes.subarray(8, 8 + UUID_BYTES)) };
}

/*
 * Packet header; all numbers big-endian:
 *    0  be32   magic 0x11223344
 *    4  be32   version 1
 *    8  be32   flags
 *   12  be32   pages allocated: 128, or 0 in the SYNC packets of QEMU 9.0 and later
 *   16  be32   number of normal pages
 *   20  be32   payload length; stale in a packet without normal pages from QEMU up to 8.x
 *   24  be64   packet number, over all channels
 *   32  be32   number of zero pages (always 0 up to 8.x)
 *   36  28     zeros
 *   64  256    block name, NUL-terminated; stale in a packet without pages from QEMU up to 8.x
 *  320  be64[128]  byte offsets in the block: the normal pages, then the zero pages; the rest is stale
 *       from QEMU up to 8.x
 */

/** A packet's header. One object per channel is filled again for each packet. */
export interface MultifdPacket {
  /** `MultifdFlag` values. */
  flags: number;
  pagesAlloc: number;
  normalPages: number;
  zeroPages: number;
  /** Bytes that follow the header; 0 when there are no normal pages, whatever the wire says. */
  payloadBytes: number;
  /** Below 2^53. */
  packetNumber: number;
  /** Block of all pages; without meaning when the packet has none. */
  blockName: string;
  /** Room for 128 page numbers: the normal pages, then the zero pages. */
  pages: Uint32Array;
}

export function createMultifdPacket(): MultifdPacket {
  return {
    flags: 0,
    pagesAlloc: 0,
    normalPages: 0,
    zeroPages: 0,
    payloadBytes: 0,
    packetNumber: 0,
    blockName: '',
    pages: new Uint32Array(MULTIFD_PAGES_PER_PACKET),
  };
}

/** Writes all 1344 bytes of `target`, unused entries as zeros. Allocates nothing for ASCII block names. */
export function encodeMultifdPacket(packet: MultifdPacket, target: Uint8Array): void {
  const used = packet.normalPages + packet.zeroPages;
  target.fill(0, 0, OFFSETS_AT);
  target.fill(0, OFFSETS_AT + 8 * used, MULTIFD_PACKET_BYTES);
  putU32(target, 0, MULTIFD_MAGIC);
  putU32(target, 4, MULTIFD_VERSION);
  putU32(target, 8, packet.flags);
  putU32(target, 12, packet.pagesAlloc);
  putU32(target, 16, packet.normalPages);
  putU32(target, 20, packet.payloadBytes);
  putU32(target, 24, Math.floor(packet.packetNumber / 0x1_0000_0000));
  putU32(target, 28, packet.packetNumber);
  putU32(target, 32, packet.zeroPages);
  if (used > 0) putBlockName(target, packet.blockName);
  for (let i = 0; i < used; i++) {
    const page = packet.pages[i]!;
    putU32(target, OFFSETS_AT + 8 * i, page >>> 20);
    putU32(target, OFFSETS_AT + 8 * i + 4, page << 12);
  }
}

/**
 * Reads a header of 1344 bytes and checks all that needs no block list: `blockName` and `pages` against
 * their block and the compression method against the configured one are the caller's to check. `at` says
 * where the header is, for errors. Allocates nothing when the block is that of the packet before in `into`.
 *
 * A packet with device state (flag 0x40, QEMU 10.0 with VFIO devices) has a shorter header: who reads 1344
 * bytes blindly sees it here only after more bytes came.
 * @throws MigrationError `bad-magic`, `bad-version`, `bad-packet`, `bad-page`, `limit-exceeded`, `unsupported`
 */
export function decodeMultifdPacket(
  bytes: Uint8Array,
  into: MultifdPacket,
  at: { channel: string; offset: number },
): void {
  checkMultifdPacketHead(bytes, at);
  const pagesAlloc = getU32(bytes, 12);
  const normalPages = getU32(bytes, 16);
  const payloadBytes = normalPages === 0 ? 0 : getU32(bytes, 20);
  const zeroPages = getU32(bytes, 32);
  if (pagesAlloc > MULTIFD_PAGES_PER_PACKET) {
    throw wrong('bad-packet', 'pages allocated', pagesAlloc, `at most ${MULTIFD_PAGES_PER_PACKET}`, at, 12);
  }
  if (normalPages > pagesAlloc) {
    throw wrong('bad-packet', 'normal pages', normalPages, `at most ${pagesAlloc}`, at, 16);
  }
  if (zeroPages > pagesAlloc - normalPages) {
    throw wrong('bad-packet', 'zero pages', zeroPages, `at most ${pagesAlloc - normalPages}`, at, 32);
  }
  const flags = getU32(bytes, 8);
  checkPayloadLength(flags, normalPages, payloadBytes, at);
  const numberHigh = getU32(bytes, 24);
  if (numberHigh >= 0x200000) {
    throw wrong('bad-packet', 'packet number', hexOf(bytes.subarray(24, 32)), 'less than 2^53', at, 24);
  }
  into.flags = flags;
  into.pagesAlloc = pagesAlloc;
  into.normalPages = normalPages;
  into.zeroPages = zeroPages;
  into.payloadBytes = payloadBytes;
  const numberLow = getU32(bytes, 28);
  // A product would be a floating-point number to V8, and this object of another shape from then on.
  into.packetNumber = numberHigh === 0 ? numberLow : numberHigh * 0x1_0000_0000 + numberLow;
  const used = normalPages + zeroPages;
  if (used > 0 && !isBlockName(bytes, into.blockName)) into.blockName = getBlockName(bytes, at);
  for (let i = 0; i < used; i++) {
    const entry = OFFSETS_AT + 8 * i;
    const high = getU32(bytes, entry);
    // Signed, so that it is an integer to V8 also from 2 GiB on.
    const low = getI32(bytes, entry + 4);
    if (high >= MAX_OFFSET_HIGH || (low & (TARGET_PAGE_BYTES - 1)) !== 0) {
      const found = hexOf(bytes.subarray(entry, entry + 8));
      throw wrong('bad-page', `offset of page ${i}`, found, 'a multiple of 4096 below 2^44', at, entry);
    }
    into.pages[i] = (high << 20) | (low >>> 12);
  }
}

/** Checks the first 12 bytes of a packet, which decide which header it has. */
export function checkMultifdPacketHead(bytes: Uint8Array, at: { channel: string; offset: number }): void {
  checkMagic(bytes, at, 'multifd packet');
  const flags = getU32(bytes, 8);
  if ((flags & ~KNOWN_FLAGS) !== 0)
    throw wrong('bad-packet', 'packet flags', hex(flags), 'known bits', at, 8);
  if ((flags & MultifdFlag.deviceState) !== 0) {
    throw wrong('unsupported', 'device state on multifd channels (VFIO)', hex(flags), 'RAM packets', at, 8);
  }
}

function checkMagic(bytes: Uint8Array, at: { channel: string; offset: number }, what: string): void {
  const magic = getU32(bytes, 0);
  if (magic !== MULTIFD_MAGIC) {
    throw wrong('bad-magic', `magic of a ${what}`, hexOf(bytes.subarray(0, 4)), hex(MULTIFD_MAGIC), at, 0);
  }
  const version = getU32(bytes, 4);
  if (version !== MULTIFD_VERSION) {
    throw wrong('bad-version', `version of a ${what}`, version, `${MULTIFD_VERSION}`, at, 4);
  }
}

function checkPayloadLength(
  flags: number,
  normalPages: number,
  payloadBytes: number,
  at: { channel: string; offset: number },
): void {
  if (normalPages === 0) return;
  if (payloadBytes > MULTIFD_PAYLOAD_LIMIT_BYTES) {
    const expected = `at most ${MULTIFD_PAYLOAD_LIMIT_BYTES}`;
    throw wrong('limit-exceeded', 'payload length', payloadBytes, expected, at, 20);
  }
  const rawBytes = normalPages * TARGET_PAGE_BYTES;
  const raw = (flags & MULTIFD_COMPRESSION_MASK) === 0;
  if (raw ? payloadBytes !== rawBytes : payloadBytes === 0) {
    const expected = raw ? `${rawBytes} for ${normalPages} pages` : 'at least 1 byte';
    throw wrong('bad-packet', 'payload length', payloadBytes, expected, at, 20);
  }
}

function putBlockName(target: Uint8Array, name: string): void {
  if (name.length === 0 || name.length >= NAME_BYTES) throw badName(name);
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    if (code >= 0x80) {
      const text = encodeText(name);
      if (text.length >= NAME_BYTES) throw badName(name);
      target.set(text, NAME_AT);
      return;
    }
    target[NAME_AT + i] = code;
  }
}

function badName(name: string): MigrationError {
  return new MigrationError('bad-option', `a block name has 1 to 255 bytes: ${JSON.stringify(name)}`);
}

/** Whether the name on the wire is `name`; false for a name that is not ASCII. */
function isBlockName(bytes: Uint8Array, name: string): boolean {
  if (name.length === 0 || name.length >= NAME_BYTES) return false;
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    if (code >= 0x80 || bytes[NAME_AT + i] !== code) return false;
  }
  return bytes[NAME_AT + name.length] === 0;
}

function getBlockName(bytes: Uint8Array, at: { channel: string; offset: number }): string {
  const field = bytes.subarray(NAME_AT, OFFSETS_AT);
  const length = field.indexOf(0);
  const name = length <= 0 ? undefined : decodeText(field.subarray(0, length));
  if (name === undefined) {
    throw wrong('bad-packet', 'block name', hexOf(field), 'a name of 1 to 255 bytes and NUL', at, NAME_AT);
  }
  return name;
}

function wrong(
  code: 'bad-magic' | 'bad-version' | 'bad-packet' | 'bad-page' | 'limit-exceeded' | 'unsupported',
  message: string,
  found: number | string,
  expected: string,
  at: { channel: string; offset: number },
  field: number,
): MigrationError {
  const details: MigrationErrorDetails = {
    channel: at.channel,
    offset: at.offset + field,
    found: `${found}`,
    expected,
  };
  return new MigrationError(code, message, details);
}

function putU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

function getU32(bytes: Uint8Array, at: number): number {
  return getI32(bytes, at) >>> 0;
}

function getI32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}
