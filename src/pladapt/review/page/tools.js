// What tools do to a mask: functions of arrays, which know nothing of the page.

// The pixels of a disc round (x, y) on a plane of width w and height h, as indices in the plane.
export function disc(x, y, radius, w, h) {
  const found = [];
  const reach = Math.ceil(radius);
  for (let row = Math.max(0, y - reach); row <= Math.min(h - 1, y + reach); row++) {
    for (let column = Math.max(0, x - reach); column <= Math.min(w - 1, x + reach); column++) {
      if ((row - y) ** 2 + (column - x) ** 2 <= radius * radius) found.push(row * w + column);
    }
  }
  return found;
}

// The whole pixels on the way from one to another, so that a quick hand leaves no gaps.
export function line([x0, y0], [x1, y1]) {
  const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0), 1);
  const found = [];
  for (let step = 0; step <= steps; step++) {
    found.push([
      Math.round(x0 + ((x1 - x0) * step) / steps),
      Math.round(y0 + ((y1 - y0) * step) / steps),
    ]);
  }
  return found;
}

// The pixels that hang together with `start` and have its value; corners touch where `corners`.
export function connected(mask, [depth, h, w], start, corners) {
  const value = mask[start];
  const seen = new Uint8Array(mask.length);
  const found = [start];
  seen[start] = 1;
  for (let next = 0; next < found.length; next++) {
    const at = found[next];
    const z = Math.floor(at / (h * w));
    const y = Math.floor(at / w) % h;
    const x = at % w;
    for (let dz = -1; dz <= 1; dz++) for (let dy = -1; dy <= 1; dy++) for (let dx = -1; dx <= 1; dx++) {
      if (!corners && Math.abs(dz) + Math.abs(dy) + Math.abs(dx) !== 1) continue;
      if (z + dz < 0 || z + dz >= depth || y + dy < 0 || y + dy >= h || x + dx < 0 || x + dx >= w) continue;
      const to = at + dz * h * w + dy * w + dx;
      if (!seen[to] && mask[to] === value) {
        seen[to] = 1;
        found.push(to);
      }
    }
  }
  return found;
}

// The pixels whose centres are inside a polygon of corners (x, y), by even and odd crossings.
export function inside(corners, w, h) {
  const found = [];
  for (let y = 0; y < h; y++) {
    const crossings = [];
    corners.forEach(([x0, y0], n) => {
      const [x1, y1] = corners[(n + 1) % corners.length];
      if (y0 > y !== y1 > y) crossings.push(x0 + ((y - y0) * (x1 - x0)) / (y1 - y0));
    });
    crossings.sort((a, b) => a - b);
    for (let n = 0; n + 1 < crossings.length; n += 2) {
      const last = Math.min(w - 1, Math.floor(crossings[n + 1]));
      for (let x = Math.max(0, Math.ceil(crossings[n])); x <= last; x++) found.push(y * w + x);
    }
  }
  return found;
}

// The runs (first, length, value) that make one mask of another.
export function runsBetween(before, after) {
  const runs = [];
  let last = null;
  for (let at = 0; at < after.length; at++) {
    if (before[at] === after[at]) last = null;
    else if (last && last[2] === after[at]) last[1]++;
    else runs.push((last = [at, 1, after[at]]));
  }
  return runs;
}

export function draw(mask, runs) {
  for (const [first, length, value] of runs) mask.fill(value, first, first + length);
}
