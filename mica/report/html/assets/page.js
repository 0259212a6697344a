"use strict";
// Draws what `mica.report.page_data` gives. Every chart has a table with its numbers beneath it.

const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const power = (ratio) => `10^${+ratio.toFixed(2)}`;
const shown = (value, digits = 1) => (value === null ? "" : value.toFixed(digits));

function element(name, properties = {}, ...children) {
  const found = Object.assign(document.createElement(name), properties);
  found.append(...children);
  return found;
}

/* What is chosen */

const network = () => data.networks[at("network").value];
const axis = () => document.querySelector("[name=axis]:checked").value;
const chosen = () =>
  network().series.filter((series) => at("methods").querySelector(`[value="${series.id}"]`).checked);
const cells = (series) => data.cells.filter((cell) => cell.series === series.id);

/* A section: heading, note, chart, table */

function section(id, title, note, traces, layout, head, rows) {
  const chart = element("div", { className: "chart" });
  chart.setAttribute("role", "img");
  chart.setAttribute("aria-label", `${title}. The table below has the numbers.`);
  const parts = [element("h2", { textContent: title }), element("p", { className: "note", textContent: note })];
  if (traces.length) parts.push(chart);
  at(id).replaceChildren(...parts, table(head, rows));
  if (!traces.length) return;
  const narrow = window.matchMedia("(max-width: 40rem)").matches;
  const look = {
    margin: { l: 55, r: 10, t: 10, b: 45 }, hovermode: "closest", font: { size: 13 },
    legend: narrow ? { orientation: "h", y: -0.25 } : {}, ...layout,
  };
  Plotly.newPlot(chart, traces, look, { responsive: true, displayModeBar: false });
}

function table(head, rows) {
  const line = (tag, values) => element("tr", {}, ...values.map((text) => element(tag, { textContent: text })));
  const body = element("table", {},
    element("thead", {}, line("th", head)), element("tbody", {}, ...rows.map((row) => line("td", row))));
  const copy = element("button", { type: "button", textContent: "Copy" });
  copy.onclick = async () => {
    await navigator.clipboard.writeText([head, ...rows].map((row) => row.join("\t")).join("\n"));
    copy.textContent = "Copied";
  };
  return element("details", {},
    element("summary", { textContent: `Table (${rows.length} rows)` }), copy,
    element("div", { className: "scroll" }, body));
}

/* Charts of a network */

const ratios = (title) => ({
  title: { text: title }, tickprefix: "10<sup>", ticksuffix: "</sup>", zeroline: false,
  dtick: network().range[1] - network().range[0] > 3 ? 1 : 0.5,
});
const percent = (title) => ({ title: { text: title }, ticksuffix: " %", zeroline: false });

function line(series, points, x, y, spread, more = {}) {
  return {
    name: series.label, x: points.map(x), y: points.map(y), mode: "lines+markers",
    line: { color: series.colour, dash: series.dash, width: 2 },
    marker: { symbol: series.symbol, size: 8, color: series.colour },
    error_y: { type: "data", array: points.map(spread), visible: true, thickness: 1.2, width: 3 },
    text: points.map((cell) => tip(series, cell)), hovertemplate: "%{text}<extra></extra>", ...more,
  };
}

function tip(series, cell) {
  const seeds = cell.seeds.map((seed) => `seed ${seed.seed}: ${seed.accuracy === null ? seed.outcome : shown(seed.accuracy) + " %"}`);
  const mean = cell.accuracy === null ? "" : `<br>${shown(cell.accuracy)} ± ${shown(cell.spread)} %`;
  return `<b>${series.label}</b> at ${power(cell.ratio)}${mean}<br>functional edges ${shown(cell.edges)} %<br>${seeds.join("<br>")}`;
}

