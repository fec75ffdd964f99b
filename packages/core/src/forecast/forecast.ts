import { Convergence } from '../outgoing/convergence.ts';
import { type Bottleneck, type Hosts, type Load, moveSeconds, type PageCosts, wireBytes } from './rates.ts';

/** The guest that is to move. */
export interface GuestLoad extends Load {
  /** Bytes of pages that its writes touch per second; a page that is written twice counts twice. */
  readonly dirtyBytesPerSecond: number;
  /** Bytes of the pages that the writes are spread over. */
  readonly workingSetBytes: number;
}

export interface Link {
  /** What it carries of our bytes: below the nominal rate by what frames and TCP take. */
  readonly bytesPerSecond: number;
  /** The same while the guest stands still: more, where `bytesPerSecond` is max-bandwidth's and not a cable's. */
  readonly switchoverBytesPerSecond?: number;
}

export interface ForecastInput {
  readonly guest: GuestLoad;
  readonly costs: PageCosts;
  readonly hosts: Hosts;
  readonly link: Link;
  readonly downtimeLimitMs: number;
  /** From the start to the first page. */
  readonly setupMs: number;
  /** What the switch-over takes beside its pages: stop, device state, the destination's answer. */
  readonly switchoverMs: number;
}

export interface Forecast {
  /**
   * From the start to the destination's answer. Of a migration that does not converge: with the guest stopped as soon
   * as passes no longer make the rest smaller.
   */
  readonly totalTimeMs: number;
  /** How long the guest stands still; of a migration that does not converge, in the same way. */
  readonly downtimeMs: number;
  /** Times that the dirty pages are fetched, the one with the guest stopped included (`dirty-sync-count`). */
  readonly passes: number;
  /** Whether what is left ever fits into the downtime limit. */
  readonly converges: boolean;
  /** Bytes on the wire. */
  readonly transferredBytes: number;
  /** The narrow place; `dirty-rate` when it does not converge. */
  readonly limitedBy: Bottleneck | 'dirty-rate';
}

/** The engine looks at what is left between parts of this length: it notices half of one late on average. */
const PART_SECONDS = 0.05;
/** Nothing is known of the rate before the first of its windows is over. */
const WINDOW_SECONDS = 0.1;
/** What a pass takes however few pages it has: the bitmap is fetched, sync points go to and fro. */
const PASS_SECONDS = 0.001;
/** A migration that comes nearer in steps as small as this never arrives. */
const LEAST_PROGRESS = 1e-5;
/** When it does not arrive, the rest shrinks no longer for practical purposes. */
const PRACTICAL_PROGRESS = 0.01;
const MAX_PASSES = 100_000;

/**
 * Distinct bytes of pages that are dirty after `seconds` of writes that hit any page of the working set alike.
 */
export function dirtiedBytes(
  guest: Pick<GuestLoad, 'dirtyBytesPerSecond' | 'workingSetBytes'>,
  seconds: number,
): number {
  const { dirtyBytesPerSecond, workingSetBytes } = guest;
  if (workingSetBytes <= 0) return 0;
  return workingSetBytes * -Math.expm1((-dirtyBytesPerSecond * seconds) / workingSetBytes);
}

/**
 * What a precopy migration will be like: passes over the pages that were dirtied during the pass before, until what
 * is left can be sent within the downtime limit at the rate at which pages move, and as long after that as pageferry
 * finds that it pays; then the guest stops for the rest. (A QEMU stops it as soon as the rest fits: its total time is
 * hardly another, its downtime is nearer to the limit.)
 *
 * All rates are constant: what a guest does in bursts, and other traffic on the link, is not in it.
 */
export function forecast(input: ForecastInput): Forecast {
  const { guest, costs, hosts, link } = input;
  const move = (load: Load) => moveSeconds(costs, hosts, link.bytesPerSecond, load).seconds;
  const passes = new Passes(input, move);
  while (passes.state === 'running') passes.next();
  const { seconds, rest, transferredBytes, syncs } = passes.end;
  const converges = passes.state === 'fits';
  const switchoverLink = link.switchoverBytesPerSecond ?? link.bytesPerSecond;
  const downtimeMs = moveSeconds(costs, hosts, switchoverLink, rest).seconds * 1000 + input.switchoverMs;
  return {
    totalTimeMs: input.setupMs + seconds * 1000 + downtimeMs,
    downtimeMs,
    passes: syncs + 1,
    converges,
    transferredBytes: transferredBytes + wireBytes(costs, rest),
    limitedBy: converges ? moveSeconds(costs, hosts, link.bytesPerSecond, guest).limitedBy : 'dirty-rate',
  };
}

