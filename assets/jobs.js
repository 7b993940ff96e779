// The table of all jobs: asks for it while it is seen, and draws only what has changed.
import { make, put } from "./job_view.js";

const EVERY = 3000; // ms between two questions
const FIRST = 100; // rows drawn at once; the search looks at all

export function start(element, root, options) {
  new JobList(element, root, options);
}

class JobList {
  constructor(element, root, options) {
    Object.assign(this, { root, ...options });
    this.el = {};
    for (const node of element.querySelectorAll("[data-el]")) this.el[node.dataset.el] = node;
    this.jobs = null;
    this.limit = FIRST;
    this.rows = new Map(); // id → {node, drawn}
    this.asked = ""; // the job that a person is asked about before it is deleted
    this.el.search.oninput = () => {
      this.limit = FIRST;
      this.draw();
    };
    this.el.more.onclick = () => {
      this.limit += 10 * FIRST;
      this.draw();
    };
    window.addEventListener("qlora:view", (event) => this.show(event.detail.view));
    document.addEventListener("visibilitychange", () => this.ask());
    this.show(window.qlora?.current().view);
  }

  url(path) {
    const sign = new URLSearchParams(location.search).get("__sign");
    const query = new URLSearchParams({ lang: this.language, ...(sign ? { __sign: sign } : {}) });
    return `${this.root}/gradio_api/qlora/jobs${path}?${query}`;
  }

  show(view) {
    this.seen = view === "jobs";
    if (this.seen) document.title = `${this.title} · QLoRA UI`;
    this.ask();
  }