function drawAccuracy() {
  const traces = [];
  for (const series of chosen()) {
    const all = cells(series);
    if (series.dense) {
      const [cell] = all;
      if (cell && cell.accuracy !== null)
        traces.push({ name: series.label, x: network().range, y: [cell.accuracy, cell.accuracy], mode: "lines",
          line: { color: "#555", dash: "8px,5px", width: 1.5 }, text: [tip(series, cell), tip(series, cell)],
          hovertemplate: "%{text}<extra></extra>" });
      continue;
    }
    const place = axis() === "ratio" ? (cell) => cell.ratio : (cell) => cell.corrected;
    const alive = all.filter((cell) => cell.accuracy !== null && place(cell) !== null);
    traces.push(line(series, alive, place, (cell) => cell.accuracy, (cell) => cell.spread, { legendgroup: series.id }));
    const seeds = alive.flatMap((cell) => cell.seeds.filter((seed) => seed.accuracy !== null)
      .map((seed) => ({ x: axis() === "ratio" ? cell.ratio : seed.corrected, y: seed.accuracy,
        text: `${series.label} at ${power(cell.ratio)}, seed ${seed.seed}: ${shown(seed.accuracy)} %` })));
    traces.push({ x: seeds.map((s) => s.x), y: seeds.map((s) => s.y), text: seeds.map((s) => s.text), mode: "markers",
      marker: { color: series.colour, size: 5, opacity: 0.45, symbol: series.symbol }, legendgroup: series.id,
      showlegend: false, hovertemplate: "%{text}<extra></extra>" });
    const lost = all.filter((cell) => cell.collapsed);
    traces.push({ x: lost.map((cell) => cell.ratio), y: lost.map(() => network().chance), mode: "markers",
      text: lost.map((cell) => `${series.label} at ${power(cell.ratio)}: ${cell.collapsed} of ${cell.seeds.length} seeds collapsed`),
      marker: { symbol: `${series.symbol}-open`, size: 8, color: series.colour }, legendgroup: series.id,
      showlegend: false, hovertemplate: "%{text}<extra></extra>" });
  }
  const head = ["method", "nominal", "corrected", "seeds", "collapsed", "test top-1 %", "±", ...network().seeds.map((seed) => `seed ${seed}`)];
  section("accuracy", "Accuracy",
    `Test top-1 ${data.statistic}, mean and standard deviation of the seeds that were trained, each seed faint. ` +
    "Hollow: collapsed seeds, at chance and their nominal ratio.",
    traces, { xaxis: ratios(axis() === "ratio" ? "Nominal compression ratio" : "Corrected compression ratio"), yaxis: percent("Test top-1") },
    head, rows((cell) => [power(cell.ratio), cell.corrected === null ? "∞" : power(cell.corrected), cell.seeds.length, cell.collapsed,
      shown(cell.accuracy, 2), shown(cell.spread, 2),
      ...network().seeds.map((seed) => shown((cell.seeds.find((s) => s.seed === seed) || { accuracy: null }).accuracy, 2))]));
}

const rows = (texts) => chosen().flatMap((series) => cells(series).map((cell) => [series.label, ...texts(cell).map(String)]));

const opposite = { better: "worse", worse: "better" };

function drawAgainst() {
  const reference = +at("reference").value;
  const found = new Map(chosen().filter((series) => !series.dense && series.id !== reference).map((series) => [series.id, []]));
  for (const [first, second, ratio, pairs, mean, low, high, p, verdict] of data.differences) {
    const minus = (value) => (value === null ? null : -value);
    if (second === reference && found.has(first)) found.get(first).push({ ratio, pairs, mean, low, high, p, verdict });
    if (first === reference && found.has(second))
      found.get(second).push({ ratio, pairs, mean: minus(mean), low: minus(high), high: minus(low), p,
        verdict: verdict.replace(/better|worse/, (word) => opposite[word]) });
  }
  const signed = (value) => (value > 0 ? "+" : "") + shown(value);
  const interval = (point) => (point.low === null ? "" : `${signed(point.low)} to ${signed(point.high)}`);
  const name = at("reference").selectedOptions[0]?.textContent ?? "";
  const lines = chosen().filter((series) => found.get(series.id)?.length);
  const traces = lines.map((series, index) => {
    const points = found.get(series.id);
    const beside = (index - (lines.length - 1) / 2) * 0.03;  // so that bars do not hide each other
    return { name: series.label, x: points.map((p) => p.ratio + beside), y: points.map((p) => p.mean), mode: "markers",
      marker: { symbol: series.symbol, size: 8, color: series.colour },
      error_y: { type: "data", symmetric: false, thickness: 1.2, width: 3, color: series.colour,
        array: points.map((p) => (p.high === null ? 0 : p.high - p.mean)), arrayminus: points.map((p) => (p.low === null ? 0 : p.mean - p.low)) },
      text: points.map((p) => `<b>${series.label}</b> at ${power(p.ratio)}: ${p.verdict}<br>${signed(p.mean)} points${p.low === null ? "" : `, 95 %: ${interval(p)}`}<br>${p.pairs} pairs`),
      hovertemplate: "%{text}<extra></extra>" };
  });
  section("against", `Better than ${name}?`,
    `Difference of test top-1 ${data.statistic} to ${name}'s, percentage points, mean of pairs of one seed at equal nominal ratio; ` +
    "collapsed seeds count as chance. Bars: 95 % intervals by Student's t; where one holds 0, no difference is shown. " +
    "p is raised by Holm over a method's ratios; perhaps: the interval leaves out 0, but p is not below 0.05.",
    traces, { xaxis: { ...ratios("Nominal compression ratio"), range: [network().range[0] - 0.2, network().range[1] + 0.2] },
      yaxis: { title: { text: "points" }, zeroline: true, zerolinecolor: "#555" } },
    ["method", "nominal", "pairs", "points", "95 % interval", "p", "verdict"],
    lines.flatMap((series) => found.get(series.id).map((p) => [series.label, power(p.ratio), `${p.pairs}`, signed(p.mean), interval(p),
      p.p === null ? "" : p.p < 0.001 ? "<0.001" : shown(p.p, 3), p.verdict])));
}

