"use strict";
// Unpacks the data of this page, hands the figures in it to plotly, and connects tables, filters and sliders with them.
const dark = matchMedia("(prefers-color-scheme: dark)");
const bar = matchMedia("(hover: hover)").matches ? "hover" : false;
const CONFIG = { responsive: true, displayModeBar: bar, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
const STATES = ["", "length 0", "not finite", "not measured"];
let themes;

async function unpack(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(`data-${id}`).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const theme = () => themes[dark.matches ? "dark" : "light"];

function draw(place, figure) {
  const layout = { ...figure.layout, template: theme(), autosize: true };
  if (place.clientWidth < 600) layout.margin = { ...layout.margin, l: 52, r: 4 };
  return Plotly.react(place, figure.data, layout, CONFIG);
}

dark.addEventListener("change", () => {
  for (const place of document.querySelectorAll(".js-plotly-plot")) Plotly.relayout(place, { template: theme() });
});

// A sheet of paper is narrower than the window that the figures were drawn for.
const PAPER = 940;
const resize = (layout) => document.querySelectorAll(".js-plotly-plot").forEach((place) => Plotly.relayout(place, layout(place)));
addEventListener("beforeprint", () => resize((place) => ({ width: place.closest(".pair") ? PAPER / 2 - 16 : PAPER })));
addEventListener("afterprint", () => resize(() => ({ autosize: true, width: null })));

// Draws the figures of one run, and connects its heat map and profile with the slider.
async function showRun(section, { plots, linked }) {
  if (linked) {
    const { layers, steps, states } = linked;
    plots.heat.data.forEach((trace, marks) => {
      trace.customdata = layers.map((name, i) => steps.map((step, k) =>
        marks ? [name, step, STATES[states[i][k]]] : [name, step]));
    });
  }
  const places = [...section.querySelectorAll(".plot")];
  await Promise.all(places.map((place) => draw(place, plots[place.dataset.plot])));
  if (!linked) return;
  const place = (name) => section.querySelector(`[data-plot="${name}"]`);
  const slider = section.querySelector(".step");
  const measured = plots.profile.data.length - 1;
  const move = () => {
    const k = Number(slider.value), x = linked.places[k];
    section.querySelector(".at").textContent = `step ${linked.steps[k]}`;
    slider.setAttribute("aria-valuetext", `step ${linked.steps[k]}`);
    Plotly.restyle(place("profile"), { y: [plots.heat.data[0].z.map((row) => row[k])] }, [measured]);
    Plotly.relayout(place("heat"), { "shapes[0].x0": x, "shapes[0].x1": x });
  };
  slider.addEventListener("input", move);
  place("heat").on("plotly_click", ({ points: [point] }) => {
    slider.value = point.pointIndex[1];
    move();
  });
  move();
}

// Sorts a table by the column whose heading was pressed; numbers by value, what is missing last.
function sortable(table) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
    const sign = heading.ariaSort === "ascending" ? -1 : 1;
    for (const other of headings) other.ariaSort = other === heading ? (sign > 0 ? "ascending" : "descending") : null;
    const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent;
    const compare = (a, b) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      const difference = parseFloat(a) - parseFloat(b);
      return sign * (isNaN(difference) ? a.localeCompare(b) : difference || a.localeCompare(b));
    };
    const rows = [...table.tBodies[0].rows].sort((a, b) => compare(key(a), key(b)));
    table.tBodies[0].append(...rows);
  }));
}

// The curves of one quantity as one trace for each value of a setting: those of different jobs are parted by a gap.
function curveTraces(sweep, options, chosen) {
  const { quantity, colour, mode } = options;
  const curves = sweep.curves[quantity];
  const values = colour ? sweep.choices[colour] ?? [""] : [""];
  const traces = new Map(values.map((value) => [value, { x: [], y: [], customdata: [], error: [], jobs: 0 }]));
  const add = (texts, x, y, error, label, job) => {
    const trace = traces.get(colour ? texts[colour] ?? "" : "");
    if (!trace || !x.length) return;
    trace.jobs += 1;
    x.forEach((step, i) => {
      trace.x.push(step); trace.y.push(y[i]); trace.error.push(error?.[i] ?? 0); trace.customdata.push([label, job]);
    });
    trace.x.push(null); trace.y.push(null); trace.error.push(0); trace.customdata.push(["", null]);
  };
  if (mode === "means") {
    for (const mean of curves.means) {
      const label = `mean of ${mean.seeds} seeds`;
      if (chosen(mean.texts)) add(mean.texts, mean.x, mean.y, mean.error, label, null);
    }
  } else {
    sweep.jobs.forEach(({ texts, label }, job) => {
      if (chosen(texts)) add(texts, curves.x[job], curves.y[job], null, label, job);
    });
  }
  return values.map((value, at) => ({ value, at, ...traces.get(value) })).filter((trace) => trace.jobs);
}

const VIRIDIS = ["#440154", "#414487", "#31688e", "#21918c", "#5ec962", "#90d743", "#fde725"]; // its ends vanish on a page
const DASHES = ["solid", "dash", "dot", "dashdot"];

