import { MigrationError } from '../error.ts';
import { commandName } from '../wire/command.ts';
import { MAPPED_RAM_CAPABILITY } from '../wire/configuration.ts';
import { machineVersion } from '../wire/machine-compat.ts';
import type { ConfigurationSection, StreamMessage } from '../wire/messages.ts';
import { formatUuid } from '../wire/uuid.ts';
import type { CaptureFormat } from './capture.ts';
import { CaptureFile } from './capture-file.ts';
import { DeviceInspector } from './inspect-devices.ts';
import { RamInspector } from './inspect-ram.ts';
import { adviseLoad } from './load-advice.ts';
import { type CaptureReadOptions, ReadProgress } from './read-progress.ts';
import type { CaptureReport, CommandReport, ConfigurationReport, Damage } from './report.ts';
import { walkStream } from './walk.ts';

/**
 * Describes a capture file of either format. The pages are counted as they pass: the guest's RAM is not held
 * in memory. Damage is part of the report, with everything that comes before it.
 *
 * @throws MigrationError `file-failed` or `bad-file` when the file cannot be opened or read, `cancelled`
 */
export async function inspectCapture(path: string, options: CaptureReadOptions = {}): Promise<CaptureReport> {
  const file = await CaptureFile.open(path);
  try {
    return await new Inspector(file, options).inspect();
  } finally {
    await file.close();
  }
}

class Inspector {
  readonly #file: CaptureFile;
  readonly #options: CaptureReadOptions;
  readonly #progress: ReadProgress;
  readonly #ram: RamInspector;
  readonly #devices: DeviceInspector;
  /** Where the last message ended: what comes next is what is damaged. */
  #position: number;
  #ramEnded = false;
  #format: CaptureFormat | undefined;
  #configuration: ConfigurationReport | undefined;
  readonly #commands: CommandReport[] = [];

  constructor(file: CaptureFile, options: CaptureReadOptions) {
    this.#file = file;
    this.#options = options;
    this.#position = options.offsetBytes ?? 0;
    this.#progress = new ReadProgress(file, options);
    this.#ram = new RamInspector(file, options, this.#progress);
    this.#devices = new DeviceInspector(file);
  }

  async inspect(): Promise<CaptureReport> {
    let damage: Damage | undefined;
    let endOffset: number | undefined;
    try {
      endOffset = await walkStream(this.#file, this.#take, this.#options, this.#progress);
      damage = this.#ram.incomplete(endOffset) ?? this.#devices.contradiction;
    } catch (error) {
      damage = await this.#damageFrom(error);
    }
    const { path, sizeBytes: fileBytes } = this.#file;
    const report: CaptureReport = {
      path,
      fileBytes,
      ...defined({ format: this.#format, configuration: this.#configuration, ram: this.#ram.report() }),
      commands: this.#commands,
      ...this.#devices.report(),
      ...(endOffset !== undefined && { endOffset, trailingBytes: fileBytes - endOffset }),
      ...defined({ damage }),
    };
    // What pageferry cannot do, a QEMU may still do.
    const loadable = damage === undefined || damage.code === 'unsupported';
    return { ...report, ...defined({ loads: loadable ? adviseLoad(report) : undefined }) };
  }

  readonly #take = (message: StreamMessage, offset: number, endOffset: number): Promise<void> | undefined => {
    this.#position = endOffset;
    switch (message.type) {
      case 'configuration':
        this.#configure(message.configuration, offset, endOffset);
        return undefined;
      case 'command': {
        const name = commandName(message.command);
        this.#commands.push({ name, offset, payloadBytes: message.payload.length });
        return undefined;
      }
      case 'device-section':
        this.#devices.takeAmong(message.section, offset, endOffset);
        return undefined;
      case 'device-state':
        this.#devices.takeState(message, offset);
        return undefined;
      case 'section-part':
        this.#devices.pagesBegin();
        return undefined;
      case 'section-end':
        this.#ramEnded = true;
        return undefined;
      default:
        return this.#ram.take(message, offset, endOffset);
    }
  };

  #configure(configuration: ConfigurationSection, offset: number, endOffset: number): void {
    const { machine, uuid, capabilities = [], targetPageBits } = configuration;
    const version = machineVersion(machine);
    this.#format = capabilities.includes(MAPPED_RAM_CAPABILITY) ? 'mapped-ram' : 'stream';
    this.#configuration = {
      offset,
      bytes: endOffset - offset,
      machine,
      ...(version !== undefined && { qemuVersion: `${version.major}.${version.minor}` }),
      ...(uuid !== undefined && { uuid: formatUuid(uuid) }),
      capabilities: [...capabilities],
      ...(targetPageBits !== undefined && { targetPageBits }),
    };
  }

  /** The damage, after taking what can still be told of the piece of the stream that it is in. */
  async #damageFrom(error: unknown): Promise<Damage> {
    if (!(error instanceof MigrationError)) throw error;
    const { code, message, offset } = error;
    if (code === 'file-failed' || code === 'cancelled' || code === 'internal') throw error;
    if (this.#format === 'mapped-ram') await this.#ram.salvage(this.#position);
    const exact = this.#ramEnded ? await this.#devices.salvage(this.#position) : undefined;
    // To the decoder a damaged section looks like a long one, whose end is missing.
    if (exact !== undefined && code === 'truncated') return exact;
    return { code, message, ...defined({ offset }) };
  }
}

/** The members that are there: a report has none that are undefined. */
function defined<T extends object>(members: T): Partial<T> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Partial<T>;
}
