import { MigrationError } from '../error.ts';
import { commandName } from '../wire/command.ts';
import { machineVersion } from '../wire/machine-compat.ts';
import type { ConfigurationSection, StreamMessage } from '../wire/messages.ts';
import { formatUuid } from '../wire/uuid.ts';
import { MAPPED_RAM_CAPABILITY } from './capture.ts';
import { CaptureFile } from './capture-file.ts';
import { DeviceInspector } from './inspect-devices.ts';
import { RamInspector } from './inspect-ram.ts';
import { adviseLoad } from './load-advice.ts';
import { type ReadOptions, ReadProgress } from './read-progress.ts';
import type { CaptureReport, Damage } from './report.ts';
import { walkStream } from './walk.ts';

/**
 * Describes a capture file of either format. The pages are counted as they pass: the guest's RAM is not held
 * in memory. Damage is part of the report, with everything that comes before it.
 *
 * @throws MigrationError `file-failed` or `bad-file` when the file cannot be opened or read, `cancelled`
 */
export async function inspectCapture(path: string, options: ReadOptions = {}): Promise<CaptureReport> {
  const file = await CaptureFile.open(path);
  try {
    return await new Inspector(file, options).inspect();
  } finally {
    await file.close();
  }
}

class Inspector {
  readonly #file: CaptureFile;
  readonly #options: ReadOptions;
  readonly #report: CaptureReport;
  readonly #progress: ReadProgress;
  readonly #ram: RamInspector;
  readonly #devices: DeviceInspector;
  /** Where the last message ended: what comes next is what is damaged. */
  #position: number;
  #ramEnded = false;

  constructor(file: CaptureFile, options: ReadOptions) {
    this.#file = file;
    this.#options = options;
    this.#position = options.offsetBytes ?? 0;
    this.#report = { path: file.path, fileBytes: file.sizeBytes, commands: [], devices: [] };
    this.#progress = new ReadProgress(file, options);
    this.#ram = new RamInspector(file, options, this.#progress);
    this.#devices = new DeviceInspector(file);
  }

  async inspect(): Promise<CaptureReport> {
    const report = this.#report;
    try {
      report.endOffset = await walkStream(this.#file, this.#take, this.#options, this.#progress);
      report.trailingBytes = this.#file.sizeBytes - report.endOffset;
    } catch (error) {
      await this.#damaged(error);
    }
    report.damage ??= this.#ram.incomplete(report.endOffset) ?? this.#devices.contradiction;
    Object.assign(report, { ram: this.#ram.report(), ...this.#devices.report() });
    // What pageferry cannot do, a QEMU may still do.
    if (report.damage === undefined || report.damage.code === 'unsupported')
      report.loads = adviseLoad(report);
    return report;
  }

  readonly #take = (message: StreamMessage, offset: number, endOffset: number): Promise<void> | undefined => {
    this.#position = endOffset;
    switch (message.type) {
      case 'configuration':
        this.#configuration(message.configuration, offset, endOffset);
        return undefined;
      case 'command': {
        const name = commandName(message.command);
        this.#report.commands.push({ name, offset, payloadBytes: message.payload.length });
        return undefined;
      }
      case 'device-section':
        this.#devices.takeEarly(message.section, offset, endOffset);
        return undefined;
      case 'device-state':
        this.#devices.takeState(message, offset);
        return undefined;
      case 'section-end':
        this.#ramEnded = true;
        return undefined;
      default:
        return this.#ram.take(message, offset);
    }
  };

  #configuration(configuration: ConfigurationSection, offset: number, endOffset: number): void {
    const { machine, uuid, capabilities = [], targetPageBits } = configuration;
    const version = machineVersion(machine);
    this.#report.format = capabilities.includes(MAPPED_RAM_CAPABILITY) ? 'mapped-ram' : 'stream';
    this.#report.configuration = {
      offset,
      bytes: endOffset - offset,
      machine,
      ...(version !== undefined && { qemuVersion: `${version.major}.${version.minor}` }),
      ...(uuid !== undefined && { uuid: formatUuid(uuid) }),
      capabilities: [...capabilities],
      ...(targetPageBits !== undefined && { targetPageBits }),
    };
  }

  /** Records the damage, and what can still be told of the piece of the stream that it is in. */
  async #damaged(error: unknown): Promise<void> {
    if (!(error instanceof MigrationError)) throw error;
    if (error.code === 'file-failed' || error.code === 'cancelled' || error.code === 'internal') throw error;
    let damage: Damage = { code: error.code, message: error.message, offset: error.offset };
    if (this.#report.format === 'mapped-ram') await this.#ram.salvage(this.#position);
    if (this.#ramEnded) {
      const exact = await this.#devices.salvage(this.#position);
      // To the decoder a damaged section looks like a long one, whose end is missing.
      if (exact !== undefined && error.code === 'truncated') damage = exact;
    }
    this.#report.damage = damage;
  }
}
