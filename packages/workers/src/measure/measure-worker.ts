import { MigrationError } from '@pageferry/core';
import { TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import { MULTIFD_PAYLOAD_LIMIT_BYTES } from '@pageferry/core/wire';
import { PACKET_PAGES_BYTES, type PageCompressor, type PageDecompressor } from '../codecs/codec.ts';
import { CODECS, createCompressor, createDecompressor } from '../codecs/registry.ts';
import { Gate } from './gate.ts';
import type { Setting } from './settings.ts';

/** What one thread of a round is given; all memory is shared. */
export interface RoundTask {
  readonly setting: Setting;
  /** The sample's pages. */
  readonly pages: SharedArrayBuffer;
  /** First page and number of pages of each packet. */
  readonly packets: Uint32Array<SharedArrayBuffer>;
  /** Memory of a destination: as large as `pages`. */
  readonly destination: SharedArrayBuffer;
  /** The number of the next packet that nobody has taken. */
  readonly nextPacket: Int32Array<SharedArrayBuffer>;
  readonly gate: SharedArrayBuffer;
  /** After this time no further packet is begun. */
  readonly limitMs: number;
  /** But all threads together compress this many, if there are as many. */
  readonly leastPackets: number;
  /** Whether code and memory are to be warmed up before the clock runs. */
  readonly warmUp: boolean;
  /** Whether the pages that come out are compared with those that went in. */
  readonly verify: boolean;
}

/** What one thread did. Times are those of the machine's monotonic clock, ms. */
export interface RoundPart {
  /** The packets that it took, in order, and the bytes of their payloads. */
  readonly packets: readonly number[];
  readonly payloadBytes: readonly number[];
  readonly compressStartMs: number;
  readonly compressEndMs: number;
  readonly decompressStartMs: number;
  readonly decompressEndMs: number;
}

const WARM_UP_PACKETS = 8;
const WARM_UP_LIMIT_MS = 100;
const ARENA_BYTES = 16 * MULTIFD_PAYLOAD_LIMIT_BYTES;

/** Payloads lie one behind the other, as they would on their way to a socket; kept from round to round. */
const arenas: Buffer[] = [];

/** One channel of a round: compresses the packets that it takes, and then decompresses their payloads in order. */
export default async function runRound(task: RoundTask): Promise<RoundPart> {
  const gate = new Gate(task.gate);
  try {
    const codec = CODECS[task.setting.codec];
    const { backend, level } = task.setting;
    // A migration that asks for nothing has the default on either side; who asks for a backend, asks on both.
    const isDefault = backend === codec.compressBackends[0];
    const decompressBackend = isDefault ? undefined : codec.decompressBackends.find((one) => one === backend);
    const create = async (): Promise<Pair> => ({
      compressor: await createCompressor(codec, level, backend),
      decompressor: await createDecompressor(codec, decompressBackend),
    });
    if (task.warmUp) await warmUp(task, await create());
    const pair = await create();
    try {
      return await new MeasuredChannel(task, pair).run(gate);
    } finally {
      close(pair);
    }
  } catch (error) {
    // The others would wait for this one for ever.
    gate.abandon();
    throw MigrationError.from(error, 'internal').toPlain();
  }
}

/** Neither is there for `none`: pages go through with one copy on either side, as the kernel makes them. */
interface Pair {
  readonly compressor: PageCompressor | undefined;
  readonly decompressor: PageDecompressor | undefined;
}

function close({ compressor, decompressor }: Pair): void {
  compressor?.close();
  decompressor?.close();
}

class MeasuredChannel {
  readonly #task: RoundTask;
  readonly #pair: Pair;
  readonly #source: Buffer;
  readonly #destination: Buffer;
  /** Packets that this channel took, and their payloads, both in order. */
  readonly #taken: number[] = [];
  readonly #payloads: Uint8Array[] = [];
  #arena = 0;
  #arenaUsed = 0;

  constructor(task: RoundTask, pair: Pair) {
    this.#task = task;
    this.#pair = pair;
    this.#source = Buffer.from(task.pages);
    this.#destination = Buffer.from(task.destination);
  }

  async run(gate: Gate): Promise<RoundPart> {
    pass(gate);
    const compressStartMs = nowMs();
    const inWork = this.#pair.compressor?.concurrency ?? 1;
    await Promise.all(Array.from({ length: inWork }, () => this.#compress(compressStartMs, inWork > 1)));
    const compressEndMs = nowMs();
    pass(gate);
    const decompressStartMs = nowMs();
    this.#decompress();
    const decompressEndMs = nowMs();
    pass(gate);
    if (this.#task.verify) this.#verify();
    return {
      packets: this.#taken,
      payloadBytes: this.#payloads.map(({ length }) => length),
      compressStartMs,
      compressEndMs,
      decompressStartMs,
      decompressEndMs,
    };
  }

  /**
   * Takes packets until none is left or the time is over.
   *
   * @param shared whether others do the same for this channel at the same time
   */
  async #compress(startMs: number, shared: boolean): Promise<void> {
    const { packets, nextPacket, limitMs, leastPackets } = this.#task;
    const { compressor } = this.#pair;
    const count = packets.length / 2;
    // A byte longer than a packet: `Buffer.copy` of a whole buffer takes a slower way.
    const pages = Buffer.alloc(PACKET_PAGES_BYTES + 1);
    const ownTarget = shared ? Buffer.alloc(MULTIFD_PAYLOAD_LIMIT_BYTES) : undefined;
    while (nowMs() - startMs <= limitMs || Atomics.load(nextPacket, 0) < leastPackets) {
      const packet = Atomics.add(nextPacket, 0, 1);
      if (packet >= count) return;
      const at = packets[packet * 2]! * TARGET_PAGE_BYTES;
      const bytes = packets[packet * 2 + 1]! * TARGET_PAGE_BYTES;
      const index = this.#taken.push(packet) - 1;
      if (compressor === undefined) {
        const target = this.#room();
        this.#source.copy(target, 0, at, at + bytes);
        this.#payloads[index] = this.#take(bytes);
        continue;
      }
      // A compressor must not see a page change: it works on a copy, in a migration too.
      this.#source.copy(pages, 0, at, at + bytes);
      const made = compressor.compress(pages.subarray(0, bytes), ownTarget ?? this.#room());
      const payload = made instanceof Uint8Array ? made : await made;
      // What was made elsewhere has its place behind the others only now.
      if (ownTarget !== undefined) this.#room().set(payload);
      this.#payloads[index] = this.#take(payload.length);
    }
  }

  #decompress(): void {
    const { packets } = this.#task;
    const place = { channel: 'bench', offset: 0 };
    for (const [index, packet] of this.#taken.entries()) {
      const bytes = packets[packet * 2 + 1]! * TARGET_PAGE_BYTES;
      const payload = this.#payloads[index]!;
      const pages = this.#pair.decompressor?.decompress(payload, bytes, place) ?? payload;
      const at = packets[packet * 2]! * TARGET_PAGE_BYTES;
      Buffer.from(pages.buffer, pages.byteOffset, bytes).copy(this.#destination, at);
    }
  }

  #verify(): void {
    for (const packet of this.#taken) {
      const at = this.#task.packets[packet * 2]! * TARGET_PAGE_BYTES;
      const end = at + this.#task.packets[packet * 2 + 1]! * TARGET_PAGE_BYTES;
      if (this.#source.compare(this.#destination, at, end, at, end) === 0) continue;
      throw new MigrationError('verify-failed', 'decompressed pages are not those that were compressed', {
        found: `a difference in packet ${packet}`,
      });
    }
  }

  /** Room for a payload, behind the one before. */
  #room(): Buffer {
    arenas[this.#arena] ??= Buffer.alloc(ARENA_BYTES);
    if (ARENA_BYTES - this.#arenaUsed < MULTIFD_PAYLOAD_LIMIT_BYTES) {
      this.#arena++;
      this.#arenaUsed = 0;
      arenas[this.#arena] ??= Buffer.alloc(ARENA_BYTES);
    }
    const target = arenas[this.#arena]!;
    return target.subarray(this.#arenaUsed, this.#arenaUsed + MULTIFD_PAYLOAD_LIMIT_BYTES);
  }

  /** Takes the first bytes of the room. */
  #take(bytes: number): Uint8Array {
    const payload = arenas[this.#arena]!.subarray(this.#arenaUsed, this.#arenaUsed + bytes);
    this.#arenaUsed += bytes;
    return payload;
  }
}

/** Lets the compiler see the code before it is measured: JavaScript codecs gain most of their speed then. */
async function warmUp({ pages, packets }: RoundTask, { compressor, decompressor }: Pair): Promise<void> {
  if (compressor === undefined) return;
  const target = Buffer.alloc(MULTIFD_PAYLOAD_LIMIT_BYTES);
  const place = { channel: 'bench', offset: 0 };
  const startMs = nowMs();
  for (let packet = 0; packet < Math.min(WARM_UP_PACKETS, packets.length / 2); packet++) {
    if (nowMs() - startMs > WARM_UP_LIMIT_MS) break;
    const at = packets[packet * 2]! * TARGET_PAGE_BYTES;
    const bytes = packets[packet * 2 + 1]! * TARGET_PAGE_BYTES;
    const copy = Buffer.alloc(bytes);
    Buffer.from(pages).copy(copy, 0, at, at + bytes);
    decompressor?.decompress(await compressor.compress(copy, target), bytes, place);
  }
  close({ compressor, decompressor });
}

function pass(gate: Gate): void {
  if (!gate.pass()) throw new MigrationError('cancelled', 'another thread of the round has failed');
}

function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
