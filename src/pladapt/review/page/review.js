// The page: shows a sample, turns the hand's and the keys' doings into strokes, and sends them.
import { connected, disc, draw, inside, line, runsBetween } from "./tools.js";

const $ = (id) => document.getElementById(id);
const COLOURS = [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [204, 121, 167]];
const MORE = [255, 60, 60]; // the candidate marks it and the mask does not
const LESS = [60, 140, 255]; // the mask marks it and the candidate does not
const IDLE = 60; // seconds without a sign of the reviewer that still count as looking

const session = (sessionStorage.session ||= crypto.randomUUID().replaceAll("-", ""));
let queue = { order: [], samples: [], groups: {}, decisions: {} };
let current = null; // the sample: what the server says of it, with mask, planes, view
let lastSign = Date.now();

// asking the server

async function ask(name, query) {
  const url = `api/${name}?${new URLSearchParams({ ...query, session })}`;
  return checked(await fetch(url));
}

async function send(name, said) {
  const body = JSON.stringify({ session, ...said });
  return (await checked(await fetch(`api/${name}`, { method: "POST", body }))).json();
}

async function checked(response) {
  if (response.ok) return response;
  const said = await response.json().catch(() => null); // of a review that ended, or of something else
  const error = said?.error ?? "The address is not that of a running review; open the one that was printed.";
  throw Object.assign(new Error(error), { refused: Boolean(said) && response.status < 500 });
}

// strokes that are not yet on the server's disk; they outlive the page and the server

const pendingKey = () => `pladapt ${queue.key} strokes`; // of this run, whatever its folder is named
const pending = () => JSON.parse(localStorage[pendingKey()] ?? "[]");
let sending = null;

const sent = (stroke) => keep(pending().filter((each) => each.key !== stroke.key));

function keep(strokes) {
  localStorage[pendingKey()] = JSON.stringify(strokes);
  const waiting = strokes.length;
  $("saved").textContent = waiting ? `${waiting} not saved yet: start pladapt review again` : "Saved";
  $("saved").classList.toggle("waiting", waiting > 0);
}

function flush() {
  sending ??= sendAll().finally(() => { sending = null; });
  return sending;
}

async function sendAll() {
  for (let [stroke] = pending(); stroke; [stroke] = pending()) {
    try {
      const said = await send("stroke", stroke);
      if (current?.id === stroke.id) Object.assign(current, said);
      noteDecision(stroke.id, null);
    } catch (error) {
      if ("refused" in error) complain(error); // the server said why
      if (!error.refused) return keep(pending()); // no server, or none that can save: later
      sent(stroke);
      if (current?.id === stroke.id) await loadMask();
      continue;
    }
    sent(stroke);
    // of a page that was closed: nobody is at it any more
    if (stroke.session !== session) send("leave", { id: stroke.id, session: stroke.session }).catch(() => {});
  }
}

function stroke(before) {
  const runs = runsBetween(before, current.mask);
  if (!runs.length) return render();
  keep([...pending(), { id: current.id, key: crypto.randomUUID(), runs, session }]);
  render();
  return flush();
}

// samples

async function open(id) {
  if (!id) return;
  if (current && current.id !== id) send("leave", { id: current.id }).catch(() => {});
  complain();
  const found = await (await ask("sample", { id })).json();
  const [depth, height, width] = found.shape;
  const same = current && current.width === width && current.height === height;
  const view = same ? current.view : null;
  current = { ...found, depth, height, width, planes: {}, corners: [], z: Math.floor(depth / 2), view };
  current.cursor = [width >> 1, height >> 1];
  sessionStorage.open = id;
  setControls();
  await Promise.all([loadMask(), loadPlane()]);
  if (!current.view) fit();
  render();
  send("hold", { id }).catch(complain);
}

async function loadMask() {
  const { id } = current;
  const mask = new Uint8Array(await (await ask("mask", { id })).arrayBuffer());
  for (const each of pending()) if (each.id === id) draw(mask, each.runs);
  if (current.id === id) current.mask = mask;
  render();
}

