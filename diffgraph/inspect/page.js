"use strict";
// The picture of a network: boxes open and close, and stand where `inspect/layered.py` would put them. Layers and orders
// come with the data; only places depend on what is open, and are found here by the same method (Brandes and Koepf 2001).

const GAP = 24, BETWEEN = 36, PADDING = 16, HEADER = 24;
const data = JSON.parse(document.getElementById("data").textContent);
const view = document.getElementById("view"), main = document.querySelector("main"), side = document.querySelector("aside");
const opened = new Set(["", data.root.name, ...data.opened]);
const byName = new Map();
let chosen = null, found = new Set(), camera = null, whole = null;

(function index(node, around) {
  node.around = around;
  byName.set(node.name, node);
  for (const inner of node.boxes || []) index(inner, node);
})(data.root, null);

// ---------------------------------------------------------------- places

function measure(node) {
  if (!node.boxes || !opened.has(node.name)) { node.inner = null; [node.width, node.height] = node.size; return; }
  const sizes = new Map();
  for (const inner of node.boxes) { measure(inner); sizes.set(inner.name, [inner.width, inner.height]); }
  node.inner = place(node.rows, node.chains, sizes);
  const header = (node.label.length + node.type.length) * 7 + 3 * PADDING;
  node.width = Math.max(node.inner.width + 2 * PADDING, header);
  node.height = node.inner.height + HEADER + 2 * PADDING;
}

function place(rows, chains, sizes) {
  const tops = [], bottoms = [], layer = new Map(), width = new Map();
  let y = 0;
  rows.forEach((row, k) => {
    const height = Math.max(0, ...row.map(n => sizes.has(n) ? sizes.get(n)[1] : 0));
    if (!height && k) y -= BETWEEN * 0.6;
    tops.push(y); bottoms.push(y + height);
    y += height + BETWEEN * (height ? 1 : 0.4);
    for (const n of row) { layer.set(n, k); width.set(n, sizes.has(n) ? sizes.get(n)[0] : 0); }
  });
  const x = across(rows, chains, layer, width);
  let left = Infinity, right = -Infinity;
  for (const [n, at] of x) { left = Math.min(left, at - width.get(n) / 2); right = Math.max(right, at + width.get(n) / 2); }
  const centres = new Map();
  for (const [n, at] of x) centres.set(n, [at - left, (tops[layer.get(n)] + bottoms[layer.get(n)]) / 2]);
  return { centres, layer, tops, bottoms, width: right - left, height: bottoms[bottoms.length - 1] || 0 };
}

function across(rows, chains, layer, width) {
  const above = new Map(), below = new Map(), at = new Map();
  for (const row of rows) row.forEach((n, k) => { above.set(n, new Set()); below.set(n, new Set()); at.set(n, k); });
  for (const chain of chains) for (let k = 0; k + 1 < chain.length; k++) {
    const down = layer.get(chain[k]) < layer.get(chain[k + 1]);
    const [upper, lower] = down ? [chain[k], chain[k + 1]] : [chain[k + 1], chain[k]];
    above.get(lower).add(upper); below.get(upper).add(lower);
  }
  for (const beside of [above, below])
    for (const [n, set] of beside) beside.set(n, [...set].sort((a, b) => at.get(a) - at.get(b)));
  const marked = conflicts(rows, above, at);
  const layouts = [];
  for (const up of [true, false]) for (const toLeft of [true, false]) {
    const ordered = up ? rows : [...rows].reverse();
    const turned = toLeft ? ordered : ordered.map(row => [...row].reverse());
    const x = compacted(turned, aligned(turned, up ? above : below, marked), width);
    if (!toLeft) for (const [n, value] of x) x.set(n, -value);
    layouts.push(x);
  }
  return balanced(layouts, width);
}

const isInner = (n, above) => n[0] === "~" && above.get(n).length === 1 && above.get(n)[0][0] === "~";

function conflicts(rows, above, at) {
  const marked = new Set();
  for (const row of rows.slice(1)) {
    const straight = row.filter(n => isInner(n, above)).map(n => [at.get(above.get(n)[0]), at.get(n)]);
    for (const n of row) if (!isInner(n, above)) for (const other of above.get(n))
      if (straight.some(([top, bottom]) => (at.get(other) - top) * (at.get(n) - bottom) < 0)) {
        marked.add(other + "\n" + n); marked.add(n + "\n" + other);
      }
  }
  return marked;
}