  async ask() {
    clearTimeout(this.timer);
    if (!this.seen || document.hidden) return;
    try {
      const answer = await fetch(this.url(""));
      const said = await answer.json();
      this.lost(answer.ok ? "" : said.error);
      if (answer.ok) {
        this.jobs = said.jobs;
        this.draw();
      }
    } catch {
      this.lost(this.texts.unreachable);
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), EVERY);
  }

  lost(sentence) {
    this.el.lost.hidden = !sentence;
    put(this.el.lost, sentence);
  }

  draw() {
    if (!this.jobs) return;
    const { el, texts } = this;
    const wanted = el.search.value.trim().toLowerCase();
    const found = this.jobs.filter((job) => `${job.name} ${job.model} ${job.state} ${job.id}`.toLowerCase().includes(wanted));
    const shown = found.slice(0, this.limit);
    el.empty.hidden = this.jobs.length > 0;
    el.card.hidden = el.search.hidden = !this.jobs.length;
    el.none.hidden = found.length > 0;
    put(el.none, fill(texts.none_found, { search: el.search.value.trim() }));
    el.more.hidden = found.length <= shown.length;
    put(el.more, fill(texts.more, { count: found.length - shown.length }));
    this.count();
    this.place(shown);
  }

  count() {
    const running = this.jobs.filter((job) => job.icon === "busy").length;
    const all = this.jobs.length === 1 ? this.texts.count_one : fill(this.texts.count, { count: this.jobs.length });
    const parts = this.jobs.length ? [all] : [];
    if (running) parts.push(fill(this.texts.count_running, { count: running }));
    put(this.el.count, parts.join(" · "));
  }

  // Rows stay the same nodes while their job does: the keyboard's focus and an open question stay with them.
  place(shown) {
    const kept = new Set(shown.map((job) => job.id));
    for (const [id, { node }] of this.rows) {
      if (kept.has(id)) continue;
      node.remove();
      this.rows.delete(id);
    }
    let next = this.el.rows.firstElementChild;
    for (const job of shown) {
      const row = this.row(job);
      if (row === next) next = next.nextElementSibling;
      else this.el.rows.insertBefore(row, next);
    }
  }

  row(job) {
    const drawn = JSON.stringify(job);
    let row = this.rows.get(job.id);
    if (row?.drawn === drawn) return row.node;
    const node = row?.node || make("tr");
    const focused = node.contains(document.activeElement) ? document.activeElement.dataset.act : "";
    node.replaceChildren(...Object.entries(this.columns).map(([name, label]) => {
      const cell = this[`_${name}`](job);
      cell.className = `col-${name}`;
      cell.dataset.label = label;
      return cell;
    }));
    if (focused) node.querySelector(`[data-act="${focused}"]`)?.focus();
    this.rows.set(job.id, { node, drawn });
    return node;
  }

  _name(job) {
    const link = make("a", job.name);
    link.href = `?job=${encodeURIComponent(job.id)}`;
    link.dataset.nav = "job";
    link.dataset.act = "open";
    const cell = make("th", "", [link]);
    cell.scope = "row";
    return cell;
  }

  _state(job) {
    const icon = make("i");
    icon.className = "icon";
    icon.dataset.icon = job.icon;
    const state = make("span", "", [icon, make("span", job.state)]);
    state.className = "job-state";
    return make("td", "", [state]);
  }

  _progress(job) {
    const cell = make("td");
    if (job.share !== null) {
      const bar = make("div", "", [make("div")]);
      bar.className = "prog";
      bar.firstElementChild.style.width = `${100 * job.share}%`;
      bar.setAttribute("aria-hidden", "true"); // the line says it
      cell.append(bar);
    }
    cell.append(make("span", job.line));
    return cell;
  }

  _model(job) {
    return make("td", job.model);
  }

  _strength(job) {
    return make("td", job.strength);
  }

  _created(job) {
    const at = new Date(1000 * job.created);
    const today = at.toDateString() === new Date().toDateString();
    const form = today ? { timeStyle: "short" } : { dateStyle: "medium" };
    const time = make("time", at.toLocaleString(this.language === "zh" ? "zh-CN" : "en-GB", form));
    time.dateTime = at.toISOString();
    return make("td", "", [time]);
  }

  _actions(job) {
    const cell = make("td");
    if (this.asked === job.id) {
      cell.append(make("span", this.texts.delete_sure), this.button(job, "delete_yes", () => this.post(job, "delete")),
        this.button(job, "delete_no", () => this.question(job, "")));
      cell.firstElementChild.className = "sure";
      return cell;
    }
    if (job.stop) cell.append(this.button(job, "stop", () => this.post(job, "stop", { kill: job.kill }), job.stop));
    if (job.adapter) cell.append(this.download(job));
    if (job.ended) cell.append(this.button(job, "delete", () => this.question(job, job.id)));
    return cell;
  }

  button(job, act, press, label = this.texts[act]) {
    const button = make("button", label);
    button.type = "button";
    button.className = `button small${act === "delete_yes" ? " danger" : ""}`;
    button.dataset.act = act;
    button.setAttribute("aria-label", `${label}: ${job.name}`);
    button.onclick = press;
    return button;
  }

  download(job) {
    const link = make("a", this.texts.download);
    link.className = "button small";
    link.href = this.url(`/${encodeURIComponent(job.id)}/adapter.zip`);
    link.download = "";
    link.dataset.act = "download";
    link.setAttribute("aria-label", `${this.texts.download}: ${job.name}`);
    return link;
  }

  question(job, id) {
    const before = this.asked;
    this.asked = id;
    for (const one of [before, id]) if (this.rows.has(one)) this.rows.get(one).drawn = "";
    this.draw();
    this.rows.get(job.id)?.node.querySelector(`[data-act="${id ? "delete_no" : "delete"}"]`)?.focus();
  }

  async post(job, action, body = {}) {
    let refusal = this.texts.unreachable;
    try {
      const answer = await fetch(this.url(`/${encodeURIComponent(job.id)}/${action}`), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      refusal = answer.ok ? "" : (await answer.json()).error;
    } catch {
      // said
    }
    this.el.refused.hidden = !refusal;
    put(this.el.refused, refusal);
    if (action === "delete") this.asked = "";
    if (action === "delete" && !refusal) this.el.search.focus();
    this.ask();
  }
}

function fill(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}
