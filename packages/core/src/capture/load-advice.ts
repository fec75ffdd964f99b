import { IGNORE_SHARED_CAPABILITY } from '../wire/configuration.ts';
import { compatOf, type MachineVersion, machineVersion } from '../wire/machine-compat.ts';
import type { CaptureFormat } from './capture.ts';
import { deviceOptions } from './device-options.ts';
import type { BlockReport, CaptureReport, DeviceReport, LoadAdvice } from './report.ts';

const KIB = 1024;
const MIB = 1024 * 1024;
/** SeaBIOS as QEMU loads it into a PC when nothing else is asked for. */
const PC_BIOS_DEFAULT_BYTES = 256 * KIB;
/** The first QEMU that loads mapped-ram files, and the first whose `file:` takes an incoming plain stream. */
const MAPPED_RAM_SINCE: MachineVersion = { major: 9, minor: 0 };
const FILE_URI_SINCE: MachineVersion = { major: 8, minor: 2 };

/** How a QEMU has to be started to load what the report describes; undefined when too little of it is known. */
export function adviseLoad(report: CaptureReport): LoadAdvice | undefined {
  const { configuration, ram, format, path, devices } = report;
  if (configuration === undefined || ram === undefined || format === undefined) return undefined;
  const { machine } = configuration;
  const notes: string[] = [];
  const machineOptions = [machine, ...machineSwitches(machine, ram.blocks, devices)];
  const memory = memoryOptions(machine, ram.blocks, machineOptions, notes);
  const attached = deviceOptions(devices, ram.blocks);
  const vcpus = devices.filter((device) => device.idstr === 'cpu_common').length;
  const compressed = ram.pages.compressedRecords > 0;
  const incoming = incomingOptions(path, format, compressed, machineVersion(machine));
  const options = [
    `-machine ${shellWord(machineOptions.join(','))}`,
    ...memory,
    ...(vcpus > 1 ? [`-smp ${vcpus}`] : []),
    ...(configuration.uuid === undefined ? [] : [`-uuid ${configuration.uuid}`]),
    '-nodefaults',
    ...attached.options,
    ...(sendsNoConfiguration(machine) ? AS_CAPTURED : []),
    ...incoming.options,
  ];
  notes.push(...attached.notes, ...incoming.notes, ...sectionNotes(report, attached.unknown));
  return {
    machine,
    ...minimumVersion(machine, format),
    commandLine: [binaryFor(machine), ...options].join(' '),
    qmp: incoming.qmp,
    notes,
  };
}

/** A capture has what machine types up to 2.3 leave out of their streams. */
const AS_CAPTURED = ['-global migration.send-configuration=on', '-global migration.send-section-footer=on'];

function sendsNoConfiguration(machine: string): boolean {
  const version = machineVersion(machine);
  return version !== undefined && !compatOf(version).sendConfiguration;
}

function minimumVersion(machine: string, format: CaptureFormat): { minimumQemuVersion?: string } {
  const own = machineVersion(machine);
  const version =
    format === 'mapped-ram' && (own === undefined || before(own, MAPPED_RAM_SINCE)) ? MAPPED_RAM_SINCE : own;
  return version === undefined ? {} : { minimumQemuVersion: `${version.major}.${version.minor}` };
}

function before(one: MachineVersion, other: MachineVersion): boolean {
  return one.major < other.major || (one.major === other.major && one.minor < other.minor);
}

function binaryFor(machine: string): string {
  if (isPc(machine) || machine === 'microvm') return 'qemu-system-x86_64';
  if (machine.startsWith('pseries')) return 'qemu-system-ppc64';
  if (machine.startsWith('s390-ccw-virtio')) return 'qemu-system-s390x';
  return 'qemu-system-ARCH';
}

function isPc(machine: string): boolean {
  return /^(pc|q35)(-|$)/.test(machine);
}

/** Machine options that show in the stream by what is missing. */
function machineSwitches(
  machine: string,
  blocks: readonly BlockReport[],
  devices: readonly DeviceReport[],
): string[] {
  if (!isPc(machine) || devices.length === 0) return [];
  const has = (idstr: string) => devices.some((device) => device.idstr === idstr);
  const acpi = has('acpi_build') || blocks.some((block) => block.idstr.startsWith('/rom@etc/acpi/'));
  return [...(acpi ? [] : ['acpi=off']), ...(has('hpet') ? [] : ['hpet=off'])];
}