function aligned(rows, beside, marked) {
  const root = new Map();
  for (const row of rows) for (const n of row) root.set(n, n);
  for (let k = 1; k < rows.length; k++) {
    const place = new Map(rows[k - 1].map((n, i) => [n, i]));
    let reached = -1;
    for (const n of rows[k]) {
      const near = beside.get(n).filter(m => place.has(m)).sort((a, b) => place.get(a) - place.get(b));
      if (!near.length) continue;
      for (const middle of new Set([(near.length - 1) >> 1, near.length >> 1])) {
        const other = near[middle];
        if (root.get(n) === n && !marked.has(other + "\n" + n) && reached < place.get(other)) {
          root.set(n, root.get(other)); reached = place.get(other);
        }
      }
    }
  }
  return root;
}

function compacted(rows, root, width) {
  const after = new Map(), waiting = new Map(), at = new Map();
  for (const row of rows) for (const n of row) { after.set(root.get(n), new Map()); waiting.set(root.get(n), 0); at.set(root.get(n), 0); }
  for (const row of rows) for (let k = 0; k + 1 < row.length; k++) {
    const [a, b] = [row[k], row[k + 1]], known = after.get(root.get(a));
    const apart = (width.get(a) + width.get(b)) / 2 + GAP;
    known.set(root.get(b), Math.max(apart, known.get(root.get(b)) || 0));
  }
  for (const following of after.values()) for (const line of following.keys()) waiting.set(line, waiting.get(line) + 1);
  const order = [...waiting.keys()].filter(line => !waiting.get(line));
  for (const line of order) for (const [other, apart] of after.get(line)) {
    at.set(other, Math.max(at.get(other), at.get(line) + apart));
    waiting.set(other, waiting.get(other) - 1);
    if (!waiting.get(other)) order.push(other);
  }
  for (const line of [...order].reverse()) {
    const following = [...after.get(line)];
    if (following.length) at.set(line, Math.max(at.get(line), Math.min(...following.map(([other, apart]) => at.get(other) - apart))));
  }
  const x = new Map();
  for (const row of rows) for (const n of row) x.set(n, at.get(root.get(n)));
  return x;
}

function balanced(layouts, width) {
  const ends = layouts.map(x => {
    let left = Infinity, right = -Infinity;
    for (const [n, at] of x) { left = Math.min(left, at - width.get(n) / 2); right = Math.max(right, at + width.get(n) / 2); }
    return [left, right];
  });
  const [low, high] = ends.reduce((best, end) => end[1] - end[0] < best[1] - best[0] ? end : best);
  const result = new Map();
  for (const n of layouts[0].keys()) {
    const all = layouts.map((x, k) => x.get(n) + (k % 2 === 0 ? low - ends[k][0] : high - ends[k][1])).sort((a, b) => a - b);
    result.set(n, (all[1] + all[2]) / 2);
  }
  return result;
}

// ---------------------------------------------------------------- drawing

