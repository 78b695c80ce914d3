"use strict";
const { datasets, rows } = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const PAGE = 200;
const form = document.getElementById("filters");
const fields = form.elements;
const percent = (value) => (100 * value).toFixed(1);
let order = { key: "accuracy", up: false };
let shown = PAGE;
const ticked = new Set();

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function drawn(name, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}

function fill(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => element("option", { value }, text)));
}

const score = (row) => {
  const level = fields.level.value;
  return level === "all" ? row.accuracy : row.without[level];
};

const COLUMNS = [
  { key: "title", name: "Model", text: (row) => row.title.toLowerCase(), cell: modelCell },
  { key: "input", name: "Input", text: (row) => row.input, cell: (row) => element("td", { class: "input" }, row.input) },
  { key: "regime", name: "Labels", number: true, wide: true, text: (row) => row.regime ?? -1, cell: (row) => number(row.labels, "wide") },
  { key: "accuracy", name: "Accuracy", number: true, text: (row) => score(row) ?? -1, cell: accuracyCell },
  { key: "interval", name: "95 % interval", wide: true, text: (row) => row.low, cell: intervalCell },
  { key: "standing", name: "In its task", text: (row) => row.standing + String(Math.round(row.gap * 100)).padStart(9, "0"), cell: standingCell },
  { key: "n", name: "n", number: true, wide: true, text: (row) => row.n, cell: (row) => number(String(row.n), "wide") },
  { key: "published", name: "Published", number: true, wide: true, text: (row) => row.published ?? -1, cell: publishedCell },
  { key: "seconds", name: "Training", number: true, wide: true, text: (row) => row.seconds ?? -1, cell: (row) => number(duration(row.seconds), "wide") },
  { key: "parameters", name: "Parameters", number: true, wide: true, text: (row) => row.parameters ?? -1, cell: (row) => number(short(row.parameters), "wide") },
  { key: "provenance", name: "Provenance", wide: true, text: (row) => row.provenance, cell: (row) => element("td", { class: "wide" }, row.provenance) },
];

function number(text, more = "") {
  return element("td", { class: `number ${more}` }, text);
}

