// One row of the list of jobs: its cells, and the buttons of what can be done to it now.
import { CALM, make } from "./job_view.js";
import { fill } from "./keeping.js";

export class Rows {
  constructor(list) {
    this.list = list;
    this.texts = list.texts;
    this.rows = new Map(); // id → {node, drawn}
    this.asked = new Map(); // id of a job that was asked to end → when its Stop came to mean "now"
  }

  keep(ids) {
    for (const [id, { node }] of this.rows) {
      if (ids.has(id)) continue;
      node.remove();
      this.rows.delete(id);
    }
  }

  again(...ids) {
    for (const id of ids) if (this.rows.has(id)) this.rows.get(id).drawn = "";
  }

  focus(id, act) {
    const node = this.rows.get(id)?.node;
    const button = node?.querySelector(`[data-act="${act}"]`) || node?.querySelector(".col-actions [data-act]");
    button?.focus();
  }

  row(job) {
    const drawn = JSON.stringify(job);
    let row = this.rows.get(job.id);
    if (row?.drawn === drawn) return row.node;
    const node = row?.node || make("tr");
    node.dataset.job = job.id;
    if (!job.kill) this.asked.delete(job.id);
    else if (!this.asked.has(job.id)) this.asked.set(job.id, performance.now());
    const focused = node.contains(document.activeElement) ? document.activeElement.dataset.act : "";
    node.replaceChildren(...Object.entries(this.list.columns).map(([name, label]) => {
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
    return make("td", "", [make("span", job.model), make("small", job.strength)]);
  }

  _created(job) {
    const at = new Date(1000 * job.created);
    const today = at.toDateString() === new Date().toDateString();
    const form = today ? { timeStyle: "short" } : { dateStyle: "medium" };
    const time = make("time", at.toLocaleString(this.list.language === "zh" ? "zh-CN" : "en-GB", form));
    time.dateTime = at.toISOString();
    return make("td", "", [time]);
  }

  _size(job) {
    return make("td", job.size);
  }

  _actions(job) {
    const cell = make("td");
    const { id, what } = this.list.asked;
    cell.append(...(id === job.id ? this.sure(job, what) : this.possible(job)));
    return cell;
  }

  sure(job, what) {
    const sure = make("span", fill(this.texts[`${what}_sure`], { size: job.saved }));
    sure.className = "sure";
    return [sure, this.button(job, "delete_yes", () => this.list.post(job, what.replace("_", "-"))),
      this.button(job, "delete_no", () => this.list.question(job, ""))];
  }

  possible(job) {
    const post = (action, body) => () => this.list.post(job, action, body);
    const ask = (what) => () => this.list.question(job, what);
    const all = [
      job.place && !job.first && this.button(job, "up", post("move", { way: "up" })),
      job.place && !job.last && this.button(job, "down", post("move", { way: "down" })),
      job.resume && this.button(job, "resume", post("resume"), job.resume),
      job.pause && this.button(job, "pause", post("pause"), job.pause),
      job.stop && this.stop(job, post("stop", { kill: job.kill })),
      job.adapter && this.download(job),
      job.ended && job.saved && this.button(job, "delete_checkpoints", ask("delete_checkpoints")),
      job.ended && this.button(job, "delete", ask("delete")),
    ];
    return all.filter(Boolean);
  }

  stop(job, press) {
    const button = this.button(job, "stop", press, job.stop);
    const left = CALM - (performance.now() - (this.asked.get(job.id) ?? -Infinity));
    if (left > 0) {
      button.disabled = true;
      setTimeout(() => (button.disabled = false), left);
    }
    return button;
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
    link.href = this.list.url(`/jobs/${encodeURIComponent(job.id)}/adapter.zip`);
    link.download = "";
    link.dataset.act = "download";
    link.setAttribute("aria-label", `${this.texts.download}: ${job.name}`);
    return link;
  }
}
