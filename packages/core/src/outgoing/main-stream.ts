import type { DeviceState } from '../guest/contract.ts';
import type { RamBlock } from '../memory/ram-block.ts';
import type { ByteChannel } from '../transport/byte-channel.ts';
import { encodeCommand, encodePing } from '../wire/command.ts';
import { encodeConfiguration, encodeStreamHeader, IGNORE_SHARED_CAPABILITY } from '../wire/configuration.ts';
import type { MappedRamPlace } from '../wire/mapped-ram-layout.ts';
import { Command, type ConfigurationSection, type DeviceSection } from '../wire/messages.ts';
import { encodeRamBlocks, RAM_IDSTR, RAM_VERSION } from '../wire/ram-records.ts';
import {
  encodeDeviceSection,
  encodeEof,
  encodeFooter,
  encodeSectionEnd,
  encodeSectionPart,
  encodeSectionStart,
} from '../wire/section.ts';
import { describeSections, encodeVmdesc } from '../wire/vmdesc.ts';

/** Which parts a stream has; by default all, and the addresses of x-ignore-shared not. */
export interface StreamForm {
  readonly sendConfiguration?: boolean;
  readonly sendSectionFooter?: boolean;
  readonly sendVmdesc?: boolean;
  readonly ignoreShared?: boolean;
}

/** Writes everything of the main stream but the pages. */
export class MainStreamWriter {
  /** The capabilities that a destination must have on as well: those of this transfer, not those of a capture. */
  protected readonly capabilities: readonly string[];
  readonly #channel: ByteChannel;
  readonly #ramSectionId: number;
  readonly #form: StreamForm;

  constructor(channel: ByteChannel, ramSectionId: number, form: StreamForm = {}) {
    this.#channel = channel;
    this.#ramSectionId = ramSectionId;
    this.#form = form;
    this.capabilities = form.ignoreShared === true ? [IGNORE_SHARED_CAPABILITY] : [];
  }

  header(configuration: Omit<ConfigurationSection, 'capabilities'>): void {
    this.#channel.write(encodeStreamHeader());
    if (this.#form.sendConfiguration === false) return;
    this.#channel.write(encodeConfiguration({ ...configuration, capabilities: this.capabilities }));
  }

  /** A PING follows, as QEMU does it: its PONG shows that the destination reads. */
  openReturnPath(): void {
    this.#channel.write(encodeCommand(Command.openReturnPath));
    this.#channel.write(encodePing(1));
  }

  /** Where each block is in a mapped-ram file; undefined for a stream whose pages have no places. */
  places(_blocks: readonly RamBlock[]): readonly MappedRamPlace[] | undefined {
    return undefined;
  }

  ramStart(blocks: readonly RamBlock[]): void {
    this.#channel.write(encodeRamStart(this.#ramSectionId));
    this.#channel.write(encodeRamBlocks(totalBytesOf(blocks), blocks, this.#form.ignoreShared));
  }

  ramPart(): void {
    this.#channel.write(encodeSectionPart(this.#ramSectionId));
  }

  ramEnd(): void {
    this.#channel.write(encodeSectionEnd(this.#ramSectionId));
  }

  /** Ends a section of RAM, where sections have footers. */
  footer(): void {
    if (this.#form.sendSectionFooter !== false) this.#channel.write(encodeFooter(this.#ramSectionId));
  }

  /** Asks for a PONG with this value on the return path, which must be open. */
  ping(value: number): void {
    this.#channel.write(encodePing(value));
  }

  switchoverStart(): void {
    this.#channel.write(encodeCommand(Command.switchoverStart));
  }

  deviceSections(sections: readonly DeviceSection[]): void {
    const { sendSectionFooter } = this.#form;
    for (const section of sections) this.#channel.write(encodeDeviceSection(section, sendSectionFooter));
  }

  /** The device sections, the end of the stream, and the description behind it, the guest's own or a plain one. */
  devices(state: DeviceState): void {
    this.deviceSections(state.sections);
    this.#channel.write(encodeEof());
    if (this.#form.sendVmdesc === false) return;
    const all = [...state.early, ...state.sections];
    this.#channel.write(encodeVmdesc(state.vmdesc ?? describeSections(all)));
  }
}

/** The head of ram's START section; the block list follows. */
export function encodeRamStart(sectionId: number): Uint8Array {
  return encodeSectionStart({ sectionId, idstr: RAM_IDSTR, instanceId: 0, versionId: RAM_VERSION });
}

export function totalBytesOf(blocks: readonly RamBlock[]): number {
  return blocks.reduce((sum, block) => sum + block.usedLengthBytes, 0);
}