function duration(seconds) {
  if (seconds === null) return "unknown";
  if (seconds < 100) return `${seconds.toFixed(0)} s`;
  return seconds < 6000 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function short(value) {
  if (value === null) return "unknown";
  if (value < 1000) return String(value);
  return value < 1e6 ? `${(value / 1e3).toFixed(0)} k` : `${(value / 1e6).toFixed(1)} M`;
}

function modelCell(row) {
  const cell = element("th", { scope: "row" });
  const box = element("input", { type: "checkbox", "aria-label": `Tick ${row.title} to compare it` });
  box.checked = ticked.has(row.id);
  box.addEventListener("change", () => {
    if (box.checked) ticked.add(row.id); else ticked.delete(row.id);
    showPair();
  });
  cell.append(box, " ", element("a", { href: row.page }, row.title), " ", element("code", { class: "soft" }, row.name));
  if (row.precision) cell.append(element("div", { class: "soft chip" }, `trained in ${row.precision}`));
  if (row.learned) cell.append(element("div", { class: "soft chip" }, `learned from ${row.learned}`));
  return cell;
}

function accuracyCell(row) {
  const value = score(row);
  if (value === undefined) return number("–");
  const spread = fields.level.value === "all" && row.spread !== null ? ` ± ${percent(row.spread)}` : "";
  const cell = number(percent(value) + spread, row.standing === "best" ? "best" : "");
  cell.title = `standard error over objects ${percent(row.error)}`;
  return cell;
}

let scale = [0, 1];
function intervalCell(row) {
  const [low, high] = scale;
  const x = (value) => 2 + (126 * (value - low)) / (high - low || 1);
  const text = `${percent(row.low)} to ${percent(row.high)}`;
  const svg = drawn("svg", { class: "interval", viewBox: "0 0 130 16", role: "img", "aria-label": text });
  svg.append(
    drawn("title", {}, text),
    drawn("rect", { class: "span", x: x(row.low), y: 5, width: Math.max(1, x(row.high) - x(row.low)), height: 6, rx: 3 }),
    drawn("circle", { class: "mean", cx: x(row.accuracy), cy: 8, r: 3.5 }),
  );
  return element("td", { class: "wide" }, svg);
}

function standingCell(row) {
  const words = { alone: "alone", best: row.n > 1 ? "best" : "best, of one seed", tied: "tied", behind: "behind" };
  const cell = element("td", { class: row.standing === "behind" ? "bad" : "" }, words[row.standing]);
  if (row.gap) {
    const [gap, resolution] = [row.gap, row.resolution].map((objects) => objects.toFixed(1).replace(/\.0$/, ""));
    cell.append(element("div", { class: "soft" }, `${gap} fewer; told apart from ${resolution}`));
  }
  return cell;
}

function publishedCell(row) {
  if (row.published === null) return number("–", "wide");
  const cell = number(percent(row.published), "wide");
  const inside = row.low <= row.published && row.published <= row.high;
  cell.append(element("div", { class: "soft" }, inside ? "in the interval" : "outside"));
  return cell;
}

function matching() {
  const words = fields.words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = (key, value) => fields[key].value === "all" || fields[key].value === String(value);
  return rows.filter((row) => wanted("dataset", row.dataset) && wanted("modality", row.modality)
    && wanted("protocol", row.protocol) && wanted("regime", row.regime)
    && words.every((word) => `${row.title} ${row.name} ${row.input} ${row.provenance}`.toLowerCase().includes(word)));
}

function sorted(found) {
  const { text } = COLUMNS.find((column) => column.key === order.key);
  const sign = order.up ? 1 : -1;
  return found.map((row) => [text(row), row]).sort(([a, x], [b, y]) => {
    if (a === b) return x.id - y.id;
    return (a < b ? -1 : 1) * sign;
  }).map(([, row]) => row);
}

function show() {
  const found = sorted(matching());
  scale = [Math.min(...found.map((row) => row.low)), Math.max(...found.map((row) => row.high))];
  const body = document.querySelector("#board tbody");
  body.replaceChildren(...found.slice(0, shown).map((row) => element("tr", {}, ...COLUMNS.map((column) => column.cell(row)))));
  document.getElementById("count").textContent = `${found.length} of ${rows.length} rows`;
  document.getElementById("more").hidden = found.length <= shown;
  for (const head of document.querySelectorAll("#board thead th")) {
    head.setAttribute("aria-sort", head.dataset.key !== order.key ? "none" : order.up ? "ascending" : "descending");
  }
  const about = datasets[Number(fields.dataset.value)];
  document.getElementById("about").textContent = about ? about.description : "Choose one data set to compare scores: those of different data sets do not stand beside each other.";
  chartByLabels(found);
  chartByCost(found);
}

function axes(svg, xs, lows, highs, xName) {
  svg.replaceChildren();
  const low = Math.floor(20 * Math.min(...lows)) / 20, high = Math.min(1, Math.ceil(20 * Math.max(...highs)) / 20);
  const y = (value) => 265 - (245 * (value - low)) / (high - low || 1);
  for (let value = low; value <= high + 1e-9; value += (high - low) / 4 || 1) {
    svg.append(drawn("line", { class: "grid", x1: 45, x2: 470, y1: y(value), y2: y(value) }),
      drawn("text", { x: 40, y: y(value) + 4, "text-anchor": "end" }, percent(value)));
  }
  for (const [x, text] of xs) svg.append(drawn("text", { x, y: 282, "text-anchor": "middle" }, text));
  svg.append(drawn("text", { x: 258, y: 297, "text-anchor": "middle" }, xName));
  return y;
}

function dot(svg, x, y, row, text) {
  const link = drawn("a", { href: row.page });
  const circle = drawn("circle", { class: row.modality, cx: x, cy: y, r: 4 });
  circle.append(drawn("title", {}, `${row.title}, ${row.input}: ${percent(row.accuracy)} (${text})`));
  link.append(circle);
  svg.append(link);
}

function chartByLabels(found) {
  const svg = document.getElementById("by-labels");
  if (!found.length) return svg.replaceChildren();
  found = found.filter((row) => row.regime !== null);
  const regimes = [1, 10, 50, 100], x = (regime) => 80 + 120 * regimes.indexOf(regime);
  const y = axes(svg, regimes.map((regime) => [x(regime), `${regime} %`]), found.map((row) => row.accuracy), found.map((row) => row.accuracy), "training labels");
  const lines = new Map();
  for (const row of found) {
    const key = [row.dataset, row.name, row.input, row.learned].join("\n");
    lines.set(key, [...(lines.get(key) ?? []), row]);
  }
  for (const line of lines.values()) {
    line.sort((a, b) => a.regime - b.regime);
    svg.append(drawn("polyline", { points: line.map((row) => `${x(row.regime)},${y(row.accuracy)}`).join(" ") }));
  }
  for (const row of found.slice(0, 2000)) dot(svg, x(row.regime), y(row.accuracy), row, `${row.regime} % of the labels`);
}

function chartByCost(found) {
  const svg = document.getElementById("by-cost");
  const timed = found.filter((row) => row.seconds > 0).slice(0, 2000);
  if (!timed.length) return svg.replaceChildren();
  const logs = timed.map((row) => Math.log10(row.seconds));
  const from = Math.floor(Math.min(...logs)), to = Math.max(from + 1, Math.ceil(Math.max(...logs)));
  const x = (log) => 60 + (400 * (log - from)) / (to - from);
  const ticks = Array.from({ length: to - from + 1 }, (_, i) => [x(from + i), duration(10 ** (from + i))]);
  const y = axes(svg, ticks, timed.map((row) => row.accuracy), timed.map((row) => row.accuracy), "training time");
  timed.forEach((row, i) => dot(svg, x(logs[i]), y(row.accuracy), row, duration(row.seconds)));
}

function showPair() {
  const button = document.getElementById("pair");
  const pair = [...ticked].map((id) => rows[id]);
  button.disabled = pair.length !== 2 || pair[0].dataset !== pair[1].dataset;
}

const all = [["all", "all"]];
fill(fields.dataset, [...(datasets.length > 1 ? all : []), ...datasets.map((each, i) => [String(i), each.name])]);
for (const key of ["modality", "protocol", "regime"]) {
  const values = [...new Set(rows.map((row) => row[key]))].sort((a, b) => (key === "regime" ? b - a : a < b ? -1 : 1));
  fill(fields[key], [...all, ...values.map((value) => [String(value), key === "regime" && value !== null ? `${value} %` : String(value ?? "unknown")])]);
}
fill(fields.level, [["all", "all"], ["files", "without the same file in training"], ["surfaces", "without the same surface"], ["near", "without near duplicates"], ["disputed", "without disputed labels"]]);
if (rows.some((row) => row.regime === 100)) fields.regime.value = "100";
fields.dataset.value = String(datasets.reduce((most, each, i) => (each.rows > (datasets[most]?.rows ?? -1) ? i : most), 0));
document.querySelector("#board thead").append(element("tr", {}, ...COLUMNS.map((column) => {
  const button = element("button", { type: "button" }, column.name);
  button.addEventListener("click", () => {
    order = { key: column.key, up: order.key === column.key ? !order.up : !column.number };
    show();
  });
  const head = element("th", { scope: "col", class: `${column.number ? "number" : ""} ${column.wide ? "wide" : ""}` }, button);
  head.dataset.key = column.key;
  return head;
})));
form.addEventListener("input", () => { shown = PAGE; show(); });
form.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("more").addEventListener("click", () => { shown += PAGE; show(); });
document.getElementById("pair").addEventListener("click", () => {
  location.href = `compare.html#${[...ticked].join(",")}`;
});
show();
