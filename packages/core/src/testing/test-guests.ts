import type { DeviceState, Guest, IncomingDescription, IncomingGuest } from '../guest/contract.ts';
import { RunControl } from '../guest/run-control.ts';
import { DirtyBitmap } from '../memory/dirty-bitmap.ts';
import { RamBlock, type RamBlockMemory, TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { encodeText } from '../wire/text.ts';

/** A device section and the description that proves its end. */
export function deviceState(bytes = 24): DeviceState {
  const data = Uint8Array.from({ length: bytes }, (_, i) => i);
  const field = { name: 'data', size: bytes, type: 'buffer' };
  const description = {
    page_size: 4096,
    devices: [{ name: 'timer', instance_id: 0, size: bytes, fields: [field] }],
  };
  const section = { sectionId: 9, idstr: 'timer', instanceId: 0, versionId: 2, data };
  return { early: [], sections: [section], vmdesc: encodeText(JSON.stringify(description)) };
}

/** A guest whose one vCPU is the test: it writes through `write` while `running` says so. */
export class TestGuest implements Guest {
  readonly machine: string;
  readonly ramSectionId = 2;
  readonly uuid = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
  readonly control = RunControl.create(0);
  readonly blocks = [
    RamBlock.allocate('pc.ram', 300 * TARGET_PAGE_BYTES),
    RamBlock.allocate('pc.rom', 8 * TARGET_PAGE_BYTES),
  ];
  readonly calls: string[] = [];
  /** Blocks that are mapped shared. */
  shared: readonly string[] = [];
  /** Why it cannot be migrated. */
  reasons: string[] = [];
  /** Devices that must leave first; each does when `letGo` resolves. */
  primaries: string[] = [];
  letGo: Promise<void> = Promise.resolve();
  readonly #bitmaps = this.blocks.map((block) => new DirtyBitmap(block.pageCount));

  constructor(machine = 'pc-i440fx-10.0') {
    this.machine = machine;
    for (const block of this.blocks) {
      for (let page = 0; page < block.pageCount; page += 2)
        block.bytes.fill(page + 1, page * 4096, page * 4096 + 999);
    }
    this.control.start();
  }

  get memory() {
    return {
      blocks: sharedAs(this.blocks, this.shared),
      dirtyLog: { kind: 'write-barrier' as const, bitmaps: this.#bitmaps.map((bitmap) => bitmap.buffer) },
      runControl: this.control.buffer,
    };
  }

  /** One write of the guest: marked dirty after it. */
  write(page: number, value: number): void {
    if (!this.control.running) return;
    this.blocks[0]!.bytes.fill(value, page * 4096, page * 4096 + 100);
    this.#bitmaps[0]!.set(page);
  }

  async saveDeviceState(): Promise<DeviceState> {
    this.calls.push('save');
    return deviceState();
  }

  async inactivate(): Promise<void> {
    this.calls.push('inactivate');
  }

  async activate(): Promise<void> {
    this.calls.push('activate');
  }

  blockers(): string[] {
    return this.reasons;
  }

  async unplugPrimary(deviceId: string): Promise<void> {
    this.calls.push(`unplug ${deviceId}`);
    await this.letGo;
  }

  async replugPrimary(deviceId: string): Promise<void> {
    this.calls.push(`replug ${deviceId}`);
  }
}

/** Blocks for another thread, some of them mapped shared at guest address 1 GiB. */
function sharedAs(blocks: readonly RamBlock[], names: readonly string[]): RamBlockMemory[] {
  return blocks.map((block) => {
    const memory = block.toMemory();
    return names.includes(block.idstr)
      ? { ...memory, shared: true, guestPhysicalAddress: 2n ** 30n }
      : memory;
  });
}

/** A destination that takes whatever blocks are announced. */
export class TestTarget implements IncomingGuest {
  blocks: RamBlock[] = [];
  state: DeviceState | undefined;
  description: IncomingDescription | undefined;
  started = false;
  discarded = false;
  loadError: Error | undefined;
  /** Blocks that are mapped shared. */
  shared: readonly string[] = [];
  partial = false;
  absent: readonly string[] | undefined;
  /** Set to have a say in when the source may switch over. */
  readyForSwitchover?: () => Promise<void>;

  async prepare(description: IncomingDescription) {
    this.description = description;
    this.blocks = description.blocks.map((block) => RamBlock.allocate(block.idstr, block.usedLengthBytes));
    const { partial } = this;
    return { blocks: sharedAs(this.blocks, this.shared), dirtyLog: { kind: 'none' as const }, partial };
  }

  async load(state: DeviceState, absent?: readonly string[]): Promise<void> {
    this.absent = absent;
    if (this.loadError !== undefined) throw this.loadError;
    this.state = state;
  }

  async start(): Promise<boolean> {
    this.started = true;
    return true;
  }

  async discard(): Promise<void> {
    this.discarded = true;
  }
}
