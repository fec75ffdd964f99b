import { MigrationError } from '../error.ts';
import { concatBytes } from '../wire/byte-writer.ts';
import { encodeCommand } from '../wire/command.ts';
import {
  encodeConfiguration,
  encodeStreamHeader,
  IGNORE_SHARED_CAPABILITY,
  MAPPED_RAM_CAPABILITY,
} from '../wire/configuration.ts';
import { compatOf, machineVersion } from '../wire/machine-compat.ts';
import { Command } from '../wire/messages.ts';
import { encodeEos, RAM_IDSTR, RAM_VERSION } from '../wire/ram-records.ts';
import {
  encodeDeviceSection,
  encodeEof,
  encodeFooter,
  encodeSectionEnd,
  encodeSectionStart,
} from '../wire/section.ts';
import { encodeVmdesc } from '../wire/vmdesc.ts';
import type { CaptureContent, CaptureFormat } from './capture.ts';

/*
 * A stopped guest's stream, the same sections in both formats and in QEMU's order:
 *
 *   header, configuration
 *   SECTION_START ram    block list, EOS
 *   SECTION_FULL         the early sections, if there are any
 *   SECTION_PART ram     all pages (plain stream) or nothing (mapped-ram), EOS
 *   SWITCHOVER_START     machine types from 10.0
 *   SECTION_END ram      EOS
 *   SECTION_FULL         the device sections
 *   EOF, vmdescription
 */

/** Whether there are blocks whose content is not written. */
export function leavesOut({ memory }: CaptureContent): boolean {
  return memory.some((block) => block.elsewhere === true);
}

/**
 * Header, configuration and the head of ram's START. Capabilities are those that the file needs.
 * @throws MigrationError `unsupported`
 */
export function encodeOpening(content: CaptureContent, format: CaptureFormat): Uint8Array {
  const { configuration, ramSectionId } = content;
  const partial = leavesOut(content);
  if (partial && format === 'mapped-ram') {
    throw new MigrationError(
      'unsupported',
      `a mapped-ram file of a guest whose shared memory was left out (${IGNORE_SHARED_CAPABILITY})`,
    );
  }
  const capabilities = [
    ...(partial ? [IGNORE_SHARED_CAPABILITY] : []),
    ...(format === 'mapped-ram' ? [MAPPED_RAM_CAPABILITY] : []),
  ];
  const ram = { sectionId: ramSectionId, idstr: RAM_IDSTR, instanceId: 0, versionId: RAM_VERSION };
  return concatBytes([
    encodeStreamHeader(),
    encodeConfiguration({
      ...configuration,
      capabilities: capabilities.length === 0 ? undefined : capabilities,
    }),
    encodeSectionStart(ram),
  ]);
}

/** The end of ram's START, and the sections that belong to the setup. */
export function encodeSetupEnd({ ramSectionId, deviceState }: CaptureContent): Uint8Array {
  return concatBytes([
    encodeEos(),
    encodeFooter(ramSectionId),
    ...deviceState.early.map((section) => encodeDeviceSection(section)),
  ]);
}

/** Everything from the end of ram's PART on. */
export function encodeClosing({ configuration, ramSectionId, deviceState }: CaptureContent): Uint8Array {
  const version = machineVersion(configuration.machine);
  const switchover = version !== undefined && compatOf(version).sendSwitchoverStart;
  return concatBytes([
    encodeEos(),
    encodeFooter(ramSectionId),
    ...(switchover ? [encodeCommand(Command.switchoverStart)] : []),
    encodeSectionEnd(ramSectionId),
    encodeEos(),
    encodeFooter(ramSectionId),
    ...deviceState.sections.map((section) => encodeDeviceSection(section)),
    encodeEof(),
    ...(deviceState.vmdesc === undefined ? [] : [encodeVmdesc(deviceState.vmdesc)]),
  ]);
}
