// The table of all jobs: asks for it while it is seen, and draws only what has changed.
import { put } from "./job_view.js";
import { fill } from "./keeping.js";
import { Rows } from "./rows.js";

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
    this.rows = new Rows(this);
    this.asked = { id: "", what: "" }; // what a person is asked about before it is deleted: a job, its checkpoints
    this.el["pause-queue"].onclick = () => this.send("/queue/pause", { on: !this.paused });
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
    return `${this.root}/gradio_api/qlora${path}?${query}`;
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
      const answer = await fetch(this.url("/jobs"));
      const said = await answer.json();
      this.lost(answer.ok ? "" : said.error);
      if (answer.ok) {
        Object.assign(this, { jobs: said.jobs, paused: said.paused, total: said.total });
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
    const queue = this.el["pause-queue"];
    queue.hidden = !this.jobs.length;
    put(queue, this.paused ? texts.queue_on : texts.queue_pause);
    queue.classList.toggle("primary", this.paused);
    el.paused.hidden = !this.paused;
    this.count();
    this.place(shown);
  }

  count() {
    const running = this.jobs.filter((job) => job.icon === "busy").length;
    const all = this.jobs.length === 1 ? this.texts.count_one : fill(this.texts.count, { count: this.jobs.length });
    const parts = this.jobs.length ? [all] : [];
    if (running) parts.push(fill(this.texts.count_running, { count: running }));
    put(this.el.count, parts.join(" · "));
    put(this.el.total, this.total);
  }

  // Rows stay the same nodes while their job does: the keyboard's focus and an open question stay with them.
  place(shown) {
    const at = document.activeElement;
    const held = at?.closest("#jobs tr") && { id: at.closest("tr").dataset.job, act: at.dataset.act };
    this.rows.keep(new Set(shown.map((job) => job.id)));
    let next = this.el.rows.firstElementChild;
    for (const job of shown) {
      const row = this.rows.row(job);
      if (row === next) next = next.nextElementSibling;
      else this.el.rows.insertBefore(row, next);
    }
    // A row that changed its place has lost the focus, and perhaps the button that had it.
    if (held && document.activeElement === document.body) this.rows.focus(held.id, held.act);
  }

  // Ask before something is deleted, in the row itself; "" takes the question back.
  question(job, what) {
    const before = this.asked;
    this.asked = { id: what && job.id, what };
    this.rows.again(before.id, job.id);
    this.draw();
    this.rows.focus(job.id, what ? "delete_no" : before.what);
  }

  async post(job, action, body = {}) {
    const done = await this.send(`/jobs/${encodeURIComponent(job.id)}/${action}`, body);
    if (!action.startsWith("delete")) return;
    this.asked = { id: "", what: "" };
    this.rows.again(job.id);
    if (done && action === "delete") this.el.search.focus();
  }

  async send(path, body) {
    let refusal = this.texts.unreachable;
    try {
      const answer = await fetch(this.url(path), {
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
    await this.ask();
    return !refusal;
  }
}