async function loadPlane() {
  const sample = current;
  const { z } = sample;
  sample.planes[z] ??= new Float32Array(await (await ask("image", { id: sample.id, plane: z })).arrayBuffer());
  if (sample === current) render();
}

async function compare(name) {
  current.candidate = null;
  const { id } = current;
  if (name) {
    const mask = new Uint8Array(await (await ask("mask", { id, candidate: name })).arrayBuffer());
    if (current.id === id) current.candidate = mask;
  }
  render();
}

async function answer(decision) {
  await flush();
  if (pending().length) return complain(new Error("The server is gone; start pladapt review again."));
  const { id } = current;
  try {
    const said = await send("answer", { id, decision, seconds: seconds(id) });
    noteDecision(id, said.decision);
    step(1, true);
  } catch (error) { complain(error); }
}

async function undo() {
  if (current.corners.length) { current.corners.pop(); return render(); }
  await flush();
  const { id } = current;
  try {
    Object.assign(current, await send("undo", { id }));
    noteDecision(id, null);
    await loadMask();
    complain();
  } catch (error) { complain(error); }
}

// The next in the order; where only those are wanted that nobody answered, over the others.
function step(by, unanswered = false) {
  const { order } = queue;
  let at = order.indexOf(current.id) + by;
  while (unanswered && order[at] && queue.decisions[order[at]]) at += by;
  if (order[at]) return open(order[at]).catch(complain);
  if (unanswered) complain(new Error("All of these are answered. Ask for more, or give pladapt adapt again."));
}

function neighbour(by) {
  if (current.depth > 1) return toSlice(current.z + by);
  const at = queue.samples.indexOf(current.id);
  const id = queue.samples[at + by];
  if (id && queue.groups[id] === queue.groups[current.id]) open(id).catch(complain);
}

function toSlice(z) {
  current.z = Math.max(0, Math.min(current.depth - 1, z));
  $("slice").value = current.z;
  current.corners = [];
  render();
  loadPlane().catch(complain);
}

function noteDecision(id, decision) {
  if (decision) queue.decisions[id] = decision;
  else delete queue.decisions[id];
  if (current?.id === id) current.decision = decision;
  showOrder();
}

// the seconds that a sample was looked at

const seconds = (id) => Number(sessionStorage[`seconds ${id}`] ?? 0);

function count() {
  const looking = document.visibilityState === "visible" && Date.now() - lastSign < IDLE * 1000;
  if (current && looking && !current.decision) sessionStorage[`seconds ${current.id}`] = seconds(current.id) + 1;
}

// showing

