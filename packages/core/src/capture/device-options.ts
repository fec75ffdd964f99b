import type { BlockReport, DeviceReport } from './report.ts';

/*
 * Which `-device` a device section asks for. A section's idstr is the name of the device's state, with the
 * device's place in front where it has one:
 *
 *   DDDD:00:SS.F/name            slot SS, function F of the root bus
 *   DDDD:00:SS.F:SS.F/name       behind the bridge at the first place
 */

/** Name of the state -> QEMU's device model, where only one model of a PCI device has that state. */
const PCI_MODELS: ReadonlyMap<string, string> = new Map([
  ['virtio-net', 'virtio-net-pci'],
  ['virtio-blk', 'virtio-blk-pci'],
  ['virtio-scsi', 'virtio-scsi-pci'],
  ['virtio-balloon', 'virtio-balloon-pci'],
  ['virtio-rng', 'virtio-rng-pci'],
  ['virtio-console', 'virtio-serial-pci'],
  ['virtio-gpu', 'virtio-gpu-pci'],
  ['virtio-vga', 'virtio-vga'],
  ['virtio-crypto', 'virtio-crypto-pci'],
  ['virtio-iommu', 'virtio-iommu-pci'],
  ['virtio-vhost_vsock', 'vhost-vsock-pci'],
  ['vga', 'VGA'],
  ['cirrus_vga', 'cirrus-vga'],
  ['vmware_vga', 'vmware-svga'],
  ['bochs-display', 'bochs-display'],
  ['e1000', 'e1000'],
  ['e1000e', 'e1000e'],
  ['rtl8139', 'rtl8139'],
  ['pcnet', 'pcnet'],
  ['ne2000', 'ne2k_pci'],
  ['tulip', 'tulip'],
  ['vmxnet3', 'vmxnet3'],
  ['ich9_ahci', 'ich9-ahci'],
  ['pvscsi', 'pvscsi'],
  ['ac97', 'AC97'],
  ['i6300esb_wdt', 'i6300esb'],
  ['pcie-root-port', 'pcie-root-port'],
  ['pci_bridge', 'pci-bridge'],
]);

/** Devices that have a bus behind them. */
const BRIDGE = /\/(pcie-root-port|pci_bridge)$/;

const NETWORK_MODELS: ReadonlySet<string> = new Set([
  'virtio-net-pci',
  'e1000',
  'e1000e',
  'rtl8139',
  'pcnet',
  'ne2k_pci',
  'tulip',
  'vmxnet3',
]);

/** Sections of the board, the CPUs and QEMU itself: they are there without any option. */
const BOARD: ReadonlySet<string> = new Set([
  'timer',
  'slirp',
  'cpu_common',
  'cpu',
  'kvm-tpr-opt',
  'apic',
  'kvmclock',
  'fw_cfg',
  'PCIHost',
  'PCIBUS',
  'I440FX',
  'PIIX3',
  'mch',
  'ICH9LPC',
  'ich9_smb',
  'dma',
  'i8259',
  'ioapic',
  'hpet',
  'mc146818rtc',
  'i8254',
  'pcspk',
  'fdc',
  'ps2kbd',
  'ps2mouse',
  'pckbd',
  'vmmouse',
  'port92',
  'i2c_bus',
  'piix4_pm',
  'acpi_build',
  'smbus-eeprom',
  'globalstate',
]);
/** Board devices by place: the IDE or SATA controller of a PC. */
const BOARD_PLACES: ReadonlySet<string> = new Set(['0000:00:01.1/ide', '0000:00:1f.2/ich9_ahci']);

export interface DeviceOptions {
  /** Command-line options, one string each with its value. */
  readonly options: string[];
  /** idstrs of sections for which no option is known. */
  readonly unknown: string[];
  readonly notes: string[];
}

