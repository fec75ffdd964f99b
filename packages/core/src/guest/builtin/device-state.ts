import { MigrationError } from '../../error.ts';
import { TARGET_PAGE_BYTES } from '../../memory/ram-block.ts';
import {
  decodeRunState,
  encodeGlobalState,
  GLOBAL_STATE,
  GLOBAL_STATE_BYTES,
  RUN_STATE_BYTES,
} from '../../wire/global-state.ts';
import type { DeviceSection } from '../../wire/messages.ts';
import type { DeviceState } from '../contract.ts';
import { formatMac, isGroupMac, MAC_BYTES } from '../network/mac.ts';
import { CONTENT_MIXES } from './content.ts';
import { type BlockHash, HASH_ALGORITHM, HASH_KEY_BYTES } from './hash.ts';
import type { VcpuState } from './machine-state.ts';
import { type BuiltinMachineOptions, type MachineConfig, machineConfig, WORKLOADS } from './options.ts';

/**
 * The device sections of the built-in machine, big-endian as QEMU's:
 *
 *   builtin-cpu (one per vCPU, by instance id)
 *     u64 writes, u32 sum of versions modulo 2^32, u32 cursor, u32[4] random generator
 *   builtin-workload
 *     the options as JSON
 *   builtin-nic (only of a machine that has one)
 *     u8[6] MAC address
 *   builtin-verify (only when asked for)
 *     the hashes of all RAM blocks at the switch-over as JSON
 *   globalstate, as QEMU 10's
 */
export const BUILTIN_MACHINE = 'pageferry-builtin-10.0';
export const RAM_SECTION_ID = 2;

const CPU = 'builtin-cpu';
const WORKLOAD = 'builtin-workload';
const NIC = 'builtin-nic';
const VERIFY = 'builtin-verify';
const CPU_BYTES = 32;

/** A stopped machine, without its RAM. */
export interface MachineImage {
  readonly config: MachineConfig;
  readonly vcpus: readonly VcpuState[];
  /** Whether it ran before it was stopped for the migration. */
  readonly running: boolean;
  /** MAC address of its NIC, if it has one. */
  readonly mac?: Uint8Array;
  readonly verify?: VerifyRecord;
}

interface VerifyRecord {
  readonly key: Uint8Array;
  readonly blocks: readonly BlockHash[];
}

interface Field {
  readonly name: string;
  readonly type: string;
  readonly size: number;
  readonly array_len?: number;
}

interface Device {
  readonly name: string;
  readonly instanceId: number;
  readonly fields: readonly Field[];
  readonly data: Uint8Array;
}

export function encodeMachine(image: MachineImage): DeviceState {
  const devices: Device[] = image.vcpus.map(cpuDevice);
  devices.push(jsonDevice(WORKLOAD, 'options', optionsOf(image.config)));
  if (image.mac !== undefined) devices.push(nicDevice(image.mac));
  if (image.verify !== undefined) {
    const key = Buffer.from(image.verify.key).toString('hex');
    devices.push(
      jsonDevice(VERIFY, 'hashes', { algorithm: HASH_ALGORITHM, key, blocks: image.verify.blocks }),
    );
  }
  devices.push(globalState(image.running ? 'running' : 'paused'));
  const sections = devices.map((device, index): DeviceSection => {
    const { name, instanceId, data } = device;
    return { sectionId: RAM_SECTION_ID + 1 + index, idstr: name, instanceId, versionId: 1, data };
  });
  return { early: [], sections, vmdesc: vmdesc(devices) };
}

/** @param memoryBytes size of the RAM that came with it
 * @throws MigrationError `bad-device-state` */