function element(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function html(name, attributes, ...children) {
  const made = document.createElement(name);
  Object.assign(made, attributes);
  made.append(...children);
  return made;
}

function draw() {
  measure(data.root);
  whole = data.root.inner;
  view.replaceChildren(...inside(data.root, 0, 0, 0, whole.height));
  look();
}

function* inside(node, x, y, top, bottom) {
  for (const chain of node.chains) yield* edge(points(node, chain, x, y, top, bottom), chain[chain.length - 1] !== "out" || node === data.root);
  for (const inner of node.boxes) {
    const [cx, cy] = node.inner.centres.get(inner.name);
    yield box(inner, x + cx - inner.width / 2, y + cy - inner.height / 2);
  }
}

function box(node, x, y) {
  const { width, height } = node, radius = node.round ? 13 : 5;
  const group = element("g", { class: `node ${node.class}${node.inner ? " dg-open" : ""}`, tabindex: 0 });
  group.dataset.name = node.name;
  if (chosen === node.name) group.classList.add("chosen");
  if (found.has(node.name)) group.classList.add("found");
  if (node.boxes && !node.inner) group.append(element("rect", { x: x + 4, y: y + 4, width, height, rx: radius }));
  group.append(element("rect", { x, y, width, height, rx: radius }));
  const label = element("text", node.inner ? { x: x + 10, y: y + 17 } : { x: x + width / 2, y: y + 17, "text-anchor": "middle" },
    element("tspan", { class: "dg-label" }, node.label));
  if (node.type) label.append(" ", element("tspan", { class: "dg-type" }, node.type));
  group.append(label);
  if (node.inner) {
    group.append(...inside(node, x + (width - node.inner.width) / 2, y + HEADER + PADDING, y, y + height));
  } else if (node.shapes) {
    group.append(element("text", { class: "dg-shape", x: x + width / 2, y: y + 31, "text-anchor": "middle" }, node.shapes));
  }
  return group;
}

function points(node, chain, x, y, top, bottom) {
  const { centres, layer, tops, bottoms } = node.inner;
  const down = layer.get(chain[0]) <= layer.get(chain[chain.length - 1]), result = [];
  chain.forEach((name, k) => {
    const [at, middle] = centres.get(name), inner = byName.get(name);
    if (inner && inner.around === node) {
      const half = (k === 0) === down ? inner.height / 2 : -inner.height / 2;
      result.push([x + at + port(inner, chain, k), y + middle + half]);
    } else if (name === "out") {
      result.push([x + at, bottom]);
    } else if (name.startsWith("in ")) {
      result.push([x + at, top]);
    } else {
      const ends = [tops[layer.get(name)], bottoms[layer.get(name)]];
      for (const end of down ? ends : ends.reverse()) result.push([x + at, y + end]);
    }
  });
  return result;
}

function port(inner, chain, k) {
  if (!inner.inner) return 0;
  const name = k === 0 ? "out" : "in " + chain[0].replace(/^in /, "");
  return inner.inner.centres.has(name) ? inner.inner.centres.get(name)[0] - inner.inner.width / 2 : 0;
}

function* edge(places, hasHead) {
  let path = `M${places[0]}`;
  for (let k = 1; k < places.length; k++) {
    const [[x0, y0], [x1, y1]] = [places[k - 1], places[k]], bend = (y1 - y0) / 2;
    path += Math.abs(x0 - x1) < 0.05 ? `L${x1} ${y1}` : `C${x0} ${y0 + bend} ${x1} ${y1 - bend} ${x1} ${y1}`;
  }
  yield element("path", { d: path });
  if (!hasHead) return;
  const [x, y] = places[places.length - 1], up = places[places.length - 2][1] <= y ? 1 : -1;
  yield element("path", { class: "dg-head", d: `M${x} ${y}l-3.6 ${-7 * up}h7.2z` });
}

// ---------------------------------------------------------------- looking around

function fit() {
  const { clientWidth, clientHeight } = main;
  const scale = Math.min(1.25, (clientWidth - 40) / whole.width, (clientHeight - 40) / whole.height);
  const readable = Math.max(scale, 0.55);
  camera = { scale: readable, x: (clientWidth - whole.width * readable) / 2, y: Math.max(20, (clientHeight - whole.height * readable) / 2) };
  look();
}

function look() {
  if (camera) view.setAttribute("transform", `translate(${camera.x} ${camera.y}) scale(${camera.scale})`);
}

function zoom(factor, x, y) {
  const scale = Math.min(4, Math.max(0.05, camera.scale * factor)), by = scale / camera.scale;
  camera = { scale, x: x - (x - camera.x) * by, y: y - (y - camera.y) * by };
  look();
}

// The box that was clicked stays under the pointer, whatever becomes of those around it.
function keepingInPlace(name, change) {
  const corner = () => { const shown = shownAt(name); return shown && shown.querySelector("rect:last-of-type").getBoundingClientRect(); };
  const before = corner();
  change();
  draw();
  const after = corner();
  if (before && after) { camera.x += before.left + before.width / 2 - after.left - after.width / 2; camera.y += before.top - after.top; look(); }
}

const shownAt = name => [...view.querySelectorAll(".node")].find(shown => shown.dataset.name === name);

function toggle(name) {
  keepingInPlace(name, () => opened.has(name) ? opened.delete(name) : opened.add(name));
}

function choose(name) {
  chosen = name;
  for (const shown of view.querySelectorAll(".node")) shown.classList.toggle("chosen", shown.dataset.name === name);
  describe(byName.get(name));
}

function describe(node) {
  const list = html("dl", {});
  for (const [what, value] of node.about) if (value) list.append(html("dt", { textContent: what }), html("dd", { textContent: value }));
  side.replaceChildren(html("h2", { textContent: node.label }), list);
  if (node.source) {
    const [where, before, text, behind] = node.source;
    side.append(html("div", { className: "hint", textContent: where }), html("pre", {}, before, html("mark", { textContent: text }), behind));
  }
  if (node.text) side.append(html("div", { className: "hint", textContent: "what it computes" }), html("pre", { textContent: node.text }));
  if (node.boxes) side.append(html("div", { className: "hint", textContent: `${node.boxes.length} boxes inside; click to ${opened.has(node.name) ? "close" : "open"} it` }));
}

function search(words) {
  found = new Set();
  const wanted = words.trim().toLowerCase();
  for (const node of wanted ? byName.values() : []) {
    if (node === data.root || !`${node.name} ${node.label} ${node.type}`.toLowerCase().includes(wanted)) continue;
    found.add(node.name);
    if (found.size > 200) break;
  }
  // A box that is hidden shows in the nearest one around it that is not.
  for (const name of [...found]) {
    let node = byName.get(name);
    for (let around = node.around; around; around = around.around) if (!opened.has(around.name)) node = around;
    found.add(node.name);
  }
  for (const shown of view.querySelectorAll(".node")) shown.classList.toggle("found", found.has(shown.dataset.name));
}

// ---------------------------------------------------------------- the page

const button = (text, act) => html("button", { textContent: text, onclick: act });
const everything = [...byName.values()].filter(node => node.boxes).map(node => node.name);
document.querySelector("header").append(
  html("h1", { textContent: data.title }),
  ...data.facts.map(([name, value]) => html("span", { className: "fact" }, html("b", { textContent: value }), ` ${name}`)),
  html("span", { className: "tools" },
    html("input", { placeholder: "find a layer", oninput: event => search(event.target.value) }),
    button("open all", () => { everything.forEach(name => opened.add(name)); draw(); fit(); }),
    button("close all", () => { everything.forEach(name => name !== data.root.name && opened.delete(name)); draw(); fit(); }),
    button("fit", fit)));
side.append(html("p", { className: "hint", textContent: "Click a box to see what it is; boxes with others inside open and close. Drag to move, turn the wheel to zoom." }));

let dragged = null;
main.addEventListener("pointerdown", event => { dragged = { x: event.clientX, y: event.clientY, moved: false }; });
main.addEventListener("pointermove", event => {
  if (!dragged) return;
  const [dx, dy] = [event.clientX - dragged.x, event.clientY - dragged.y];
  if (!dragged.moved && Math.hypot(dx, dy) < 4) return;
  if (!dragged.moved) main.setPointerCapture(event.pointerId);
  Object.assign(dragged, { x: event.clientX, y: event.clientY, moved: true });
  main.classList.add("dragged");
  camera.x += dx; camera.y += dy;
  look();
});
main.addEventListener("pointerup", event => {
  const was = dragged;
  dragged = null;
  main.classList.remove("dragged");
  const shown = event.target.closest && event.target.closest(".node");
  if (!was || was.moved || !shown) return;
  act(shown.dataset.name);
});
main.addEventListener("wheel", event => {
  event.preventDefault();
  const frame = main.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY * 0.0015), event.clientX - frame.left, event.clientY - frame.top);
}, { passive: false });
main.addEventListener("keydown", event => {
  const shown = event.target.closest(".node");
  if (shown && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); act(shown.dataset.name); }
});
window.addEventListener("resize", look);

function act(name) {
  if (byName.get(name).boxes) toggle(name);
  choose(name);
}

draw();
fit();
