import { parentPort, workerData } from 'node:worker_threads';
import { Vcpu, type VcpuData } from './vcpu.ts';

/** What a vCPU's thread does with its RAM before it is ready. */
export type VcpuBoot = 'fill' | 'touch' | 'touch-and-fill' | 'none';

const { boot, ...data } = workerData as VcpuData & { boot: VcpuBoot };
const vcpu = new Vcpu(data);
if (boot === 'touch' || boot === 'touch-and-fill') vcpu.touch();
if (boot === 'fill' || boot === 'touch-and-fill') vcpu.fill();
parentPort?.postMessage('ready');
// From here on the thread is driven by shared memory alone, and ends by being terminated.
vcpu.execute();
