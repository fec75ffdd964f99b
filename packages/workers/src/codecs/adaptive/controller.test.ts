import assert from 'node:assert/strict';
import test from 'node:test';
import { SharedPrice } from '../../channels/shared-price.ts';
import { AdaptiveController } from './controller.ts';
import { type CodecPrior, RAW } from './estimates.ts';

/*
 * The controller in a simulated channel: codecs of known cost, a link of known rate, a clock that only they move.
 * Times in ms, amounts in bytes; a packet is 512 KiB of pages.
 */

const PACKET = 512 * 1024;
/** [ms per packet, part that is left of usual pages] in the order of cost. */
const CODECS = [
  [0, 1],
  [1.4, 0.61],
  [1.5, 0.48],
  [2.5, 0.43],
  [6, 0.41],
  [15, 0.395],
] as const;
const [LZ4, ZSTD_1, ZSTD_3, , ZSTD_10] = [1, 2, 3, 4, 5];
const PRIORS: CodecPrior[] = CODECS.map(([ms, wire]) => ({
  msPerByte: ms / PACKET,
  depth: -Math.log(wire),
}));
const COPY_MS_PER_BYTE = 0.2 / PACKET;
/** What a socket takes before it blocks. */
const BUFFER = 2 * 2 ** 20;
/** The kernel counts the link's time in ticks. */
const TICK_MS = 4;
/** The controller is told of packets that took at least this long together, as by the compressor. */
const TOLD_MS = 2;

interface Channel {
  /** The link's rate at a time, MB/s. */
  readonly link: (ms: number) => number;
  /** The rate is a limit that everybody knows: jobs are held back. Otherwise the socket blocks. */
  readonly limited?: boolean;
  /** How much slower this machine is than the priors say. */
  readonly slower?: number;
  readonly depth?: (packet: number) => number;
  /** How often a thread loses its processor for 3 to 6 ms. */
  readonly stalls?: number;
}

class Simulation {
  readonly controller: AdaptiveController;
  readonly used = CODECS.map(() => 0);
  /** Of each packet. */
  readonly choices: number[] = [];
  ms = 0;
  readonly #channel: Channel;
  #seed = 1;
  #queued = 0;
  #budget = 0;
  #linkMs = 0;
  #arrived = 0;
  #toldMs = 0;
  #toldBytes = 0;
  // Since the controller was told.
  #since = { ms: 0, waitedMs: 0, writeMs: 0, wire: 0 };

  constructor(channel: Channel) {
    this.#channel = channel;
    const now = () => this.ms;
    this.controller = new AdaptiveController(PRIORS, {
      get limitBytesPerMs() {
        return channel.limited ? channel.link(now()) * 1000 : undefined;
      },
      now,
    });
  }

  /** Sends packets and returns the rate of pages, MB/s. @param fixed a codec for all, instead of the controller's */
  run(packets: number, fixed?: number): number {
    const start = this.ms;
    for (let i = 0; i < packets; i++) this.#packet(fixed);
    return (packets * PACKET) / (this.ms - start) / 1000;
  }

  #packet(fixed?: number): void {
    const { controller } = this;
    const { limited, slower = 1, depth = () => 1 } = this.#channel;
    let start = this.ms;
    if (limited && this.#budget < 0) this.#pass(-this.#budget / this.#rate);
    this.#stall();
    const waited = this.ms - start;
    this.#pass(0.05);
    const codec = fixed ?? controller.choose(controller.typicalDepth);
    this.used[codec]!++;
    this.choices.push(codec);
    const pages = depth(this.choices.length) * this.#around(0.2);
    const wire = Math.max(1, Math.round(PACKET * CODECS[codec]![1] ** pages));
    controller.begin(codec, controller.typicalDepth, PACKET);
    start = this.ms;
    if (codec !== RAW) {
      this.#pass(CODECS[codec]![0] * slower * this.#around(0.2));
      this.#stall();
      controller.compressed(codec, PACKET, wire, this.ms - start);
    }
    start = this.ms;
    this.#pass(wire * COPY_MS_PER_BYTE * this.#around(0.5));
    this.#stall();
    this.#give(wire);
    const since = this.#since;
    since.waitedMs += waited;
    since.writeMs += this.ms - start;
    since.wire += wire;
    if (this.ms - since.ms < TOLD_MS) return;
    this.#tellLink(since.wire);
    controller.observe(since.waitedMs, since.writeMs, since.wire);
    this.#since = { ms: this.ms, waitedMs: 0, writeMs: 0, wire: 0 };
  }

  #give(wire: number): void {
    if (this.#channel.limited) {
      this.#budget -= wire;
      return;
    }
    this.#queued += wire;
    if (this.#queued > BUFFER) this.#pass((this.#queued - BUFFER) / this.#rate);
  }

