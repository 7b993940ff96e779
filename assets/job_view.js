// Puts what is known of a job into the still parts that qlora_ui/ui/monitor.py made. Everything that came from
// a model, a file or a person is set as text, never as HTML.
import { Keeping } from "./keeping.js";

const LINES = 300;
export const CALM = 1500; // ms that a stop button rests after its meaning has changed: a double press must not kill

export class JobView {
  constructor(element, options, post, detailsUrl) {
    this.el = {};
    for (const node of element.querySelectorAll("[data-el]")) this.el[node.dataset.el] ??= node;
    this.grid = element.querySelector(".job-grid");
    this.goneCard = element.querySelector(".job-gone");
    this.texts = options.texts;
    this.language = options.language;
    this.post = post;
    this.detailsUrl = detailsUrl;
    this.keeping = new Keeping(this.el, options.texts, options.language, (...pressed) => this.act(...pressed));
    this.listen();
  }

  listen() {
    const { el } = this;
    el.stop.onclick = () => this.act(el.stop, "stop", { kill: this.job.state === "stopping" });
    el.rename.onclick = () => this.rename(true);
    el["rename-cancel"].onclick = () => this.rename(false);
    el["rename-input"].onkeydown = (event) => {
      if (event.key === "Escape") this.rename(false);
    };
    el["rename-form"].onsubmit = async (event) => {
      event.preventDefault();
      if (await this.act(null, "rename", { name: el["rename-input"].value })) this.rename(false);
    };
    el["token-form"].onsubmit = (event) => {
      event.preventDefault();
      this.act(null, "token", { token: el["token-input"].value });
      el["token-input"].value = "";
    };
    el.delete.onclick = () => this.ask(true);
    el["delete-no"].onclick = () => this.ask(false);
    el["delete-yes"].onclick = async () => {
      if (await this.act(el["delete-yes"], "delete")) window.qlora.go("?view=jobs");
    };
    el["command-button"].onclick = () => {
      el.command.hidden = !el.command.hidden;
      el["command-button"].setAttribute("aria-expanded", String(!el.command.hidden));
    };
    el.copy.onclick = () => copy(el["command-text"].textContent, el.copy, this.texts);
    el["log-end"].onclick = () => this.toEnd();
    el.log.onscroll = () => {
      el["log-end"].hidden = atEnd(el.log);
    };
    el.traceback.ontoggle = () => {
      if (el.traceback.open) this.traceback();
    };
  }

  clear(adapter) {
    const { el } = this;
    this.job = null;
    el.rename.disabled = el["command-button"].disabled = true;
    this.grid.classList.remove("ended");
    this.goneCard.hidden = true;
    this.grid.hidden = false;
    this.grid.setAttribute("aria-busy", "true");
    el.download.href = adapter;
    for (const name of ["name", "state", "line", "details", "answers", "log", "next", "next-title"]) el[name].textContent = "";
    for (const name of ["fault", "refused", "lost", "token-form", "download", "stop", "delete", "ask", "command",
      "traceback", "code", "rename-form", "log-end"]) el[name].hidden = true;
    this.keeping.clear();
    el.traceback.open = false;
    el["command-button"].setAttribute("aria-expanded", "false");
    this.answered = el["answers-title"].hidden = el["answers-none"].hidden = false;
    el.icon.dataset.icon = "";
    this.progress(0);
  }

  take(message, id) {
    this.grid.removeAttribute("aria-busy");
    if (message.all) this.el.log.textContent = "";
    if (message.log || message.all) this.log(message.log || []);
    if (message.answers) this.answers(message.answers);
    if (message.job) this.row(message.job, id);
    if (message.bar) this.bar(...message.bar);
  }

  bar(share, line, state, icon) {
    const { el } = this;
    this.progress(share);
    put(el.line, (this.job && this.keeping.queue(this.job)) || line);
    put(el.state, state);
    el.icon.dataset.icon = icon;
    const part = share > 0 && share < 1 ? `${Math.floor(100 * share)} %` : state;
    document.title = `${part} · ${el.name.textContent} · QLoRA UI`;
  }

  progress(share) {
    const bar = this.el.progress;
    bar.classList.toggle("unknown", share === null);
    bar.firstElementChild.style.width = `${100 * (share ?? 0)}%`;
    if (share === null) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", Math.floor(100 * share));
  }

