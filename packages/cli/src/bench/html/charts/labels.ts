import { type Plot, textWidth } from './layout.ts';

interface Point {
  readonly x: number;
  readonly y: number;
}

interface Box {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

type Anchor = 'start' | 'middle' | 'end';

export interface LabelRequest extends Point {
  readonly text: string;
  /** Of what is drawn at the point. */
  readonly radius: number;
  /** Left out where it would touch anything, instead of moved or laid over. */
  readonly optional: boolean;
}

export interface PlacedLabel {
  readonly request: LabelRequest;
  /** Where the text's baseline begins, ends, or has its middle. */
  readonly x: number;
  readonly y: number;
  readonly anchor: Anchor;
  /** From point to label, where the label lies so far off that it is not plain whose it is. */
  readonly leader: readonly [from: Point, to: Point] | undefined;
}

/** Directions to try, best first, and how far off in text heights. */
const DIRECTIONS: readonly (readonly [dx: number, dy: number])[] = [
  [1, 0],
  [1, -1],
  [1, 1],
  [-1, 0],
  [-1, -1],
  [-1, 1],
  [0, -1],
  [0, 1],
];
const DISTANCES = [0, 1, 2, 3.2];

/** Costs, in square units covered: what it is worth to keep a label clear of something, or near its point. */
const OUTSIDE = 4000;
const PER_DISTANCE = 25;
const OVER_LABEL = 6;
const OVER_MARKER = 3;
const OVER_LINE = 8;
const LEADER_CROSSES = 150;

/**
 * Finds a place for each label near its point, clear of markers, of the line and of the labels before it as far as that can
 * be had: the candidate that covers least, and among equals the first.
 *
 * @param line corners of a line that should stay visible
 */
export function placeLabels(
  requests: readonly LabelRequest[],
  markers: readonly Point[],
  line: readonly Point[],
  bounds: Plot,
  fontSize: number,
  radius: number,
): PlacedLabel[] {
  const obstacles = markers.map(({ x, y }) => around(x, y, radius + 1));
  const thin = alongLine(line, fontSize / 2).map(({ x, y }) => around(x, y, 1));
  const taken: Box[] = [];
  const crossings = ([from, to]: readonly [Point, Point]) =>
    line.slice(1).filter((corner, index) => intersect(from, to, line[index]!, corner)).length +
    obstacles.filter((box) => alongLine([from, to], radius).some((point) => isIn(point, box))).length;
  return requests.flatMap((request) => {
    const costOf = ({ box, distance }: Candidate) =>
      (isInside(box, bounds) ? 0 : OUTSIDE) +
      distance * PER_DISTANCE +
      (distance > 0 ? crossings(leaderTo(box, request)) * LEADER_CROSSES : 0) +
      covered(obstacles, box) * OVER_MARKER +
      covered(taken, box) * OVER_LABEL +
      covered(thin, box) * OVER_LINE;
    let [best] = candidates(request, fontSize);
    for (const candidate of candidates(request, fontSize)) {
      if (best === undefined || costOf(candidate) < costOf(best)) best = candidate;
    }
    if (best === undefined || (request.optional && costOf(best) > 0)) return [];
    const { box, distance, anchor } = best;
    const x = anchor === 'start' ? box.left : anchor === 'end' ? box.right : (box.left + box.right) / 2;
    taken.push(box);
    const leader = distance > 0 ? leaderTo(box, request) : undefined;
    return [{ request, x, y: (box.top + box.bottom) / 2 + fontSize * 0.35, anchor, leader }];
  });
}

interface Candidate {
  readonly box: Box;
  readonly distance: number;
  readonly anchor: Anchor;
}

function candidates({ x, y, text, radius }: LabelRequest, fontSize: number): Candidate[] {
  const width = textWidth(text, fontSize);
  return DISTANCES.flatMap((distance) =>
    DIRECTIONS.map(([dx, dy]) => {
      const gap = radius + 4 + distance * fontSize;
      const left = x + dx * gap - (dx === 0 ? width / 2 : dx < 0 ? width : 0);
      const middle = y + dy * (dx === 0 ? gap + fontSize / 2 : (0.75 + distance) * fontSize);
      const half = fontSize * 0.55;
      const anchor: Anchor = dx > 0 ? 'start' : dx < 0 ? 'end' : 'middle';
      return {
        distance,
        anchor,
        box: { left, right: left + width, top: middle - half, bottom: middle + half },
      };
    }),
  );
}

/** From the rim of the point's marker to the nearest place of the label. */
function leaderTo(box: Box, { x, y, radius }: LabelRequest): readonly [Point, Point] {
  const to = {
    x: Math.min(Math.max(x, box.left - 2), box.right + 2),
    y: Math.min(Math.max(y, box.top), box.bottom),
  };
  const length = Math.max(1, Math.hypot(to.x - x, to.y - y));
  const from = { x: x + ((to.x - x) * radius) / length, y: y + ((to.y - y) * radius) / length };
  return [from, to];
}

/** Moves labels in one column apart, each as little as it can be, between `top` and `bottom`; keeps their order. */
export function spreadLabels(wanted: readonly number[], gap: number, top: number, bottom: number): number[] {
  const order = wanted.map((y, index) => ({ y, index })).sort((a, b) => a.y - b.y);
  let free = top;
  for (const one of order) {
    one.y = Math.max(one.y, free);
    free = one.y + gap;
  }
  let room = bottom;
  for (const one of order.reverse()) {
    one.y = Math.min(one.y, room);
    room = one.y - gap;
  }
  const result = wanted.slice();
  for (const { y, index } of order) result[index] = y;
  return result;
}

function around(x: number, y: number, r: number): Box {
  return { left: x - r, right: x + r, top: y - r, bottom: y + r };
}

function isInside(box: Box, { left, right, top, bottom }: Plot): boolean {
  return box.left >= left && box.right <= right && box.top >= top && box.bottom <= bottom;
}

function isIn({ x, y }: Point, { left, right, top, bottom }: Box): boolean {
  return x > left && x < right && y > top && y < bottom;
}

/** Whether the lines from `a` to `b` and from `c` to `d` cross. */
function intersect(a: Point, b: Point, c: Point, d: Point): boolean {
  const side = (p: Point, q: Point, r: Point) =>
    Math.sign((q.x - p.x) * (r.y - p.y) - (q.y - p.y) * (r.x - p.x));
  return side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0;
}

/** Area of `box` that others cover. */
function covered(others: readonly Box[], box: Box): number {
  let area = 0;
  for (const other of others) {
    const width = Math.min(box.right, other.right) - Math.max(box.left, other.left);
    const height = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
    if (width > 0 && height > 0) area += width * height;
  }
  return area;
}

function alongLine(corners: readonly Point[], step: number): Point[] {
  const points: Point[] = [];
  corners.forEach((to, index) => {
    const from = corners[index - 1];
    if (from === undefined) return;
    const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / step));
    for (let i = 0; i < steps; i++) {
      points.push({ x: from.x + ((to.x - from.x) * i) / steps, y: from.y + ((to.y - from.y) * i) / steps });
    }
  });
  return points;
}