/** The options that create the devices of these sections, without those of the board. */
export function deviceOptions(
  devices: readonly Pick<DeviceReport, 'idstr'>[],
  blocks: readonly Pick<BlockReport, 'idstr'>[],
): DeviceOptions {
  const options: string[] = [];
  const unknown: string[] = [];
  const backends = new Backends(
    devices.some((device) => device.idstr === 'slirp'),
    blocks.map((block) => block.idstr),
  );
  for (const { idstr } of devices) {
    const name = idstr.slice(idstr.lastIndexOf('/') + 1);
    if (BOARD.has(name) || BOARD_PLACES.has(idstr)) continue;
    const model = PCI_MODELS.get(name);
    const place = pciPlace(idstr);
    if (idstr === 'serial') options.push('-serial null');
    else if (idstr === 'parallel_isa') options.push('-parallel null');
    else if (model === undefined || place === undefined) unknown.push(idstr);
    else options.push(...backends.optionsFor(model, idstr, place));
  }
  return { options, unknown, notes: backends.notes() };
}

/** What devices have behind them at the host's side, numbered in the order of the devices. */
class Backends {
  readonly #userNetwork: boolean;
  readonly #blocks: readonly string[];
  #networks = 0;
  #disks = 0;
  #bridges = 0;
  #sounds = 0;

  constructor(userNetwork: boolean, blocks: readonly string[]) {
    this.#userNetwork = userNetwork;
    this.#blocks = blocks;
  }

  optionsFor(model: string, idstr: string, place: string): string[] {
    if (NETWORK_MODELS.has(model)) return this.#network(model, idstr, place);
    switch (model) {
      case 'virtio-blk-pci':
        return [`-device ${model},drive=disk${this.#disks++}${place}`];
      case 'pcie-root-port':
        return [`-device ${model},chassis=${++this.#bridges}${place}`];
      case 'pci-bridge':
        return [`-device ${model},chassis_nr=${++this.#bridges}${place}`];
      case 'AC97': {
        const audio = `audio${this.#sounds++}`;
        return [`-audiodev none,id=${audio}`, `-device ${model},audiodev=${audio}${place}`];
      }
      default:
        return [`-device ${model}${place}`];
    }
  }

  #network(model: string, idstr: string, place: string): string[] {
    const id = `net${this.#networks++}`;
    // The option ROM is a RAM block of its own: without it the device had none.
    const path = idstr.slice(0, idstr.lastIndexOf('/') + 1);
    const rom = this.#blocks.some((block) => block.startsWith(path) && block.endsWith('.rom'))
      ? ''
      : ',romfile=';
    if (!this.#userNetwork) return [`-device ${model}${rom}${place}`];
    return [`-netdev user,id=${id}`, `-device ${model},netdev=${id}${rom}${place}`];
  }

  notes(): string[] {
    return [
      ...(this.#networks > 0 && !this.#userNetwork
        ? ['network devices need the kind of -netdev that they had at the source']
        : []),
      ...(this.#bridges > 0
        ? ['bridges and root ports need the chassis, port and slot numbers that they had at the source']
        : []),
      ...(this.#disks > 0
        ? ['disk contents are not in the file: add a -blockdev with the node name of each drive=']
        : []),
    ];
  }
}

/** `,addr=…` (and `,bus=…`) for the place in an idstr; an id is given to what has something behind it. */
function pciPlace(idstr: string): string | undefined {
  const match = /^[0-9a-f]{4}:00((?::[0-9a-f]{2}\.[0-7])+)\/[^/]+$/.exec(idstr);
  if (match === null) return undefined;
  const places = match[1]!.slice(1).split(':');
  const [slot, fn] = places.at(-1)!.split('.') as [string, string];
  const id = (path: readonly string[]) => `pci-${path.join('-').replaceAll('.', '_')}`;
  const bus = places.length > 1 ? `,bus=${id(places.slice(0, -1))}` : '';
  const bridge = BRIDGE.test(idstr) ? `,id=${id(places)}` : '';
  const slotNumber = Number.parseInt(slot, 16).toString(16);
  return `${bridge}${bus},addr=${slotNumber}${fn === '0' ? '' : `.${fn}`}`;
}