export function decodeMachine(state: DeviceState, memoryBytes: number): MachineImage {
  const cpus: DeviceSection[] = [];
  const others = new Map<string, DeviceSection>();
  for (const section of [...state.early, ...state.sections]) {
    const { idstr, instanceId, versionId } = section;
    if (![CPU, WORKLOAD, NIC, VERIFY, GLOBAL_STATE].includes(idstr)) throw bad(`there is no device ${idstr}`);
    if (versionId !== 1) throw bad(`section ${idstr} has version ${versionId}, only 1 is known`);
    const twice = idstr === CPU ? cpus[instanceId] !== undefined : others.has(idstr);
    if (twice) throw bad(`section ${idstr}, instance ${instanceId}, came twice`);
    if (idstr !== CPU) others.set(idstr, section);
    else if (instanceId === cpus.length) cpus.push(section);
    else throw bad(`section ${idstr}, instance ${instanceId}, is out of order`);
  }
  const config = decodeOptions(need(others, WORKLOAD), memoryBytes);
  if (config.vcpus !== cpus.length) {
    throw bad(`there is state of ${cpus.length} vCPUs, the machine has ${config.vcpus}`);
  }
  const nic = others.get(NIC);
  const hashes = others.get(VERIFY);
  return {
    config,
    vcpus: cpus.map(decodeCpu),
    running: decodeGlobalState(need(others, GLOBAL_STATE)) === 'running',
    ...(nic !== undefined && { mac: decodeNic(nic) }),
    verify: hashes === undefined ? undefined : decodeVerify(hashes),
  };
}

function cpuDevice(state: VcpuState, instanceId: number): Device {
  const data = new Uint8Array(CPU_BYTES);
  const view = new DataView(data.buffer);
  view.setBigUint64(0, BigInt(state.writes));
  view.setInt32(8, state.versionSum);
  view.setInt32(12, state.cursor);
  state.random.forEach((word, index) => {
    view.setInt32(16 + index * 4, word);
  });
  const fields = [
    { name: 'writes', type: 'uint64', size: 8 },
    { name: 'version_sum', type: 'uint32', size: 4 },
    { name: 'cursor', type: 'uint32', size: 4 },
    { name: 'random', array_len: 4, type: 'uint32', size: 4 },
  ];
  return { name: CPU, instanceId, fields, data };
}

function decodeCpu(section: DeviceSection): VcpuState {
  const { data } = section;
  if (data.length !== CPU_BYTES) throw wrongLength(section, CPU_BYTES);
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const writes = view.getBigUint64(0);
  const cursor = view.getInt32(12);
  if (writes > BigInt(Number.MAX_SAFE_INTEGER) || cursor < 0) {
    throw bad(`the state of vCPU ${section.instanceId} is out of range`);
  }
  const random = Int32Array.from({ length: 4 }, (_, index) => view.getInt32(16 + index * 4));
  return { writes: Number(writes), versionSum: view.getInt32(8), cursor, random };
}

function nicDevice(mac: Uint8Array): Device {
  const fields = [{ name: 'mac', type: 'buffer', size: MAC_BYTES }];
  return { name: NIC, instanceId: 0, fields, data: mac };
}

function decodeNic(section: DeviceSection): Uint8Array {
  if (section.data.length !== MAC_BYTES) throw wrongLength(section, MAC_BYTES);
  if (isGroupMac(section.data))
    throw bad(`section ${NIC} has the multicast address ${formatMac(section.data)}`);
  return section.data.slice();
}

function optionsOf(config: MachineConfig): Omit<BuiltinMachineOptions, 'memoryBytes'> {
  return {
    vcpus: config.vcpus,
    dirtyRateBytesPerSecond: config.dirtyRateBytesPerSecond,
    workload: WORKLOADS[config.workload],
    workingSetBytes: config.workingSetPages * TARGET_PAGE_BYTES,
    content: CONTENT_MIXES[config.content],
    seed: config.seed,
    verify: config.verify,
  };
}