function curveFigure(sweep, options, chosen) {
  const values = options.colour ? sweep.choices[options.colour] : [""];
  const numeric = values.length > 2 && values.every((value) => value !== "" && isFinite(value));
  const colours = dark.matches ? VIRIDIS.slice(-5) : VIRIDIS.slice(0, 5);
  const pick = (at) => numeric
    ? colours[Math.round(at / (values.length - 1) * (colours.length - 1))]
    : sweep.colours[at % sweep.colours.length];
  const points = (trace) => trace.x.length / trace.jobs;
  const data = curveTraces(sweep, options, chosen).map((trace) => ({
    type: "scatter", x: trace.x, y: trace.y, customdata: trace.customdata, connectgaps: false,
    mode: points(trace) <= 20 ? "lines+markers" : "lines",
    name: escape(options.colour ? `${options.colour} = ${trace.value}` : options.quantity), showlegend: true,
    line: { width: options.mode === "means" ? 2 : 1.2, color: pick(trace.at),
      dash: DASHES[Math.floor(trace.at / (numeric ? 5 : sweep.colours.length)) % 4] },
    marker: { size: 4, color: pick(trace.at) },
    error_y: options.mode === "means" ? { type: "data", array: trace.error, thickness: 1, width: 2 } : undefined,
    hovertemplate: "%{customdata[0]}<br>step %{x}: %{y:.5g}<extra></extra>",
  }));
  const layout = {
    height: 460, hovermode: "closest", margin: { l: 64, r: 16, t: 16, b: 48 },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    xaxis: { title: { text: "training step" } },
    yaxis: { title: { text: escape(options.quantity) }, type: options.log ? "log" : "linear" },
  };
  return { data, layout };
}

// Text as plotly reads it: without markup.
const escape = (text) => String(text).replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

// What is chosen stays in the address, so that it outlives a reload of a page that is written again.
function remember(changes) {
  const kept = new URLSearchParams(location.hash.slice(1));
  for (const [name, value] of Object.entries(changes)) value === null ? kept.delete(name) : kept.set(name, value);
  history.replaceState(null, "", `#${kept}`); // scrolls to nowhere
}

async function openJob(job) {
  const section = document.getElementById("job");
  const data = await unpack(`job-${job}`);
  for (const place of section.querySelectorAll(".js-plotly-plot")) Plotly.purge(place);
  section.innerHTML = data.html; // a template of ours, in which all text is escaped
  for (const row of document.querySelectorAll("tr[data-job]")) row.ariaSelected = row.dataset.job === String(job);
  remember({ job });
  section.scrollIntoView();
  section.focus({ preventScroll: true });
  await showRun(section, data);
  section.dataset.job = job;
}

async function showSweep(sweep) {
  const filters = [...document.querySelectorAll("#filters select")];
  const chosen = (texts) => filters.every(({ value, dataset }) =>
    !value || texts[dataset.setting] === undefined || `=${texts[dataset.setting]}` === value);
  const control = (id) => document.getElementById(id);
  const plot = control("curves");
  const redraw = () => plot && draw(plot, curveFigure(sweep, {
    quantity: control("quantity").value, colour: control("colour").value, mode: control("mode").value,
    log: control("log").checked,
  }, chosen));
  const filter = () => {
    const shown = sweep.jobs.map(({ texts }) => chosen(texts));
    for (const row of document.querySelectorAll("tr[data-job]")) row.hidden = !shown[row.dataset.job];
    for (const row of document.querySelectorAll("tr[data-mean]")) row.hidden = !chosen(sweep.means[row.dataset.mean]);
    control("shown").textContent = shown.filter(Boolean).length;
    remember(Object.fromEntries(filters.map(({ value, dataset }) => [`only ${dataset.setting}`, value || null])));
    return redraw();
  };
  for (const select of filters) select.addEventListener("change", filter);
  control("reset").addEventListener("click", () => {
    for (const select of filters) select.value = "";
    filter();
  });
  for (const button of document.querySelectorAll("[data-open]")) {
    button.addEventListener("click", () => openJob(button.dataset.open));
  }
  const kept = new URLSearchParams(location.hash.slice(1));
  const restore = (select, value) => {
    if (value !== null && [...select.options].some((option) => option.value === value)) select.value = value;
  };
  for (const select of filters) restore(select, kept.get(`only ${select.dataset.setting}`));
  if (plot) for (const id of ["quantity", "colour", "mode"]) restore(control(id), kept.get(id));
  if (plot) control("log").checked = kept.has("log");
  await filter();
  if (plot) {
    dark.addEventListener("change", redraw);
    for (const id of ["quantity", "colour", "mode"]) {
      control(id).addEventListener("change", () => { remember({ [id]: control(id).value }); redraw(); });
    }
    control("log").addEventListener("change", () => { remember({ log: control("log").checked ? "yes" : null }); redraw(); });
    plot.on("plotly_click", ({ points: [{ customdata }] }) => customdata[1] !== null && openJob(customdata[1]));
  }
  const job = kept.get("job");
  if (/^\d+$/.test(job) && sweep.jobs[job]) await openJob(job);
}

async function start() {
  themes = await unpack("themes");
  for (const table of document.querySelectorAll("table.sortable")) sortable(table);
  for (const section of document.querySelectorAll("section[data-source]")) {
    await showRun(section, await unpack(section.dataset.source));
  }
  if (document.getElementById("data-sweep")) await showSweep(await unpack("sweep"));
  document.body.dataset.ready = "true";
}

start();
