import assert from 'node:assert/strict';
import test from 'node:test';
import { deviceOptions } from './device-options.ts';
import { adviseLoad } from './load-advice.ts';
import type { BlockReport, CaptureReport, DeviceReport } from './report.ts';

const MIB = 1024 * 1024;
const BOARD = ['timer', 'cpu_common', 'cpu', 'hpet', 'acpi_build', '0000:00:01.1/ide', 'globalstate'];

function device(idstr: string): DeviceReport {
  return { idstr, sectionId: 1, instanceId: 0, versionId: 1, offset: 0, bytes: 1, early: false };
}

function block(idstr: string, bytes: number): BlockReport {
  const pages = bytes / 4096;
  const counts = {
    zeroPages: pages,
    uniquePages: 0,
    duplicatePages: 0,
    pagesInFile: 0,
    compressedRecords: 0,
    zeroRecords: 0,
    xbzrleRecords: 0,
    missingPages: 0,
  };
  return { idstr, bytes, pages, ...counts };
}

function report(
  machine: string,
  blocks: BlockReport[],
  devices: string[],
  more: Partial<CaptureReport> = {},
): CaptureReport {
  const pages = block('', 0);
  return {
    path: '/srv/guest.img',
    fileBytes: 1,
    format: 'stream',
    configuration: { offset: 8, bytes: 1, machine, capabilities: [] },
    ram: { sectionId: 2, offset: 9, totalBytes: 0, blocks, pages },
    commands: [],
    devices: devices.map(device),
    ...more,
  };
}

test('devices are told by name and place', () => {
  const idstrs = [
    ...BOARD,
    'serial',
    'serial',
    'parallel_isa',
    '0000:00:02.0/vga',
    '0000:00:1e.5/virtio-rng',
    '0000:00:05.0/virtio-blk',
    '0000:00:06.0/virtio-blk',
    '0000:00:07.0/ac97',
  ];
  assert.deepEqual(deviceOptions(idstrs.map(device), []), {
    options: [
      '-serial null',
      '-serial null',
      '-parallel null',
      '-device VGA,addr=2',
      '-device virtio-rng-pci,addr=1e.5',
      '-device virtio-blk-pci,drive=disk0,addr=5',
      '-device virtio-blk-pci,drive=disk1,addr=6',
      '-audiodev none,id=audio0',
      '-device AC97,audiodev=audio0,addr=7',
    ],
    unknown: [],
    notes: ['disk contents are not in the file: add a -blockdev with the node name of each drive='],
  });
});

test('devices behind bridges get the bus of their bridge', () => {
  const idstrs = [
    '0000:00:04.0/pcie-root-port',
    '0000:00:04.0:00.0/virtio-rng',
    '0000:00:1c.0/pci_bridge',
    '0000:00:1c.0:03.0/pci_bridge',
    '0000:00:1c.0:03.0:01.0/virtio-balloon',
  ];
  const { options, notes } = deviceOptions(idstrs.map(device), []);
  assert.deepEqual(options, [
    '-device pcie-root-port,chassis=1,id=pci-04_0,addr=4',
    '-device virtio-rng-pci,bus=pci-04_0,addr=0',
    '-device pci-bridge,chassis_nr=2,id=pci-1c_0,addr=1c',
    '-device pci-bridge,chassis_nr=3,id=pci-1c_0-03_0,bus=pci-1c_0,addr=3',
    '-device virtio-balloon-pci,bus=pci-1c_0-03_0,addr=1',
  ]);
  assert.match(notes.join(), /chassis/);
});

test('a network device has a ROM when there is a block for it, and the user network when there is slirp', () => {
  const idstrs = ['0000:00:03.0/virtio-net', '0000:00:04.0/e1000'].map(device);
  const blocks = [block('0000:00:03.0/virtio-net-pci.rom', 4096)];
  assert.deepEqual(deviceOptions(idstrs, blocks).options, [
    '-device virtio-net-pci,addr=3',
    '-device e1000,romfile=,addr=4',
  ]);
  assert.match(deviceOptions(idstrs, blocks).notes.join(), /-netdev/);
  assert.deepEqual(deviceOptions([device('slirp'), ...idstrs], blocks).options, [
    '-netdev user,id=net0',
    '-device virtio-net-pci,netdev=net0,addr=3',
    '-netdev user,id=net1',
    '-device e1000,netdev=net1,romfile=,addr=4',
  ]);
});