  #tellLink(wire: number): void {
    if (this.#channel.limited) {
      this.controller.link(wire * COPY_MS_PER_BYTE, wire);
      return;
    }
    const linkMs = Math.floor(this.#linkMs / TICK_MS) * TICK_MS;
    this.controller.link(linkMs - this.#toldMs, this.#arrived - this.#toldBytes);
    this.#toldMs = linkMs;
    this.#toldBytes = this.#arrived;
  }

  get #rate(): number {
    return this.#channel.link(this.ms) * 1000;
  }

  #pass(ms: number): void {
    const sent = Math.min(this.#queued, ms * this.#rate);
    this.#queued -= sent;
    this.#arrived += sent;
    this.#linkMs += sent / this.#rate;
    this.#budget = Math.min(this.#budget + ms * this.#rate, 100 * this.#rate);
    this.ms += ms;
  }

  #stall(): void {
    if (this.#random() < (this.#channel.stalls ?? 0)) this.#pass(3 + 3 * this.#random());
  }

  #around(spread: number): number {
    return 1 + spread * (this.#random() - 0.5);
  }

  #random(): number {
    this.#seed = (Math.imul(this.#seed, 1664525) + 1013904223) >>> 0;
    return this.#seed / 2 ** 32;
  }
}

/** Of one channel of two, Gb/s to MB/s. */
const half = (gbps: number) => (gbps * 1000) / 8 / 2;

for (const limited of [true, false]) {
  for (const [machine, more, least] of [
    ['', {}, 0.95],
    [', a machine half as fast', { slower: 2 }, 0.95],
    [', threads that lose their processors', { stalls: 0.05 }, 0.9],
  ] as const) {
    test(`${limited ? 'a limit' : 'a slow link'} of 0.1 to 25 Gb/s${machine}: as fast as the best codec`, () => {
      for (const gbps of [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25]) {
        const channel: Channel = { link: () => half(gbps), limited, ...more };
        const packets = Math.max(400, Math.min(4000, gbps * 400));
        const fixed = CODECS.map((_, codec) => new Simulation(channel).run(packets, codec));
        const best = Math.max(...fixed);
        const rate = new Simulation(channel).run(packets);
        assert.ok(rate > least * best, `${gbps} Gb/s: ${rate.toFixed(0)} of ${best.toFixed(0)} MB/s`);
      }
    });
  }
}

test('between two codecs a mixture is faster than either', () => {
  const channel: Channel = { link: () => half(5), limited: true };
  const rate = new Simulation(channel).run(2000);
  const best = Math.max(...CODECS.map((_, codec) => new Simulation(channel).run(2000, codec)));
  assert.ok(rate > 1.2 * best, `${rate} of ${best}`);
});

test('pages that go as they are, to make up for a busy thread, are spread: the others never wait for them', () => {
  const simulation = new Simulation({ link: () => half(5), limited: true });
  simulation.run(1000);
  const later = simulation.choices.slice(200);
  const runs = later
    .map((codec) => (codec === RAW ? 'r' : ' '))
    .join('')
    .split(/ +/)
    .map((run) => run.length);
  assert.ok(simulation.used[RAW]! > 100, `${simulation.used}`);
  assert.ok(Math.max(...runs) <= 4, `${Math.max(...runs)} in a row`);
});

test('no limit: pages are sent as they are after a few packets', () => {
  const simulation = new Simulation({ link: () => 20_000 });
  simulation.run(500);
  assert.ok(simulation.used[RAW]! > 480, `${simulation.used}`);
  assert.ok(!simulation.choices.slice(20).some((codec) => codec !== RAW));
});

test('a slow link: the hardest codec after a few packets, and nothing hard on a link of 1 Gb/s', () => {
  const slow = new Simulation({ link: () => 3, limited: true });
  slow.run(100);
  assert.ok(slow.used[ZSTD_10]! > 95, `${slow.used}`);
  const faster = new Simulation({ link: () => half(1), limited: true });
  faster.run(300);
  assert.equal(faster.used[ZSTD_10], 0);
  assert.ok(faster.used[ZSTD_3]! > 150, `${faster.used}`);
});

for (const limited of [false, true]) {
  test(`a ${limited ? 'limit' : 'link'} that changes: the codec follows within a second`, () => {
    const link = (ms: number) => (ms < 1500 ? 5 : ms < 4000 ? 20_000 : 5);
    const simulation = new Simulation({ link, limited });
    const after = (ms: number) => {
      while (simulation.ms < ms) simulation.run(1);
      return simulation.choices.length;
    };
    after(1200);
    assert.equal(simulation.choices.at(-1), ZSTD_10);
    const fast = after(2600);
    after(3900);
    const whileFast = simulation.choices.slice(fast);
    assert.ok(whileFast.filter((codec) => codec === RAW).length > 0.9 * whileFast.length);
    const slow = after(5500);
    after(7000);
    assert.ok(simulation.choices.slice(slow).every((codec) => codec >= ZSTD_3));
  });
}