/** Where a migration stands when it fetches the dirty pages. */
interface Standing {
  readonly seconds: number;
  readonly rest: Load;
  readonly transferredBytes: number;
  readonly syncs: number;
}

class Passes {
  state: 'running' | 'fits' | 'never' = 'running';
  /** Where the guest is stopped. */
  end: Standing;
  readonly #input: ForecastInput;
  readonly #move: (load: Load) => number;
  readonly #thresholdBytes: number;
  /** What the engine wants to have left when it fetches the dirty pages. */
  readonly #leftBytes: number;
  readonly #rate: number;
  /** The engine's own decision how long it pays to go on, with the forecast's clock. */
  readonly #convergence: Convergence;
  /** What is left fits, but the pass is finished first. */
  #finishing = false;
  #now: Standing;
  /** Where a migration that never arrives stopped getting nearer. */
  #standstill: Standing | undefined;

  constructor(input: ForecastInput, move: (load: Load) => number) {
    this.#input = input;
    this.#move = move;
    // What a guest writes is not zero: later passes move such pages only.
    this.#rate = 1 / move({ nonZeroBytes: 1, zeroBytes: 0 });
    this.#thresholdBytes = (this.#rate * input.downtimeLimitMs) / 1000;
    this.#leftBytes = Math.max(0, this.#thresholdBytes - (this.#rate * PART_SECONDS) / 2);
    this.#now = { seconds: 0, rest: input.guest, transferredBytes: 0, syncs: 1 };
    this.end = this.#now;
    this.#convergence = new Convergence(() => this.#now.seconds * 1000);
  }

  /** Sends what is left until it seems to fit, and fetches the dirty pages. */
  next(): void {
    const { guest, costs } = this.#input;
    const before = this.#now;
    const restBytes = sum(before.rest);
    let leftShare = restBytes > 0 && !this.#finishing ? Math.min(1, this.#leftBytes / restBytes) : 0;
    if (before.syncs === 1) {
      const windowShare = WINDOW_SECONDS / Math.max(WINDOW_SECONDS, this.#move(before.rest));
      leftShare = Math.min(leftShare, 1 - windowShare);
    }
    const sent = scale(before.rest, 1 - leftShare);
    const left = scale(before.rest, leftShare);
    const seconds = this.#move(sent) + PASS_SECONDS;
    // What is left of the first pass may be anywhere; later rests are pages of the working set themselves.
    const among = before.syncs === 1 ? sum(guest) : guest.workingSetBytes;
    const overlap = sum(left) / Math.max(among, sum(left), 1);
    const freshBytes = dirtiedBytes(guest, seconds) * (1 - overlap);
    this.#now = {
      seconds: before.seconds + seconds,
      rest: { nonZeroBytes: left.nonZeroBytes + freshBytes, zeroBytes: left.zeroBytes },
      transferredBytes: before.transferredBytes + wireBytes(costs, sent),
      syncs: before.syncs + 1,
    };
    this.#judge(restBytes, freshBytes);
  }

  #judge(restBeforeBytes: number, freshBytes: number): void {
    const now = this.#now;
    const restBytes = sum(now.rest);
    this.end = now;
    this.#finishing = restBytes <= this.#thresholdBytes;
    const goOn = this.#convergence.paysToGoOn(freshBytes, restBytes, this.#rate / 1000, this.#finishing);
    if (this.#finishing) {
      if (!goOn) this.state = 'fits';
      return;
    }
    // The first pass moves all of RAM: that the rest is smaller says nothing yet.
    if (now.syncs === 2) return;
    const progress = (restBeforeBytes - restBytes) / restBeforeBytes;
    if (progress < PRACTICAL_PROGRESS) this.#standstill ??= now;
    if (progress >= LEAST_PROGRESS && now.syncs < MAX_PASSES) return;
    this.state = 'never';
    this.end = this.#standstill ?? now;
  }
}

function sum({ nonZeroBytes, zeroBytes }: Load): number {
  return nonZeroBytes + zeroBytes;
}

function scale({ nonZeroBytes, zeroBytes }: Load, share: number): Load {
  return { nonZeroBytes: nonZeroBytes * share, zeroBytes: zeroBytes * share };
}