function memoryOptions(
  machine: string,
  blocks: readonly BlockReport[],
  machineOptions: string[],
  notes: string[],
): string[] {
  const options: string[] = [];
  const main = blocks.find((block) => /^(pc|s390|ppc_spapr|mach-virt|microvm)\.ram$/.test(block.idstr));
  if (main !== undefined) {
    options.push(`-m ${sizeOption(main.bytes)}`);
  } else {
    const largest = blocks.reduce<BlockReport | undefined>(
      (best, b) => (best && best.bytes >= b.bytes ? best : b),
      undefined,
    );
    if (largest !== undefined) {
      const id = largest.idstr.slice(largest.idstr.lastIndexOf('/') + 1);
      const size = sizeOption(largest.bytes);
      machineOptions.push(`memory-backend=${id}`);
      options.push(`-m ${size}`, `-object ${shellWord(`memory-backend-ram,id=${id},size=${size}`)}`);
      notes.push(
        `${largest.idstr} is taken for the main memory; the others may need a memory-backend object of the same id and size`,
      );
    }
  }
  const bios = blocks.find((block) => block.idstr === 'pc.bios');
  if (bios !== undefined && isPc(machine) && bios.bytes !== PC_BIOS_DEFAULT_BYTES) {
    options.push('-bios FIRMWARE');
    notes.push(
      `FIRMWARE: any file of exactly ${bios.bytes / KIB} KiB, the size of pc.bios; its content comes with the machine`,
    );
  }
  const flash = blocks.filter((block) => block.idstr.startsWith('system.flash'));
  if (flash.length > 0) {
    notes.push(`add one -drive if=pflash per flash block, of the same size: ${flash.map(sized).join(', ')}`);
  }
  notes.push(`block sizes must be the same at the destination: ${blocks.map(sized).join(', ')}`);
  return options;
}

function sized(block: BlockReport): string {
  return `${block.idstr} ${block.bytes} bytes`;
}

function sizeOption(bytes: number): string {
  return bytes % MIB === 0 ? `${bytes / MIB}M` : `${bytes / KIB}K`;
}

/** How the stream gets into the process: by option where that is enough, by QMP where a capability is needed. */
function incomingOptions(
  path: string,
  format: CaptureFormat,
  compressed: boolean,
  version: MachineVersion | undefined,
): { options: string[]; qmp: string[]; notes: string[] } {
  if (format === 'mapped-ram') {
    const note = 'the capability multifd may be set as well: the pages are then read by several threads';
    return { ...withCapability('mapped-ram', `file:${path}`), notes: [note] };
  }
  const fromFile = version !== undefined && !before(version, FILE_URI_SINCE);
  const uri = fromFile ? `file:${path}` : `exec:cat ${shellWord(path)}`;
  const notes = fromFile ? [] : ['-incoming file:PATH does the same in QEMU 8.2 and later'];
  if (!compressed) return { options: [`-incoming ${shellWord(uri)}`], qmp: [], notes };
  notes.push('QEMU from 9.1 on has no capability compress: pageferry send brings the guest there');
  return { ...withCapability('compress', uri), notes };
}

function withCapability(capability: string, uri: string): { options: string[]; qmp: string[] } {
  const commands = [
    { execute: 'qmp_capabilities' },
    { execute: 'migrate-set-capabilities', arguments: { capabilities: [{ capability, state: true }] } },
    { execute: 'migrate-incoming', arguments: { uri } },
  ];
  return {
    options: ['-qmp unix:qmp.sock,server=on,wait=off', '-incoming defer'],
    qmp: commands.map((command) => JSON.stringify(command)),
  };
}

/** Notes that follow from the device sections. */
function sectionNotes(report: CaptureReport, unknown: readonly string[]): string[] {
  const notes: string[] = [];
  if (unknown.length > 0) {
    notes.push(`add the devices that these sections belong to, at the same places: ${unknown.join(', ')}`);
  }
  for (const capability of report.configuration?.capabilities ?? []) {
    if (capability === IGNORE_SHARED_CAPABILITY) {
      notes.push(
        `set the capability ${capability}, with the guest's shared memory in place: it is not in the file`,
      );
    }
  }
  if (report.devices.some((device) => device.idstr === 'kvmclock')) {
    notes.push('the guest ran under KVM (kvmclock): add -accel kvm');
  } else {
    notes.push('the accelerator is not in the file: give the -accel of the source');
  }
  notes.push('the CPU model is not in the file: give the -cpu of the source');
  if (report.runState !== undefined && report.runState !== 'running') {
    notes.push(`the guest was ${report.runState} when it was captured: it stands still until cont`);
  }
  return notes;
}

/** A word for a POSIX shell, quoted only where it must be. */
function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
