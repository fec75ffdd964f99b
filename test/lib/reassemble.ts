import assert from 'node:assert/strict';
import {
  createMultifdPacket,
  decodeMultifdPacket,
  encodeCommand,
  encodeConfiguration,
  encodeCountedString,
  encodeDeviceSection,
  encodeEof,
  encodeEos,
  encodeFooter,
  encodeMultifdFlush,
  encodeMultifdHandshake,
  encodeMultifdPacket,
  encodePageHeader,
  encodeRamBlocks,
  encodeReturnPath,
  encodeSectionEnd,
  encodeSectionPart,
  encodeSectionStart,
  encodeStreamHeader,
  encodeVmdesc,
  MULTIFD_PACKET_BYTES,
  MultifdDecoder,
  RamFlag,
  ReturnPathDecoder,
  StreamDecoder,
  type StreamMessage,
} from '@pageferry/core/wire';

/** Decodes a recorded stream and encodes its messages again. */
export const encodeAgain = { mainStream, returnPath, checkMultifd };

function mainStream(bytes: Uint8Array): Buffer {
  const decoder = new StreamDecoder();
  decoder.push(bytes);
  decoder.end();
  const pages = new PageEncoder();
  const parts: Uint8Array[] = [];
  for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
    parts.push(pages.encode(message) ?? encode(message));
  }
  return Buffer.concat(parts);
}

/** Names a block only when it is not that of the record before. */
class PageEncoder {
  #names: string[] = [];
  #last = -1;

  encode(message: StreamMessage): Uint8Array | undefined {
    if (message.type === 'ram-blocks') this.#names = message.blocks.map(({ idstr }) => idstr);
    const record = pageRecord(message);
    if (record === undefined) return undefined;
    const { blockIndex, pageIndex, flag, data } = record;
    const name = blockIndex === this.#last ? undefined : encodeCountedString(this.#names[blockIndex]!);
    this.#last = blockIndex;
    const head = new Uint8Array(8 + 256);
    const end = encodePageHeader(head, 0, name, pageIndex, flag);
    return Buffer.concat([head.subarray(0, end), data]);
  }
}

function pageRecord(message: StreamMessage) {
  switch (message.type) {
    case 'ram-page':
      return { ...message, flag: RamFlag.page };
    case 'ram-zero':
      return { ...message, flag: RamFlag.zero, data: Uint8Array.of(0) };
    case 'ram-xbzrle': {
      const { length } = message.data;
      const data = Buffer.concat([Uint8Array.of(1, length >> 8, length & 0xff), message.data]);
      return { ...message, flag: RamFlag.xbzrle, data };
    }
    case 'ram-compressed-page': {
      const { length } = message.data;
      const data = Buffer.concat([Uint8Array.of(0, 0, length >> 8, length & 0xff), message.data]);
      return { ...message, flag: RamFlag.compressPage, data };
    }
    default:
      return undefined;
  }
}

function encode(message: StreamMessage): Uint8Array {
  switch (message.type) {
    case 'header':
      return encodeStreamHeader();
    case 'configuration':
      return encodeConfiguration(message.configuration);
    case 'section-start':
      return encodeSectionStart(message.section);
    case 'section-part':
      return encodeSectionPart(message.sectionId);
    case 'section-end':
      return encodeSectionEnd(message.sectionId);
    case 'section-footer':
      return encodeFooter(message.sectionId);
    case 'ram-blocks':
      return encodeRamBlocks(
        message.totalBytes,
        message.blocks,
        message.blocks.some((block) => block.guestPhysicalAddress !== undefined),
      );
    case 'ram-multifd-flush':
      return encodeMultifdFlush();
    case 'ram-eos':
      return encodeEos();
    case 'command':
      return encodeCommand(message.command, message.payload);
    case 'device-section':
      return encodeDeviceSection(message.section);
    case 'device-state': {
      const sections = message.sections.map((section) => encodeDeviceSection(section));
      const state = Buffer.concat([...sections, encodeEof(), encodeVmdesc(message.vmdesc!)]);
      assert.deepEqual(state, Buffer.from(message.raw));
      return state;
    }
    case 'end':
      return new Uint8Array(0);
    default:
      throw new Error(`no encoder for ${message.type}`);
  }
}

function returnPath(bytes: Uint8Array): Buffer {
  const decoder = new ReturnPathDecoder();
  decoder.push(bytes);
  const parts: Uint8Array[] = [];
  for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
    parts.push(encodeReturnPath(message));
  }
  return Buffer.concat(parts);
}

/**
 * QEMU 10.0 writes unused fields as zeros, as pageferry does: the headers are the same bytes. 7.2 leaves old
 * values there: what is encoded must decode to the same packet.
 */
function checkMultifd(bytes: Uint8Array, qemu: '7.2' | '10.0'): void {
  const decoder = new MultifdDecoder('multifd');
  decoder.push(bytes);
  const handshake = decoder.next();
  assert.equal(handshake?.type, 'handshake');
  assert.deepEqual(encodeMultifdHandshake(handshake), Uint8Array.from(bytes.subarray(0, 64)));
  const header = new Uint8Array(MULTIFD_PACKET_BYTES).fill(0xee);
  const copy = createMultifdPacket();
  let at = decoder.offset;
  for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
    assert.equal(message.type, 'packet');
    encodeMultifdPacket(message.packet, header);
    if (qemu === '10.0') {
      assert.deepEqual(Buffer.from(header), Buffer.from(bytes.subarray(at, at + MULTIFD_PACKET_BYTES)));
    } else {
      decodeMultifdPacket(header, copy, { channel: 'multifd', offset: at });
      copy.blockName = message.packet.blockName;
      assert.deepEqual(copy, message.packet);
    }
    at = decoder.offset;
  }
  assert.equal(at, bytes.length);
}
