export { concatBytes } from './byte-writer.ts';
export { commandName, encodeCommand, encodePing } from './command.ts';
export { encodeConfiguration, encodeStreamHeader, STREAM_MAGIC } from './configuration.ts';
export { splitDeviceState } from './device-state.ts';
export { compatOf, type MachineCompat, type MachineVersion, machineVersion } from './machine-compat.ts';
export type { MappedRamPlace } from './mapped-ram-layout.ts';
export {
  Command,
  type ConfigurationSection,
  type DeviceSection,
  type DeviceStateMessage,
  type MappedRamHeader,
  type PageSink,
  type RamBlockDescriptor,
  type RamCompressedPageMessage,
  RamFlag,
  type RamPageMessage,
  type SectionHeader,
  SectionType,
  type StreamMessage,
} from './messages.ts';
export {
  checkMultifdPacketHead,
  createMultifdPacket,
  decodeMultifdHandshake,
  decodeMultifdPacket,
  encodeMultifdHandshake,
  encodeMultifdPacket,
  MULTIFD_COMPRESSION_MASK,
  MULTIFD_HANDSHAKE_BYTES,
  MULTIFD_MAGIC,
  MULTIFD_PACKET_BYTES,
  MULTIFD_PAGES_PER_PACKET,
  MULTIFD_PAYLOAD_LIMIT_BYTES,
  MULTIFD_VERSION,
  MultifdFlag,
  type MultifdPacket,
} from './multifd.ts';
export { MultifdDecoder, type MultifdMessage } from './multifd-decoder.ts';
export {
  COMPRESSED_PAGE_LIMIT_BYTES,
  encodeEos,
  encodeMappedRamHeader,
  encodeMultifdFlush,
  encodePageHeader,
  encodeRamBlockEntry,
  encodeRamBlocks,
  encodeRamWord,
  MAPPED_RAM_HEADER_BYTES,
  MAPPED_RAM_VERSION,
  mappedRamBitmapBytes,
  RAM_IDSTR,
  RAM_VERSION,
  ramWord,
} from './ram-records.ts';
export { encodeReturnPath, ReturnPathDecoder, type ReturnPathMessage } from './return-path.ts';
export {
  encodeDeviceSection,
  encodeEof,
  encodeFooter,
  encodeSectionEnd,
  encodeSectionPart,
  encodeSectionStart,
} from './section.ts';
export { StreamDecoder, type StreamDecoderOptions } from './stream-decoder.ts';
export { type EncodedBlockName, encodeCountedString } from './text.ts';
export { formatUuid, isNilUuid, parseUuid, sameUuid } from './uuid.ts';
export {
  deviceSectionBytes,
  encodeVmdesc,
  parseVmdesc,
  type VmBody,
  type VmDescription,
  type VmDevice,
  type VmField,
} from './vmdesc.ts';
export { decodeXbzrle, XBZRLE_OVERFLOW, XBZRLE_PREFIX_BYTES, XbzrleEncoder } from './xbzrle.ts';