  row(job, id) {
    const { el } = this;
    const before = this.job;
    this.job = job;
    el.rename.disabled = el["command-button"].disabled = false;
    put(el.name, job.name);
    this.grid.dataset.state = job.state;
    this.grid.classList.toggle("ended", job.ended);
    if (job.stop !== el.stop.textContent) this.calm(job.stop, before);
    el.stop.hidden = !job.stop;
    el.download.hidden = !(job.adapter && job.ended);
    el.delete.hidden = !job.ended;
    this.keeping.row(job, id);
    if (!job.ended) this.ask(false);
    el["token-form"].hidden = !job.token;
    el.fault.hidden = !job.error;
    put(el.what, job.error?.what || "");
    put(el.do, job.error?.do || "");
    el.traceback.hidden = !job.error;
    put(el["command-text"], job.command);
    pairs(el.details, job.details);
    const title = el["next-title"];
    put(title, job.ended ? title.dataset.done : title.dataset.wait);
    put(el.next, job.next);
    el.code.hidden = !(job.code && job.ended);
    put(el.code, job.code);
    el.refused.hidden = true;
    el["answers-title"].hidden = job.ended && !this.answered;
    el["answers-none"].hidden = job.ended || this.answered;
  }

  calm(label, before) {
    const { stop } = this.el;
    stop.textContent = label;
    clearTimeout(this.resting);
    stop.disabled = Boolean(before);
    if (before) this.resting = setTimeout(() => (stop.disabled = false), CALM);
  }

  answers(answers) {
    const { el } = this;
    this.answered = answers.length > 0;
    el["answers-none"].hidden = this.answered;
    el.answers.replaceChildren(...answers.map(({ question, answers: said }) => {
      const parts = said.flatMap(([when, answer]) => [make("h4", when), make("p", answer)]);
      return make("div", "", [make("h3", question), ...parts]);
    }));
  }

  log(lines) {
    const { el } = this;
    const follow = atEnd(el.log);
    if (el.log.querySelector(".none")) el.log.textContent = "";
    el.log.append(...lines.map(([time, level, said]) => {
      const line = make("div", `${clock(time, this.language)} ${said}`);
      if (level !== "info") line.className = "warning";
      return line;
    }));
    while (el.log.childNodes.length > LINES) el.log.firstChild.remove();
    if (!el.log.childNodes.length) {
      const none = make("div", this.texts.log_none);
      none.className = "none";
      el.log.append(none);
    }
    if (follow) this.toEnd();
  }

  toEnd() {
    this.el.log.scrollTop = this.el.log.scrollHeight;
    this.el["log-end"].hidden = true;
  }

  lost(sentence) {
    this.el.lost.hidden = !sentence;
    put(this.el.lost, sentence);
  }

  gone(sentence) {
    this.grid.hidden = true;
    this.goneCard.hidden = false;
    put(this.el.gone, sentence);
    document.title = "QLoRA UI";
  }

  rename(on) {
    const { el } = this;
    el["rename-form"].hidden = !on;
    el.rename.parentElement.hidden = on;
    if (!on) return el.rename.focus();
    el["rename-input"].value = el.name.textContent;
    el["rename-input"].focus();
    el["rename-input"].select();
  }

  ask(on) {
    const { el } = this;
    if (el.ask.hidden !== on) return;
    const within = el.ask.contains(document.activeElement);
    el.ask.hidden = !on;
    if (on) el["delete-no"].focus();
    else if (within) el.delete.focus();
  }

  async act(button, action, body) {
    if (button) button.disabled = true;
    const refusal = await this.post(action, body);
    this.el.refused.hidden = !refusal;
    put(this.el.refused, refusal);
    if (button && (refusal || button === this.el["delete-yes"])) button.disabled = false;
    return !refusal;
  }

  async traceback() {
    const out = this.el["traceback-text"];
    try {
      const answer = await fetch(this.detailsUrl());
      put(out, answer.ok ? (await answer.text()) || this.texts.traceback_none : (await answer.json()).error);
    } catch {
      put(out, this.texts.unreachable);
    }
    out.scrollTop = out.scrollHeight;
  }
}

export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function make(tag, text = "", children = []) {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

function pairs(list, rows) {
  list.replaceChildren(...rows.flatMap(([label, value]) => [make("dt", label), make("dd", value)]));
}

function atEnd(node) {
  return node.scrollHeight - node.scrollTop - node.clientHeight < 8;
}

function clock(seconds, language) {
  return new Date(1000 * seconds).toLocaleTimeString(language === "zh" ? "zh-CN" : "en-GB", { hour12: false });
}

async function copy(text, button, texts) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // not allowed without https: the old way
    const area = make("textarea", text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = texts.copied;
  setTimeout(() => (button.textContent = texts.copy), 2000);
}
