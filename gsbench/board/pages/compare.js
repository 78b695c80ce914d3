"use strict";
const { datasets, rows } = JSON.parse(document.getElementById("data").textContent);
const fields = document.getElementById("choice").elements;
const percent = (value) => (100 * value).toFixed(1);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/* How often each object is right, 0 to 1: each run is a string of bits, eight to a byte, in base64. */
function means(row, count) {
  const sums = new Array(count).fill(0);
  for (const run of row.correct) {
    const bytes = Uint8Array.from(atob(run), (letter) => letter.charCodeAt(0));
    for (let i = 0; i < count; i += 1) sums[i] += (bytes[i >> 3] >> (7 - (i & 7))) & 1;
  }
  return sums.map((sum) => sum / row.correct.length);
}

function logChoose(n, k) {
  let sum = 0;
  for (let i = 1; i <= k; i += 1) sum += Math.log(n - k + i) - Math.log(i);
  return sum;
}

/* McNemar's exact test: the two-sided binomial test of a fair coin. */
function mcnemar(a, b) {
  const n = a + b;
  let tail = 0;
  for (let k = 0; k <= Math.min(a, b); k += 1) tail += Math.exp(logChoose(n, k) - n * Math.LN2);
  return Math.min(1, 2 * tail);
}

function resolution(n) {
  for (let gap = n % 2; gap <= n; gap += 2) if (mcnemar((n - gap) / 2, (n + gap) / 2) < 0.05) return gap;
  return null;
}

function line(...cells) {
  return element("tr", {}, ...cells.map(([text, kind]) => element("td", { class: kind ?? "" }, text)));
}

function table(heads, lines) {
  const head = element("tr", {}, ...heads.map(([text, kind]) => element("th", { scope: "col", class: kind ?? "" }, text)));
  return element("div", { class: "scroll" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines)));
}

function objects(about, values, wanted) {
  return about.ids.map((id, i) => [id, about.classes[about.labels[i]], values[i]]).filter(([, , value]) => wanted(value));
}

function list(title, found) {
  const items = found.map(([id, label]) => line([element("code", {}, id)], [label]));
  return [element("h2", {}, `${title} (${found.length})`), table([["Object"], ["Class"]], items)];
}

function show() {
  const about = datasets[Number(fields.dataset.value)];
  const a = rows[Number(fields.a.value)], b = rows[Number(fields.b.value)];
  const result = document.getElementById("result");
  if (!a || !b) return result.replaceChildren("No rows.");
  history.replaceState(null, "", `#${a.id},${b.id}`);
  const count = about.ids.length;
  const first = means(a, count), second = means(b, count);
  const differences = first.map((value, i) => second[i] - value);
  const total = differences.reduce((sum, value) => sum + value, 0);
  const said = [];
  const single = a.correct.length === 1 && b.correct.length === 1;
  said.push(element("p", {}, `A ${percent(a.accuracy)} %, B ${percent(b.accuracy)} %: B gets ${Math.abs(total).toFixed(1).replace(/\.0$/, "")} objects ${total < 0 ? "fewer" : "more"} of ${count} right (${(100 * total / count).toFixed(1)} points).`));
  if (single) {
    const onlyA = differences.filter((value) => value < 0).length, onlyB = differences.filter((value) => value > 0).length;
    const p = mcnemar(onlyA, onlyB), floor = resolution(onlyA + onlyB);
    said.push(element("p", {}, `Only A gets ${onlyA} right, only B ${onlyB}. McNemar's exact test: p ${p < 0.001 ? "< 0.001" : `= ${p.toFixed(3)}`}. ${floor === null ? "So few differ that no gap could be told." : `With so many, a gap of ${floor} objects or more is told apart.`} Both are of one seed: other seeds may change this.`));
  } else {
    const spread = Math.sqrt(differences.reduce((sum, value) => sum + value * value, 0));
    said.push(element("p", {}, `Over objects the difference is ${spread ? (Math.abs(total) / spread).toFixed(2) : "0"} of its standard errors; above 1.96 is told apart where no others were looked at.`));
  }
  const classes = about.classes.map((name, index) => {
    const chosen = about.labels.map((label, i) => (label === index ? i : -1)).filter((i) => i >= 0);
    const mean = (values) => chosen.reduce((sum, i) => sum + values[i], 0) / chosen.length;
    return chosen.length ? line([name], [String(chosen.length), "number"], [percent(mean(first)), "number"], [percent(mean(second)), "number"],
      [(100 * (mean(second) - mean(first))).toFixed(1), `number ${mean(second) < mean(first) ? "bad" : "good"}`]) : "";
  });
  said.push(element("h2", {}, "By class"), table([["Class"], ["Objects", "number"], ["A", "number"], ["B", "number"], ["B − A", "number"]], classes));
  said.push(...list("B right, A wrong", objects(about, differences, (value) => value > 0)), ...list("A right, B wrong", objects(about, differences, (value) => value < 0)));
  result.replaceChildren(...said);
}

function fillRows() {
  const chosen = rows.filter((row) => row.dataset === Number(fields.dataset.value));
  for (const name of ["a", "b"]) {
    fields[name].replaceChildren(...chosen.map((row) => element("option", { value: row.id }, `${percent(row.accuracy)}  ${row.title}, ${row.input}, ${row.labels}`)));
  }
  if (chosen.length > 1) fields.b.value = String(chosen[1].id);
}

fields.dataset.replaceChildren(...datasets.map((each, i) => element("option", { value: i }, each.name)));
fields.dataset.addEventListener("change", () => { fillRows(); show(); });
for (const name of ["a", "b"]) fields[name].addEventListener("change", show);
document.getElementById("swap").addEventListener("click", () => {
  [fields.a.value, fields.b.value] = [fields.b.value, fields.a.value];
  show();
});
function fromAddress() {
  const pair = location.hash.slice(1).split(",").map(Number).map((id) => rows[id]);
  const valid = pair.length === 2 && pair[0] && pair[1] && pair[0].dataset === pair[1].dataset;
  fields.dataset.value = String(valid ? pair[0].dataset : datasets.reduce((most, each, i) => (each.rows > datasets[most].rows ? i : most), 0));
  fillRows();
  if (valid) [fields.a.value, fields.b.value] = pair.map((row) => String(row.id));
  show();
}
window.addEventListener("hashchange", fromAddress);
fromAddress();