function decodeOptions(section: DeviceSection, memoryBytes: number): MachineConfig {
  const json = parseJson(section) as Omit<BuiltinMachineOptions, 'memoryBytes'>;
  try {
    return machineConfig({ ...json, uuid: undefined, verify: json.verify === true, memoryBytes });
  } catch (error) {
    throw new MigrationError('bad-device-state', `section ${WORKLOAD}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function decodeVerify(section: DeviceSection): VerifyRecord {
  const { algorithm, key, blocks } = parseJson(section);
  if (algorithm !== HASH_ALGORITHM) {
    throw new MigrationError('bad-device-state', `section ${VERIFY} has another hash`, {
      found: String(algorithm).slice(0, 64),
      expected: HASH_ALGORITHM,
    });
  }
  const keyBytes = Buffer.from(String(key), 'hex');
  if (keyBytes.length !== HASH_KEY_BYTES || !Array.isArray(blocks))
    throw bad(`section ${VERIFY} is malformed`);
  return {
    key: keyBytes,
    blocks: blocks.map((block: unknown) => {
      const { idstr, digest } = (block ?? {}) as Partial<BlockHash>;
      if (typeof idstr !== 'string' || typeof digest !== 'string')
        throw bad(`section ${VERIFY} is malformed`);
      return { idstr, digest };
    }),
  };
}

function globalState(runState: string): Device {
  const fields = [
    { name: 'size', type: 'uint32', size: 4 },
    { name: 'runstate', type: 'buffer', size: RUN_STATE_BYTES },
    { name: 'has_vm_was_suspended', type: 'uint8', size: 1 },
    { name: 'vm_was_suspended', type: 'uint8', size: 1 },
    { name: 'unused', type: 'buffer', size: 66 },
  ];
  return { name: GLOBAL_STATE, instanceId: 0, fields, data: encodeGlobalState(runState) };
}

function decodeGlobalState(section: DeviceSection): string {
  if (section.data.length !== GLOBAL_STATE_BYTES) throw wrongLength(section, GLOBAL_STATE_BYTES);
  const runState = decodeRunState(section.data);
  if (runState === undefined) throw bad(`section ${GLOBAL_STATE} has no run state`);
  return runState;
}

function jsonDevice(name: string, field: string, value: unknown): Device {
  const data = new TextEncoder().encode(JSON.stringify(value));
  return { name, instanceId: 0, fields: [{ name: field, type: 'buffer', size: data.length }], data };
}

function parseJson(section: DeviceSection): Record<string, unknown> {
  if (section.data.length > 65536) throw bad(`section ${section.idstr} has ${section.data.length} bytes`);
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(section.data));
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch (error) {
    throw new MigrationError('bad-device-state', `section ${section.idstr} is no JSON`, { cause: error });
  }
  throw bad(`section ${section.idstr} is no object`);
}

/** The description that lets a reader find each section's end. */
function vmdesc(devices: readonly Device[]): Uint8Array {
  const configuration = {
    vmsd_name: 'configuration',
    version: 1,
    fields: [
      { name: 'len', type: 'uint32', size: 4 },
      { name: 'name', type: 'buffer', size: BUILTIN_MACHINE.length },
    ],
  };
  const described = devices.map(({ name, instanceId, fields }) => {
    return { name, instance_id: instanceId, vmsd_name: name, version: 1, fields };
  });
  return new TextEncoder().encode(
    JSON.stringify({ configuration, page_size: TARGET_PAGE_BYTES, devices: described }),
  );
}

function need(sections: ReadonlyMap<string, DeviceSection>, name: string): DeviceSection {
  const section = sections.get(name);
  if (section === undefined) throw bad(`there is no section ${name}`);
  return section;
}

function wrongLength(section: DeviceSection, expected: number): MigrationError {
  return new MigrationError('bad-device-state', `section ${section.idstr} has the wrong length`, {
    found: `${section.data.length} bytes`,
    expected: `${expected} bytes`,
  });
}

function bad(message: string): MigrationError {
  return new MigrationError('bad-device-state', message);
}
