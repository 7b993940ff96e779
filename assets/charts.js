// Draws the charts that qlora_ui/ui/charts.py lists, with Bokeh, and the table of their numbers.
import { make, put } from "./job_view.js";

const ROWS = 200; // of the table
const COARSE = matchMedia("(pointer: coarse)").matches;
let library; // loaded once, with the first job opened

export class Charts {
  constructor(element, root, options) {
    this.options = options;
    this.base = new URL(".", import.meta.url).href;
    this.charts = options.charts.map((chart) => new Chart(chart, element));
    this.numbers = element.querySelector('[data-el="numbers"]');
    this.numbers.addEventListener("toggle", () => this.table());
    this.data = {};
    const scheme = () => this.charts.forEach((chart) => chart.paint());
    new MutationObserver(scheme).observe(document.documentElement, { attributeFilter: ["class"] });
    new MutationObserver(scheme).observe(document.body, { attributeFilter: ["class"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", scheme);
  }

  clear() {
    this.data = Object.fromEntries(this.options.metrics.map((metric) => [metric, { x: [], y: [] }]));
    this.numbers.open = false;
    this.charts.forEach((chart) => chart.clear(this.data));
    library ??= load(this.base, ["bokeh.min.js", "bokeh-api.min.js"]);
    library.then(() => this.charts.forEach((chart) => chart.draw()), () => (library = null));
  }

  take({ all, cut, pts, say }) {
    if (all) this.replace(all);
    if (cut !== undefined) this.cut(cut);
    if (pts) this.add(pts);
    for (const chart of this.charts) {
      if (all || cut !== undefined) chart.redraw();
      else if (pts) chart.grow();
      if (say?.[chart.name]) put(chart.say, say[chart.name]);
    }
    if (all || cut !== undefined || pts) this.table();
  }

  replace(all) {
    for (const metric of this.options.metrics) {
      this.data[metric].x = (all[metric] || []).map((point) => point[0]);
      this.data[metric].y = (all[metric] || []).map((point) => point[1]);
    }
  }

  cut(step) {
    for (const { x, y } of Object.values(this.data)) {
      while (x.length && x[x.length - 1] > step) {
        x.pop();
        y.pop();
      }
    }
  }

  add(points) {
    for (const [step, ...values] of points) {
      this.options.metrics.forEach((metric, at) => {
        if (values[at] === undefined || values[at] === null) return;
        this.data[metric].x.push(step);
        this.data[metric].y.push(values[at]);
      });
    }
  }

  table() {
    if (!this.numbers.open) return;
    const shown = this.options.charts.flatMap((chart) =>
      chart.metrics.map((metric, at) => ({ ...this.data[metric], unit: chart.unit, label: column(chart, at) })));
    const rows = new Map();
    shown.forEach(({ x, y, unit }, at) => x.forEach((step, n) => {
      if (!rows.has(step)) rows.set(step, new Array(shown.length).fill(""));
      rows.get(step)[at] = write(y[n], unit);
    }));
    let steps = [...rows.keys()].sort((a, b) => a - b);
    const every = Math.ceil(steps.length / ROWS);
    steps = steps.filter((_, at) => at % every === 0 || at === steps.length - 1);
    const head = make("tr", "", [this.options.texts.step, ...shown.map(({ label }) => label)].map((label) => {
      const cell = make("th", label);
      cell.scope = "col";
      return cell;
    }));
    const body = steps.map((step) => make("tr", "", [make("td", String(step)), ...rows.get(step).map((cell) => make("td", cell))]));
    this.numbers.querySelector("table").replaceChildren(make("thead", "", [head]), make("tbody", "", body));
  }
}

class Chart {
  constructor(chart, element) {
    Object.assign(this, chart);
    const card = (this.card = element.querySelector(`[data-chart="${chart.name}"]`));
    this.figureNode = card.querySelector('[data-el="figure"]');
    this.say = card.querySelector('[data-el="say"]');
    this.now = card.querySelector('[data-el="now"]');
    for (const button of card.querySelectorAll("[data-zoom]")) button.onclick = () => this.zoom(button.dataset.zoom);
  }

  clear(data) {
    this.data = this.metrics.map((metric) => data[metric]);
    this.whole = true;
    put(this.say, "\u00a0");
    if (this.now) put(this.now, "–");
    this.redraw();
  }

  draw() {
    if (this.plot) return this.redraw();
    const { Plotting, ColumnDataSource, Range1d } = Bokeh;
    this.x = new Range1d({ start: 0, end: 1 });
    this.y = new Range1d({ start: 0, end: 1 });
    this.plot = Plotting.figure({
      height: this.large ? 260 : 100, sizing_mode: "stretch_width", tools: [], toolbar_location: null,
      x_range: this.x, y_range: this.y, min_border: 8, output_backend: "canvas",
    });
    this.sources = this.data.map(() => new ColumnDataSource({ data: { x: [], y: [], label: [] } }));
    this.lines = this.sources.map((source, at) => this.plot.line({ field: "x" }, { field: "y" }, {
      source, line_width: this.large ? 2.5 : 1.8, line_join: "round", line_dash: at ? [6, 4] : "solid",
    }));
    this.marks = this.sources.slice(1).map((source) => this.plot.scatter({ field: "x" }, { field: "y" }, { source, marker: "diamond", size: 8 }));
    this.end = new ColumnDataSource({ data: { x: [], y: [] } });
    this.endMark = this.plot.scatter({ field: "x" }, { field: "y" }, { source: this.end, size: this.large ? 8 : 6 });
    for (const renderer of [...this.lines, ...this.marks, this.endMark]) renderer.hover_glyph = null; // else it turns blue
    this.tools();
    this.paint();
    Plotting.show(this.plot, this.figureNode);
    this.redraw();
  }

  tools() {
    const { HoverTool, PanTool, WheelZoomTool } = Bokeh;
    const renderers = this.lines;
    const hover = new HoverTool({ tooltips: "@label", mode: "vline", renderers, line_policy: "nearest", point_policy: "snap_to_data" });
    this.plot.add_tools(hover);
    if (!this.large || COARSE) return; // a finger scrolls the page; the buttons zoom
    const pan = new PanTool({ dimensions: "width" });
    const wheel = new WheelZoomTool({ dimensions: "width", modifiers: { ctrl: true } });
    this.plot.add_tools(pan, wheel);
    this.plot.toolbar.active_drag = pan;
    this.plot.toolbar.active_scroll = wheel;
    this.x.change.connect(() => {
      if (this.setting) return;
      this.whole = false;
      this.fit();
    });
  }

  paint() {
    if (!this.plot) return;
    const css = getComputedStyle(this.figureNode);
    const colour = (name) => css.getPropertyValue(name).trim();
    const [sub, line] = [colour("--sub"), colour("--line")];
    const colours = [colour("--accent"), colour("--curve")];
    const plot = this.plot;
    Object.assign(plot, { background_fill_color: null, border_fill_color: null, outline_line_color: null });
    for (const axis of [...plot.xaxis, ...plot.yaxis]) {
      Object.assign(axis, {
        major_label_text_color: sub, major_label_text_font: css.fontFamily, major_label_text_font_size: this.large ? "12px" : "11px",
        axis_line_color: null, major_tick_line_color: null, minor_tick_line_color: null,
      });
    }
    for (const axis of plot.xaxis) axis.visible = this.large;
    for (const axis of plot.yaxis) axis.formatter = new Bokeh.CustomJSTickFormatter({ code: FORMATS[this.unit] || FORMATS.number });
    for (const axis of plot.yaxis) axis.ticker.desired_num_ticks = this.large ? 5 : 2;
    for (const grid of plot.xgrid) grid.visible = false;
    for (const grid of plot.ygrid) grid.grid_line_color = line;
    this.lines.forEach((renderer, at) => (renderer.glyph.line_color = colours[at]));
    for (const renderer of this.marks) Object.assign(renderer.glyph, { fill_color: colours[1], line_color: colours[1] });
    Object.assign(this.endMark.glyph, { fill_color: colours[0], line_color: colours[0] });
  }

  redraw() {
    this.current();
    if (!this.plot) return;
    this.sources.forEach((source, at) => {
      const { x, y } = this.data[at];
      source.data = { x: [...x], y: [...y], label: x.map((step, n) => this.label(at, step, y[n])) };
    });
    this.fit();
  }

  grow() {
    this.current();
    if (!this.plot) return;
    this.sources.forEach((source, at) => {
      const { x, y } = this.data[at];
      const known = source.data.x.length;
      if (x.length === known) return;
      const [newX, newY] = [x.slice(known), y.slice(known)];
      source.stream({ x: newX, y: newY, label: newX.map((step, n) => this.label(at, step, newY[n])) });
    });
    this.fit();
  }

  label(at, step, value) {
    return `${step} · ${column(this, at)} ${write(value, this.unit)}`;
  }

  current() {
    const { y } = this.data[0];
    this.card.classList.toggle("empty", !y.length);
    if (this.now) put(this.now, y.length ? write(y[y.length - 1], this.unit) : "–");
  }

  // The y axis always fits what is in view; the x axis everything, until the reader has zoomed.
  fit() {
    const { x, y } = this.data[0];
    this.end.data = x.length ? { x: [x[x.length - 1]], y: [y[y.length - 1]] } : { x: [], y: [] };
    const first = Math.min(...this.data.map((curve) => curve.x[0] ?? Infinity));
    const last = Math.max(...this.data.map((curve) => curve.x[curve.x.length - 1] ?? -Infinity));
    this.setting = true;
    if (this.whole) {
      const known = Number.isFinite(first);
      const space = known ? Math.max(0.5, (last - first) * 0.02) : 0;
      this.x.setv({ start: known ? first - space : 0, end: known ? last + space : 1 });
    }
    const seen = this.data.flatMap((curve) => curve.y.filter((_, n) => curve.x[n] >= this.x.start && curve.x[n] <= this.x.end));
    if (seen.length) {
      const [low, high] = [Math.min(...seen), Math.max(...seen)];
      const space = (high - low) * 0.12 || Math.abs(high) * 0.05 || 1;
      this.y.setv({ start: low - space, end: high + space });
    }
    this.setting = false;
  }

  zoom(way) {
    if (!this.plot) return;
    this.whole = way === "all";
    if (!this.whole) {
      const half = ((this.x.end - this.x.start) / 2) * (way === "in" ? 0.5 : 2);
      const last = this.data[0].x[this.data[0].x.length - 1] ?? 1;
      // Towards the end of the curve, where the job is.
      const end = way === "in" ? Math.min(this.x.end, last + half * 0.05) : this.x.end;
      this.setting = true;
      this.x.setv({ start: Math.max(0, end - 2 * half), end });
      this.setting = false;
    }
    this.fit();
  }
}

const FORMATS = {
  number: 'const a = Math.abs(tick); return a && a < 0.001 ? tick.toExponential(1).replace(".0e", "e") : a < 1000 ? String(+tick.toPrecision(4)) : tick.toLocaleString("en")',
  bytes: 'return tick >= 1e9 ? (tick / 1e9).toFixed(2) + " GB" : (tick / 1e6).toFixed(0) + " MB"',
};

// As qlora_ui/texts/quantities.py writes numbers and sizes.
function write(value, unit) {
  if (unit === "bytes") return value >= 999.5e6 ? `${(value / 1e9).toFixed(1)} GB` : `${(value / 1e6).toFixed(value < 99.95e6 ? 1 : 0)} MB`;
  const size = Math.abs(value);
  if (value === 0 || (size >= 0.001 && size < 10)) return size < 1 ? String(+value.toPrecision(3)) : value.toFixed(2);
  if (size >= 10) return value.toLocaleString("en", { minimumFractionDigits: size < 100 ? 1 : 0, maximumFractionDigits: size < 100 ? 1 : 0 });
  return value.toExponential(1);
}

function column(chart, at) {
  return chart.metrics.length > 1 ? `${chart.title}, ${chart.labels[at]}` : chart.title;
}

async function load(base, names) {
  for (const name of names) {
    await new Promise((resolve, reject) => {
      const tag = make("script");
      Object.assign(tag, { src: base + name, onload: resolve, onerror: reject });
      document.head.append(tag);
    });
  }
}