test('no flapping: at a link that suits one codec it is the one, packet after packet', () => {
  // zstd 1 takes as long as its bytes.
  const mbps = (PACKET * 0.48) / 1.75 / 1000;
  const simulation = new Simulation({ link: () => mbps, limited: true });
  simulation.run(1500);
  const later = simulation.choices.slice(200);
  assert.ok(later.filter((codec) => codec === ZSTD_1).length > 0.9 * later.length, `${simulation.used}`);
  const far = later.filter((codec) => codec > ZSTD_3 || codec === LZ4).length;
  assert.ok(far < 0.01 * later.length, `${simulation.used}`);
});

test('pages that do not compress are sent as they are, deep ones are compressed first', () => {
  const simulation = new Simulation({ link: () => half(5), limited: true });
  simulation.run(300);
  const { controller } = simulation;
  assert.equal(controller.choose(0), RAW);
  const least = [0.2, 0.5, 1, 2, 4].find((depth) => controller.choose(depth) !== RAW)!;
  for (const depth of [4, 8]) assert.notEqual(controller.choose(depth), RAW);
  assert.ok(least > 0.2, `${least}`);
});

test('what a codec made of a packet tells the depth of its pages, whichever codec it was', () => {
  const { controller } = new Simulation({ link: () => 5 });
  for (const [codec, [, wire]] of CODECS.entries()) {
    if (codec === RAW) continue;
    assert.ok(Math.abs(controller.depthOf(codec, PACKET, PACKET * wire) - 1) < 1e-9);
    assert.ok(Math.abs(controller.depthOf(codec, PACKET, PACKET * wire ** 2) - 2) < 1e-9);
    assert.equal(controller.depthOf(codec, PACKET, PACKET + 100), 0);
  }
});

test('a pause without anything to send says nothing about the link', () => {
  const simulation = new Simulation({ link: () => half(1), limited: true });
  simulation.run(300);
  const before = [...simulation.used];
  const { controller } = simulation;
  const price = controller.price;
  simulation.ms += 5000;
  controller.begin(RAW, 1, 0);
  controller.observe(5000, 0.1, 0);
  assert.ok(controller.price > 0.5 * price && controller.price < 2 * price);
  simulation.run(100);
  assert.ok(simulation.used[ZSTD_3]! - before[ZSTD_3]! > 50, `${simulation.used} after ${before}`);
});

test('a very slow link: the first packet that was not measured does not throw the choice to the other end', () => {
  let ms = 0;
  const controller = new AdaptiveController(PRIORS, { limitBytesPerMs: 50, now: () => ms });
  for (let i = 0; i < 20; i++) {
    const codec = controller.choose(1);
    assert.notEqual(codec, RAW, `packet ${i}`);
    controller.begin(codec, 1, PACKET);
    controller.begin(codec, 1, PACKET);
    assert.notEqual(controller.choose(1), RAW, `packet ${i}, before it was measured`);
    controller.compressed(codec, PACKET, PACKET * 0.4, CODECS[codec]![0]);
    ms += 3;
    controller.observe(0, 0.2, PACKET * 0.4);
  }
});

test('channels that share a limit choose alike, however differently their threads get on', () => {
  const price = new SharedPrice(new Int32Array(1), 0);
  const [fast, slow] = [1, 3].map((slower) => {
    let ms = 0;
    const controller = new AdaptiveController(PRIORS, {
      limitBytesPerMs: 2 * 60_000,
      channels: 2,
      price,
      now: () => ms,
    });
    return (codec: number) => {
      const wire = Math.round(PACKET * CODECS[codec]![1]);
      controller.begin(codec, 1, PACKET);
      if (codec !== RAW) controller.compressed(codec, PACKET, wire, CODECS[codec]![0] * slower);
      ms += CODECS[codec]![0] * slower + 0.5;
      controller.observe(0, 0.2, wire, 2 * wire);
      return controller.choose(1);
    };
  }) as [(codec: number) => number, (codec: number) => number];
  const seen = [new Set<number>(), new Set<number>()] as const;
  let codecs = [ZSTD_1, ZSTD_1];
  for (let i = 0; i < 400; i++) {
    codecs = [fast(codecs[0]!), slow(codecs[1]!)];
    if (i > 300) for (const [k, codec] of codecs.entries()) seen[k]!.add(codec);
  }
  const [least, most] = [Math.min(...seen[0], ...seen[1]), Math.max(...seen[0], ...seen[1])];
  assert.ok(most - least <= 2, `${[...seen[0]]} and ${[...seen[1]]}`);
});