function showOrder() {
  const done = queue.order.filter((id) => queue.decisions[id]).length;
  $("progress").textContent = `${done} of ${queue.order.length} answered, as ${queue.who}`;
  $("order").replaceChildren(...queue.order.map((id) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: id });
    button.className = queue.decisions[id] ?? "";
    button.title = queue.decisions[id] ?? "not answered";
    if (current?.id === id) button.setAttribute("aria-current", "true");
    button.onclick = () => open(id).catch(complain);
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

function complain(error) {
  $("message").textContent = error?.message ?? "";
}

function setControls() {
  const options = (values) => values.map(([value, text]) => new Option(text, value));
  const classes = Array.from({ length: current.values }, (_, n) => [n + 1, String(n + 1)]);
  $("class").replaceChildren(...options([...classes, [255, "ignore"]]));
  $("candidate").replaceChildren(...options([["", "nothing"], ...current.candidates.map((n) => [n, n])]));
  $("slices").hidden = current.depth === 1;
  $("slice").max = current.depth - 1;
  $("slice").value = current.z;
  const [low, high] = current.range;
  $("presets").hidden = low > -200; // values that are no Hounsfield units
  if (!current.window) setWindow((low + high) / 2, high - low);
  showOrder();
}

function setWindow(level, width) {
  const [low, high] = current.range;
  current.window = [level, Math.max(width, (high - low) / 1000)];
  $("level").value = (1000 * (level - low)) / (high - low);
  $("width").value = (1000 * current.window[1]) / (2 * (high - low));
  $("values").textContent = `${tidy(level - width / 2)} to ${tidy(level + width / 2)}`;
}

const tidy = (value) => Number(value.toPrecision(3)).toString();

function windowed() {
  const [level, width] = current.window;
  const plane = current.planes[current.z];
  const size = current.width * current.height;
  const colours = plane.length === 3 * size;
  return (at, channel) => (255 * (plane[colours ? channel * size + at : at] - level + width / 2)) / width;
}

// The overlay's colour and strength of a pixel, or nothing.
function overlay(at) {
  const value = current.mask[at];
  const other = current.candidate ? current.candidate[at] : value;
  if (other !== value) return [value ? LESS : MORE, 0.8];
  if (!value) return null;
  const colour = value === 255 ? [160, 160, 160] : COLOURS[(value - 1) % COLOURS.length];
  return [colour, current.hidden ? 0 : $("opacity").value / 100];
}

function render() {
  const canvas = $("view");
  if (!current?.mask || !current.planes[current.z] || !current.view) return;
  const { width, height, z, view } = current;
  const grey = windowed();
  const pixels = new ImageData(width, height);
  for (let at = 0; at < width * height; at++) {
    const [colour, strength] = overlay(z * width * height + at) ?? [[0, 0, 0], 0];
    for (let c = 0; c < 3; c++) {
      const value = Math.max(0, Math.min(255, grey(at, c)));
      pixels.data[4 * at + c] = value * (1 - strength) + colour[c] * strength;
    }
    pixels.data[4 * at + 3] = 255;
  }
  const image = new OffscreenCanvas(width, height);
  image.getContext("2d").putImageData(pixels, 0, 0);
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  context.setTransform(view.scale, 0, 0, view.scale, view.x, view.y);
  context.drawImage(image, 0, 0);
  renderHand(context);
  renderWords();
}

function renderHand(context) {
  const { corners, cursor, view } = current;
  context.lineWidth = 1.5 / view.scale;
  context.strokeStyle = "#fff";
  if (corners.length) {
    context.beginPath();
    for (const [x, y] of corners) context.lineTo(x + 0.5, y + 0.5);
    context.lineTo(cursor[0] + 0.5, cursor[1] + 0.5);
    context.stroke();
  }
  context.beginPath();
  const reach = ["brush", "eraser", "threshold"].includes(tool()) ? radius() + 0.5 : 2;
  context.arc(cursor[0] + 0.5, cursor[1] + 0.5, reach, 0, 7);
  context.stroke();
}

function renderWords() {
  const { id, depth, z, score, group, decision, candidate, mask, strokes } = current;
  const sure = score === null ? "" : `, score ${tidy(score)}`;
  const said = decision ? `, ${decision}` : strokes ? ", drawn on" : "";
  $("title").textContent = `${id}${group && group !== id ? ` of ${group}` : ""}${sure}${said}`;
  $("at").textContent = ` ${z + 1} of ${depth}`;
  $("take").disabled = !candidate;
  let more = 0;
  let less = 0;
  candidate?.forEach((value, at) => { if (value !== mask[at]) mask[at] ? less++ : more++; });
  $("differences").textContent = candidate
    ? `Red: it marks ${more} pixels more. Blue: ${less} less or otherwise.` : "";
}

// the view

function fit() {
  const canvas = $("view");
  canvas.width = canvas.clientWidth * devicePixelRatio;
  canvas.height = canvas.clientHeight * devicePixelRatio;
  if (!current) return;
  const scale = Math.min(canvas.width / current.width, canvas.height / current.height);
  const middle = (whole, part) => (whole - part * scale) / 2;
  current.view = { scale, x: middle(canvas.width, current.width), y: middle(canvas.height, current.height) };
  render();
}

function zoom(factor, x = $("view").width / 2, y = $("view").height / 2) {
  const { view } = current;
  const scale = Math.max(0.2, Math.min(64, view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  render();
}

function pixel(event) {
  const { view } = current;
  return [
    Math.floor((event.offsetX * devicePixelRatio - view.x) / view.scale),
    Math.floor((event.offsetY * devicePixelRatio - view.y) / view.scale),
  ];
}

// tools

const tool = () => document.querySelector("input[name=tool]:checked").value;
const radius = () => Number($("size").value) / 2;
const value = () => (tool() === "eraser" ? 0 : Number($("class").value));
const within = ([x, y]) => x >= 0 && y >= 0 && x < current.width && y < current.height;

function paint(from, to, reference) {
  const { width, height, z, mask, planes } = current;
  const offset = z * width * height;
  const near = ($("tolerance").value / 100) * current.window[1];
  for (const [x, y] of line(from, to)) for (const at of disc(x, y, radius(), width, height)) {
    const chosen = tool() !== "threshold" || Math.abs(planes[z][at] - reference) <= near;
    if (chosen) mask[offset + at] = value();
  }
}

// What a tool does at one place; brushes are led on by the hand.
function use(place) {
  if (!within(place)) return;
  const { width, height, depth, z, mask } = current;
  const at = place[1] * width + place[0];
  const offset = z * width * height;
  const before = mask.slice();
  switch (tool()) {
    case "polygon":
      current.corners.push(place);
      return render();
    case "fill": {
      const plane = mask.subarray(offset, offset + width * height);
      for (const each of connected(plane, [1, height, width], at, false)) plane[each] = value();
      break;
    }
    case "delete":
    case "keep": {
      const marked = mask[offset + at];
      if (!marked) return;
      const part = connected(mask, [depth, height, width], offset + at, true);
      if (tool() === "keep") mask.forEach((each, n) => { if (each === marked) mask[n] = 0; });
      for (const each of part) mask[each] = tool() === "keep" ? marked : 0;
      break;
    }
    default:
      paint(place, place, current.planes[z][at]);
  }
  return stroke(before);
}

function closePolygon() {
  const { corners, width, height, z, mask } = current;
  current.corners = [];
  if (corners.length < 3) return render();
  const before = mask.slice();
  for (const at of inside(corners, width, height)) mask[z * width * height + at] = value();
  return stroke(before);
}

function take() {
  if (!current.candidate) return;
  const before = current.mask.slice();
  current.mask.set(current.candidate);
  stroke(before);
}

// the hand

let hand = null; // what a button that is down does

function down(event) {
  if (!current?.mask) return;
  $("view").focus();
  $("view").setPointerCapture(event.pointerId);
  const place = pixel(event);
  current.cursor = place;
  if (event.button !== 0) hand = { kind: event.shiftKey ? "window" : "move" };
  else if (["brush", "eraser", "threshold"].includes(tool()) && within(place)) {
    hand = { kind: "paint", last: place, before: current.mask.slice() };
    hand.reference = current.planes[current.z][place[1] * current.width + place[0]];
    paint(place, place, hand.reference);
    render();
  } else use(place);
}

function move(event) {
  if (!current?.view) return;
  const place = pixel(event);
  current.cursor = place;
  if (hand?.kind === "paint") {
    paint(hand.last, place, hand.reference);
    hand.last = place;
  } else if (hand?.kind === "move") {
    current.view.x += event.movementX * devicePixelRatio;
    current.view.y += event.movementY * devicePixelRatio;
  } else if (hand?.kind === "window") {
    const unit = (current.range[1] - current.range[0]) / 300;
    const [level, width] = current.window;
    setWindow(level - event.movementY * unit, width + event.movementX * unit);
  }
  render();
}

function up() {
  const { kind, before } = hand ?? {};
  hand = null;
  if (kind === "paint") stroke(before);
}

function wheel(event) {
  event.preventDefault();
  const on = [event.offsetX * devicePixelRatio, event.offsetY * devicePixelRatio];
  if (event.ctrlKey) zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, ...on);
  else neighbour(Math.sign(event.deltaY));
}

// keys

const choose = (name) => () => {
  document.querySelector(`input[value=${name}]`).checked = true;
  render();
};
const resize = (by) => () => { $("size").value = Number($("size").value) + by; render(); };

function cycle() {
  $("candidate").selectedIndex = ($("candidate").selectedIndex + 1) % $("candidate").options.length;
  compare($("candidate").value).catch(complain);
}

const KEYS = {
  a: () => answer("accept"), r: () => answer("reject"), u: undo, n: () => step(1), p: () => step(-1),
  b: choose("brush"), e: choose("eraser"), t: choose("threshold"), f: choose("fill"),
  g: choose("polygon"), d: choose("delete"), k: choose("keep"), c: cycle,
  "[": resize(-2), "]": resize(2), "+": () => zoom(1.25), "-": () => zoom(0.8), 0: fit,
  ",": () => neighbour(-1), ".": () => neighbour(1),
  h: () => { current.hidden = !current.hidden; render(); },
  Escape: () => { current.corners = []; render(); },
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function key(event) {
  lastSign = Date.now();
  if (!current?.mask || event.altKey || event.metaKey) return;
  if (event.ctrlKey && event.key !== "z") return;
  const onView = document.activeElement === $("view");
  const way = ARROWS[event.key];
  if (onView && way) {
    const by = event.shiftKey ? 10 : 1;
    const moved = way.map((each, n) => current.cursor[n] + by * each);
    const last = [current.width - 1, current.height - 1];
    current.cursor = moved.map((each, n) => Math.max(0, Math.min(last[n], each)));
    render();
  } else if (onView && event.key === " ") use(current.cursor);
  else if (event.key === "Enter" && current.corners.length) closePolygon();
  else if (event.ctrlKey) undo();
  else if (document.activeElement.tagName === "SELECT" || !KEYS[event.key.length > 1 ? event.key : event.key.toLowerCase()]) return;
  else KEYS[event.key.length > 1 ? event.key : event.key.toLowerCase()]();
  event.preventDefault();
}

// wiring

async function load() {
  queue = await (await ask("queue", {})).json();
  $("run").textContent = `Review of ${queue.run}`;
  document.title = $("run").textContent;
  keep(pending());
  showOrder();
  await flush();
}

function wire() {
  const view = $("view");
  view.addEventListener("pointerdown", down);
  view.addEventListener("pointermove", move);
  view.addEventListener("pointerup", up);
  view.addEventListener("pointercancel", up);
  view.addEventListener("wheel", wheel, { passive: false });
  view.addEventListener("dblclick", () => current?.corners.length && closePolygon());
  view.addEventListener("contextmenu", (event) => event.preventDefault());
  document.addEventListener("keydown", key);
  document.addEventListener("pointermove", () => { lastSign = Date.now(); });
  const click = { accept: () => answer("accept"), reject: () => answer("reject"), undo, take, fit,
    next: () => step(1), previous: () => step(-1), in: () => zoom(1.25), out: () => zoom(0.8),
    more: () => load().then(() => open(queue.order[0])) };
  for (const [id, act] of Object.entries(click)) {
    $(id).addEventListener("click", () => { if (current || id === "more") Promise.resolve(act()).catch(complain); });
  }
  for (const id of ["size", "opacity", "tolerance"]) $(id).addEventListener("input", render);
  for (const id of ["level", "width"]) $(id).addEventListener("input", () => {
    const [low, high] = current.range;
    setWindow(low + ($("level").value * (high - low)) / 1000, ($("width").value * 2 * (high - low)) / 1000);
    render();
  });
  $("preset").addEventListener("change", () => {
    if ($("preset").value) setWindow(...$("preset").value.split(",").map(Number));
    render();
  });
  $("slice").addEventListener("input", () => toSlice(Number($("slice").value)));
  $("candidate").addEventListener("change", () => compare($("candidate").value).catch(complain));
  $("tools").addEventListener("change", () => { current.corners = []; render(); });
  new ResizeObserver(() => fit()).observe(view);
  addEventListener("pagehide", () => {
    const said = JSON.stringify({ id: current?.id, session });
    if (current) navigator.sendBeacon("api/leave", said);
  });
  if (matchMedia("(max-width: 800px)").matches) $("list").open = false;
  setInterval(count, 1000);
  setInterval(() => {
    if (current && !current.decision) send("hold", { id: current.id }).catch(() => {});
  }, 20000);
  setInterval(() => { if (queue.run && pending().length) flush(); }, 2000);
}

wire();
load()
  .then(() => open(queue.samples.includes(sessionStorage.open) ? sessionStorage.open : queue.order[0]))
  .catch(complain);