function drawShare(id, title, note) {
  const traces = chosen().filter((series) => !series.dense).map((series) => line(series,
    cells(series).filter((cell) => cell[id] !== null), (cell) => cell.ratio, (cell) => cell[id], (cell) => cell[`${id}_spread`]));
  section(id, title, note, traces, { xaxis: ratios("Nominal compression ratio"), yaxis: { ...percent(""), range: [-4, 104] } },
    ["method", "nominal", "%"], rows((cell) => [power(cell.ratio), shown(cell[id], 2)]));
}

function drawCost() {
  const traces = chosen().filter((series) => !series.dense).map((series) => line(series, cells(series),
    (cell) => cell.ratio, (cell) => cell.seconds, () => 0));
  section("cost", "Cost", "Seconds of a trial, mask and training, mean of the seeds; and the FLOPs of one forward pass: " +
    "of the dense network, of the kept edges, and of the small dense network that compaction leaves.",
    traces, { xaxis: ratios("Nominal compression ratio"), yaxis: { title: { text: "seconds a trial" }, rangemode: "tozero" } },
    ["method", "nominal", "seconds mask", "seconds in all", "MFLOP dense", "kept edges", "compacted"],
    rows((cell) => [power(cell.ratio), shown(cell.seconds_mask, 2), shown(cell.seconds), ...cell.mflops.map((value) => shown(value, 2))]));
}

/* Charts of one cell */

function cell() {
  return data.cells.find((each) => each.series === +at("cell-method").value && each.ratio === +at("cell-ratio").value);
}

function drawCell() {
  const found = cell();
  if (!found) return;
  const series = network().series.find((each) => each.id === found.series);
  const name = `${series.label} at ${power(found.ratio)}`;
  const names = found.layers.map((layer) => layer[0]);
  const bars = (title, column, colour) => ({ type: "bar", name: title, x: names, y: found.layers.map((layer) => layer[column]), marker: { color: colour } });
  section("layers", `Edges by layer: ${name}`, "Mean of the seeds. Budget: what the distribution gave; functional: on a path from input to output.",
    [bars("budget", 2, "#999"), bars("placed", 3, "#56b4e9"), bars("functional", 4, "#0072b2")],
    { yaxis: { type: "log", title: { text: "edges" } }, barmode: "group" },
    ["layer", "dense", "budget", "placed", "functional"], found.layers.map((layer) => layer.slice(0, 5).map((v) => (typeof v === "number" ? shown(v) : v))));
  section("layer-nodes", `Nodes by layer: ${name}`, "Mean of the seeds. Input nodes (channel, kernel row, kernel column) and output channels with an edge kept.",
    [bars("input nodes", 5, "#e69f00"), bars("output nodes", 6, "#d55e00")], { yaxis: { type: "log", title: { text: "nodes" } }, barmode: "group" },
    ["layer", "input nodes", "output nodes"], found.layers.map((layer) => [layer[0], shown(layer[5]), shown(layer[6])]));
  const epochs = found.curves ? found.curves.test.map((_, index) => index + 1) : [];
  const curve = (title, values, colour, more) => ({ name: title, x: epochs, y: values, mode: "lines", line: { color: colour }, ...more });
  section("curves", `Training: ${name}`, found.curves ? "Mean of the seeds after each epoch; training accuracy while training, augmentation on." : "Nothing was trained.",
    found.curves ? [curve("training", found.curves.train, "#999"), curve("validation", found.curves.val, "#e69f00"), curve("test", found.curves.test, "#0072b2"),
      curve("training loss", found.curves.loss, "#cc79a7", { yaxis: "y2" })] : [],
    { xaxis: { title: { text: "epoch" } }, yaxis: percent("top-1"), yaxis2: { title: { text: "loss, nats" }, overlaying: "y", side: "right", showgrid: false, tickmode: "auto", nticks: 5, rangemode: "tozero" },
      margin: { l: 55, r: 55, t: 10, b: 45 } },
    ["epoch", "training %", "validation %", "test %", "training loss"],
    epochs.map((epoch, index) => [epoch, ...["train", "val", "test"].map((part) => shown(found.curves[part][index], 2)), shown(found.curves.loss[index], 4)]));
}

