import { decodeRunState, GLOBAL_STATE } from '../wire/global-state.ts';
import type { DeviceSection, DeviceStateMessage, SectionHeader } from '../wire/messages.ts';
import { FOOTER_BYTES } from '../wire/section.ts';
import { encodeText } from '../wire/text.ts';
import { deviceSectionBytes, parseVmdesc, type VmDevice } from '../wire/vmdesc.ts';
import type { CaptureFile } from './capture-file.ts';
import type { CaptureReport, Damage, DeviceReport } from './report.ts';
import { type SalvagedDevices, salvageDevices } from './salvage-devices.ts';
import { reportFields } from './vmdesc-report.ts';

/** The most that a damaged device state is searched. */
const SALVAGE_BYTES_MAX = 256 * 1024 * 1024;

/** Lists the device sections and where they are. */
export class DeviceInspector {
  readonly #file: CaptureFile;
  readonly #devices: DeviceReport[] = [];
  #vmdesc: CaptureReport['vmdesc'];
  #runState: string | undefined;
  #described: readonly VmDevice[] = [];
  /** Where the sections of the current run of early sections go on. */
  #runOffset = 0;
  #runEnd = -1;
  #early = true;
  #contradiction: Damage | undefined;

  constructor(file: CaptureFile) {
    this.#file = file;
  }

  /** From here on sections are no longer sent before the pages. */
  pagesBegin(): void {
    this.#early = false;
  }

  /** A FULL section among the others; a run of them is decoded at once, so only the first one's offset says where. */
  takeAmong(section: DeviceSection, offset: number, endOffset: number): void {
    if (offset !== this.#runEnd) this.#runOffset = offset;
    this.#runEnd = endOffset;
    this.#runOffset = this.#add(section, section.data, this.#runOffset, this.#early);
  }

  takeState(message: DeviceStateMessage, offset: number): void {
    let at = offset;
    const earlyCount = this.#devices.length;
    for (const section of message.sections) at = this.#add(section, section.data, at, false);
    if (message.vmdesc === undefined) return;
    if (!message.proven) {
      // The sections could be told apart all the same; something about them is not as it was written.
      this.#contradiction = damageAt(salvageDevices(message.raw, this.#devices.slice(0, earlyCount)), offset);
    }
    this.#describe(message.vmdesc, at + 1, message.proven);
  }

  /** What the vmdescription contradicts, in a device state that could be decoded. */
  get contradiction(): Damage | undefined {
    return this.#contradiction;
  }

  /**
   * In a file whose device state is damaged, or cut: the sections before the damage, and where exactly it is when
   * the vmdescription tells.
   */
  async salvage(offset: number): Promise<Damage | undefined> {
    const bytes = new Uint8Array(Math.min(SALVAGE_BYTES_MAX, Math.max(0, this.#file.sizeBytes - offset)));
    const there = bytes.subarray(0, await this.#file.readUpTo(bytes, offset));
    const found: SalvagedDevices = salvageDevices(there, this.#devices);
    for (const range of found.sections) {
      this.#add(range, there.subarray(range.dataAt, range.dataEnd), offset + range.headerAt, false);
    }
    if (found.vmdescAt !== undefined) {
      this.#describe(there.subarray(found.vmdescAt + 5), offset + found.vmdescAt, false);
    }
    return damageAt(found, offset);
  }

  report(): Pick<CaptureReport, 'devices' | 'vmdesc' | 'runState'> {
    for (const device of this.#devices) {
      const described = this.#described.find(
        (entry) =>
          entry.name === device.idstr &&
          entry.instanceId === device.instanceId &&
          deviceSectionBytes(entry) === device.bytes,
      );
      if (described !== undefined) Object.assign(device, reportFields(described));
    }
    return {
      devices: this.#devices,
      ...(this.#vmdesc !== undefined && { vmdesc: this.#vmdesc }),
      ...(this.#runState !== undefined && { runState: this.#runState }),
    };
  }

  /** Returns where the section ends. */
  #add(header: SectionHeader, data: Uint8Array, offset: number, early: boolean): number {
    const { idstr, sectionId, instanceId, versionId } = header;
    this.#devices.push({ idstr, sectionId, instanceId, versionId, offset, bytes: data.length, early });
    if (idstr === GLOBAL_STATE) this.#runState = decodeRunState(data);
    // Type, section id, name with its length, instance id, version.
    const headerBytes = 1 + 4 + 1 + encodeText(idstr).length + 4 + 4;
    return offset + headerBytes + data.length + FOOTER_BYTES;
  }

  #describe(json: Uint8Array, offset: number, proven: boolean): void {
    this.#vmdesc = { offset, bytes: json.length, proven };
    try {
      this.#described = parseVmdesc(json).devices;
    } catch {
      // It was not proven then; the sections are listed without their fields.
    }
  }
}

function damageAt({ damage }: SalvagedDevices, offset: number): Damage | undefined {
  return damage && { code: 'bad-device-state', message: damage.message, offset: offset + damage.at };
}