test('sections that no option is known for are listed', () => {
  const idstrs = [
    '0000:00:01.2/xhci',
    '0000:00:01.2/1/usb-ptr',
    'fancy',
    '0001:00:02.0/e1000',
    '0000:05:02.0/e1000',
  ];
  const { options, unknown } = deviceOptions(idstrs.map(device), []);
  assert.deepEqual(unknown, ['0000:00:01.2/xhci', '0000:00:01.2/1/usb-ptr', 'fancy', '0000:05:02.0/e1000']);
  assert.deepEqual(options, ['-device e1000,romfile=,addr=2']);
  const advice = adviseLoad(report('pc-q35-9.0', [block('pc.ram', MIB)], idstrs));
  assert.match(advice!.notes.join('\n'), /these sections belong to, at the same places: .*fancy/);
});

test('a PC with SeaBIOS, ACPI and several CPUs needs neither -bios nor acpi=off', () => {
  const blocks = [block('pc.ram', 512 * MIB), block('pc.bios', 256 * 1024)];
  const advice = adviseLoad(report('pc-q35-8.2', blocks, [...BOARD, 'cpu_common', 'cpu']));
  assert.equal(
    advice?.commandLine,
    'qemu-system-x86_64 -machine pc-q35-8.2 -m 512M -smp 2 -nodefaults -incoming file:/srv/guest.img',
  );
  assert.equal(advice.minimumQemuVersion, '8.2');
});

test('what is missing is switched off', () => {
  const advice = adviseLoad(
    report('pc-i440fx-9.0', [block('pc.ram', 3 * MIB + 4096)], ['timer', 'cpu_common']),
  );
  assert.match(advice!.commandLine, / -machine pc-i440fx-9\.0,acpi=off,hpet=off -m 3076K /);
});

test('main memory of another name is a memory backend', () => {
  const blocks = [block('pc.bios', 256 * 1024), block('/objects/main mem', 64 * MIB)];
  const advice = adviseLoad(report('pc-q35-9.0', blocks, BOARD));
  assert.match(advice!.commandLine, / -machine 'pc-q35-9\.0,memory-backend=main mem' -m 64M /);
  assert.match(advice!.commandLine, / -object 'memory-backend-ram,id=main mem,size=64M' /);
});

test('other machines get what is known of them', () => {
  const arm = adviseLoad(report('virt-9.1', [block('mach-virt.ram', 256 * MIB)], ['timer']));
  assert.equal(
    arm?.commandLine,
    'qemu-system-ARCH -machine virt-9.1 -m 256M -nodefaults -incoming file:/srv/guest.img',
  );
  const none = adviseLoad(report('isapc', [block('pc.ram', 16 * MIB)], ['timer']));
  assert.equal(none?.minimumQemuVersion, undefined);
  assert.match(none!.commandLine, /-incoming 'exec:cat \/srv\/guest\.img'$/);
});

test('a word from the file cannot leave its place in the command line', () => {
  const path = "/srv/it's; rm -rf $HOME";
  const machine = 'pc-q35-7.2; reboot-7.2';
  const advice = adviseLoad(report(machine, [block('pc.ram', MIB)], BOARD, { path }));
  assert.match(advice!.commandLine, / -machine 'pc-q35-7\.2; reboot-7\.2' /);
  assert.ok(
    advice!.commandLine.endsWith(
      String.raw`-incoming 'exec:cat '\''/srv/it'\''\'\'''\''s; rm -rf $HOME'\'''`,
    ),
    advice!.commandLine,
  );
});

test('a stream of compressed pages needs the capability, which QEMU had up to 9.0', () => {
  const pages = { ...block('', 0), compressedRecords: 3 };
  const plain = report('pc-q35-7.2', [block('pc.ram', MIB)], BOARD);
  const advice = adviseLoad({ ...plain, ram: { ...plain.ram!, pages } })!;
  assert.match(advice.commandLine, / -incoming defer$/);
  assert.match(advice.qmp[1]!, /"capability":"compress","state":true/);
  assert.match(advice.qmp[2]!, /"uri":"exec:cat \/srv\/guest.img"/);
  assert.match(advice.notes.join('\n'), /QEMU from 9\.1 on/);
});

test('KVM, shared memory and a guest that stood still are noted', () => {
  const base = report('pc-q35-9.0', [block('pc.ram', MIB)], [...BOARD, 'kvmclock']);
  const advice = adviseLoad({
    ...base,
    runState: 'paused',
    configuration: { ...base.configuration!, capabilities: ['x-ignore-shared'] },
  });
  const notes = advice!.notes.join('\n');
  assert.match(notes, /add -accel kvm/);
  assert.match(notes, /the guest was paused/);
  assert.match(notes, /x-ignore-shared/);
});

test('there is no advice without configuration or RAM', () => {
  const whole = report('pc-q35-9.0', [block('pc.ram', MIB)], BOARD);
  assert.equal(adviseLoad({ ...whole, configuration: undefined }), undefined);
  assert.equal(adviseLoad({ ...whole, ram: undefined }), undefined);
});
