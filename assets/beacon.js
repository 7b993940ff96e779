// On every page: how many jobs run (beside "Jobs"), the job's progress in the title and the icon of the tab,
// also while nobody sees it, and a notification when a job ends, if the person has asked for one.
const EVERY = 5000;
const HIDDEN = 15000; // ms; browsers slow a hidden page's timers further
const COLOURS = { ring: "#c2410c", rest: "#d6d3d1", done: "#15803d", failed: "#b91c1c", stopped: "#57534e" };

export function start(element, root, options) {
  new Beacon(root, options);
}

class Beacon {
  constructor(root, options) {
    Object.assign(this, { root, ...options, jobs: {}, worked: new Set(), drawn: "" });
    this.home = document.querySelector('link[rel="icon"], link[rel="shortcut icon"]')?.href || "";
    window.addEventListener("qlora:view", () => this.ask());
    document.addEventListener("visibilitychange", () => this.ask());
    document.addEventListener("click", (event) => event.target.closest?.('[data-el="notify"]') && this.allow());
    this.button();
    this.ask();
  }

  async ask() {
    clearTimeout(this.timer);
    const sign = new URLSearchParams(location.search).get("__sign");
    const query = new URLSearchParams({ lang: this.language, ...(sign ? { __sign: sign } : {}) });
    try {
      const answer = await fetch(`${this.root}/gradio_api/qlora/now?${query}`);
      if (answer.ok) this.take(await answer.json());
    } catch {
      // the views say it
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), document.hidden ? HIDDEN : EVERY);
  }

  take({ running, jobs }) {
    const link = document.querySelector('#header [data-nav="jobs"]');
    if (link) link.dataset.running = running ? ` · ${running}` : "";
    for (const [id, job] of Object.entries(jobs)) {
      if (!job.ended) this.worked.add(id);
      else if (this.worked.delete(id)) this.tell(id, job);
    }
    this.jobs = jobs;
    this.button();
    const { view, job } = window.qlora.current();
    const shown = view === "job" ? jobs[job] : Object.values(jobs).find((one) => !one.ended && one.share !== null);
    if (document.hidden && view === "job" && shown) {
      const part = !shown.ended && shown.share > 0 && shown.share < 1 ? `${Math.floor(100 * shown.share)} %` : shown.state;
      document.title = `${part} · ${shown.name} · QLoRA UI`;
    }
    this.icon(shown);
  }

  // A ring that fills, in place of the icon; a mark when the job has ended.
  icon(job) {
    const key = job ? `${job.icon} ${job.ended || Math.round(40 * job.share)}` : "";
    if (key === this.drawn) return;
    this.drawn = key;
    let link = document.querySelector('link[rel="icon"]');
    if (!link) {
      link = document.createElement("link");
      link.rel = "icon";
      document.head.append(link);
    }
    document.querySelectorAll('link[rel="shortcut icon"]').forEach((one) => one.remove());
    link.href = job ? `data:image/svg+xml,${encodeURIComponent(svg(job))}` : this.home;
  }

  // Asked for by a press only; browsers grant it on https or on this machine.
  async allow() {
    if (!("Notification" in window)) return;
    await Notification.requestPermission();
    this.button();
  }

  button() {
    const button = document.querySelector('[data-el="notify"]');
    if (!button) return;
    const { job } = window.qlora.current();
    const works = this.jobs[job] && !this.jobs[job].ended;
    const possible = "Notification" in window && window.isSecureContext && Notification.permission !== "denied";
    button.hidden = !(works && possible);
    const granted = possible && Notification.permission === "granted";
    button.disabled = granted;
    if (granted && button.textContent !== this.notified) button.textContent = this.notified;
  }

  tell(id, job) {
    if (!("Notification" in window) || Notification.permission !== "granted") return;
    const note = new Notification(job.name, { body: job.state, tag: `qlora-${id}` });
    note.onclick = () => {
      window.focus();
      window.qlora.go(`?job=${encodeURIComponent(id)}`);
    };
  }
}

function svg({ icon, share, ended }) {
  const open = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">';
  if (ended) {
    const colour = COLOURS[icon] || COLOURS.done;
    const marks = { done: "M8 17l6 6 11-13", failed: "M16 7v11M16 22v3", stopped: "M11 11h10v10H11z" };
    return `${open}<circle cx="16" cy="16" r="16" fill="${colour}"/><path d="${marks[icon] || marks.done}" fill="none" stroke="#fff" stroke-width="4"/></svg>`;
  }
  const round = 2 * Math.PI * 12;
  const ring = `fill="none" stroke-width="7" cx="16" cy="16" r="12"`;
  return `${open}<circle ${ring} stroke="${COLOURS.rest}"/><circle ${ring} stroke="${COLOURS.ring}" stroke-dasharray="${round * (share || 0)} ${round}" transform="rotate(-90 16 16)"/></svg>`;
}
