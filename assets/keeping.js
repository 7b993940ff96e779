// What a job keeps and how it goes on: last saved, the way out of an out of memory, the jobs before and after it.
import { make, put } from "./job_view.js";

const TICK = 5000; // ms between two looks at how long ago something was

export class Keeping {
  constructor(el, texts, language, act) {
    Object.assign(this, { el, texts, language, act, kept: [] });
    el.pause.onclick = () => this.press(el.pause, "pause");
    el.resume.onclick = () => this.press(el.resume, "resume");
    setInterval(() => !document.hidden && this.ago(), TICK);
  }

  async press(button, action, body) {
    if (await this.act(button, action, body)) button.disabled = true; // until the job has moved on
  }

  clear() {
    const { el } = this;
    this.kept = [];
    for (const name of ["kept", "chain", "plan-list"]) el[name].replaceChildren();
    for (const name of ["changed", "silent", "plan", "pause", "resume", "further", "from"]) el[name].hidden = true;
  }

  row(job, id) {
    const { el } = this;
    for (const name of ["pause", "resume"]) {
      show(el[name], job[name]);
      el[name].disabled = false;
    }
    for (const name of ["changed", "silent", "figures"]) show(el[name], job[name]);
    if (job.ended) el.notify.hidden = true; // beacon.js shows it
    el.further.hidden = !job.further;
    el.from.hidden = false;
    el.further.href = `?further=${encodeURIComponent(id)}`;
    el.from.href = `?from=${encodeURIComponent(id)}`;
    const next = job.plan.length || !job.ended ? null : job.resume ? el.resume : job.adapter ? el.download : el.from;
    for (const one of [el.resume, el.download, el.from]) one.classList.toggle("primary", one === next);
    this.kept = job.kept;
    el.kept.replaceChildren(...job.kept.map(() => make("li")));
    this.ago();
    el.plan.hidden = !job.plan.length;
    el["plan-list"].replaceChildren(...job.plan.map((change, at) => this.change(change, at === 0)));
    el.chain.replaceChildren(...job.chain.map(({ said, name, id: other }) => {
      const link = make("a", name);
      link.href = `?job=${encodeURIComponent(other)}`;
      link.dataset.nav = "job";
      return make("li", `${said} `, [link]);
    }));
  }

  change({ what, saves, how, overrides }, first) {
    const button = make("button", this.texts.retry);
    button.type = "button";
    button.className = `button small${first ? " primary" : ""}`;
    button.setAttribute("aria-label", `${this.texts.retry}: ${what}`);
    button.onclick = () => this.press(button, "resume", { overrides });
    const head = make("b", what);
    return make("li", "", [make("span", "", [head, make("span", saves), make("span", how)]), button]);
  }

  ago() {
    this.kept.forEach(({ said, at }, n) => {
      const ago = at === undefined ? "" : this.since(at);
      put(this.el.kept.children[n], said.replace("{ago}", ago));
    });
  }

  since(at) {
    const { texts } = this;
    const seconds = Math.max(0, Math.round(Date.now() / 1000 - at));
    if (seconds < 5) return texts.now;
    const minutes = Math.round(seconds / 60);
    const [hours, rest] = [Math.floor(minutes / 60), minutes % 60];
    let time = fill(texts.days, { days: Math.floor(hours / 24), hours: hours % 24 });
    if (seconds < 100) time = fill(texts.seconds, { seconds: seconds - (seconds % 5) });
    else if (minutes < 60) time = fill(texts.minutes, { minutes });
    else if (hours < 24) time = fill(texts.hours, { hours, minutes: rest });
    return fill(texts.ago, { time });
  }

  queue(job) {
    if (!job.queue || !job.starts) return job.queue;
    const at = new Date(1000 * job.starts);
    const today = at.toDateString() === new Date().toDateString();
    const form = today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
    const time = at.toLocaleString(this.language === "zh" ? "zh-CN" : "en-GB", form);
    return `${job.queue} ${fill(this.texts.starts, { time })}`;
  }
}

export function fill(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function show(node, text) {
  node.hidden = !text;
  put(node, text || "");
}