function drawOutcomes() {
  const parts = [element("h2", { textContent: "How trials ended" })];
  parts.push(element("p", { textContent: data.outcomes.map(([word, count]) => `${count} ${word}`).join(", ") + "." }));
  const lost = data.networks.flatMap((each) => each.series.flatMap((series) => cells(series)
    .filter((found) => found.collapsed || found.diverged)
    .map((found) => [each.title, series.label, power(found.ratio), found.collapsed, found.diverged, found.seeds.length])));
  parts.push(element("p", { className: "note", textContent: "Collapsed: no functional edge, nothing to train. Diverged: a loss was not finite." }));
  parts.push(table(["network", "method", "nominal", "collapsed", "diverged", "of seeds"], lost));
  for (const failed of data.failed)
    parts.push(element("h3", { textContent: failed.trial }), element("pre", { textContent: failed.reason }));
  at("outcomes").replaceChildren(...parts);
}

/* Controls */

function drawNetwork() {
  drawAccuracy();
  drawAgainst();
  drawShare("edges", "Functional edges", "Share of the placed edges that lie on a path from input to output; 0 where all is collapsed.");
  drawShare("nodes", "Functional nodes", "Of the input nodes that signal reaches, the share with a path to the output.");
  drawCost();
}

function offerCells() {
  const options = (id, values) => at(id).replaceChildren(...values.map(([value, text]) => element("option", { value, textContent: text })));
  options("cell-method", network().series.map((series) => [series.id, series.label]));
  offerRatios();
}

function offerRatios() {
  const before = at("cell-ratio").value;
  const found = data.cells.filter((each) => each.series === +at("cell-method").value).map((each) => each.ratio);
  at("cell-ratio").replaceChildren(...found.map((ratio) => element("option", { value: ratio, textContent: power(ratio) })));
  if (found.includes(+before)) at("cell-ratio").value = before;
  drawCell();
}

function chooseNetwork() {
  const boxes = network().series.map((series) => {
    const box = element("input", { type: "checkbox", value: series.id, checked: true });
    box.onchange = drawNetwork;
    return element("label", {}, box, ` ${series.label}`);
  });
  at("methods").replaceChildren(element("legend", { textContent: "Methods" }), ...boxes);
  const sparse = network().series.filter((series) => !series.dense);
  at("reference").replaceChildren(...sparse.map((series) => element("option", { value: series.id, textContent: series.label })));
  at("reference").value = sparse.reduce((most, series) => (cells(series).length > cells(most).length ? series : most), sparse[0])?.id;
  drawNetwork();
  offerCells();
}

at("summary").textContent = data.summary;
at("network").append(...data.networks.map((each, index) => element("option", { value: index, textContent: each.title })));
at("network").onchange = chooseNetwork;
document.querySelectorAll("[name=axis]").forEach((radio) => (radio.onchange = drawAccuracy));
at("reference").onchange = drawAgainst;
at("cell-method").onchange = offerRatios;
at("cell-ratio").onchange = drawCell;
if (data.networks.length) chooseNetwork();
drawOutcomes();
