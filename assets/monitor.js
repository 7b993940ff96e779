// A job's page: follows the job that the address names through server-sent events.
// A message's id is the byte offset up to which the page then knows everything (qlora_ui/ui/live.py says what
// the keys mean), so that it can come back after a lost connection and miss nothing and get nothing twice.
import { Charts } from "./charts.js";
import { JobView } from "./job_view.js";

const POINTS = 1000; // appended since everything came: then ask for everything again, thinned
const RETRY = 3000;

export function start(element, root, options) {
  new Monitor(element, root, options);
}

class Monitor {
  constructor(element, root, options) {
    this.root = root;
    this.language = options.language;
    this.texts = options.texts;
    this.view = new JobView(element, options, (action, body) => this.post(action, body), () => this.url("details"));
    this.charts = new Charts(element, root, options);
    this.job = "";
    window.addEventListener("qlora:view", (event) => this.show(event.detail));
    document.addEventListener("visibilitychange", () => this.resume());
    this.show(window.qlora?.current() || { view: "new", job: "" });
  }

  url(what, query = {}) {
    const sign = new URLSearchParams(location.search).get("__sign"); // a private Space asks for it
    const all = new URLSearchParams({ lang: this.language, ...query, ...(sign ? { __sign: sign } : {}) });
    return `${this.root}/gradio_api/qlora/jobs/${encodeURIComponent(this.job)}/${what}?${all}`;
  }

  show({ view, job }) {
    const wanted = view === "job" ? job : "";
    if (wanted === this.job) return;
    this.close();
    this.job = wanted;
    this.offset = "";
    this.appended = 0;
    if (!wanted) {
      document.title = "QLoRA UI";
      return;
    }
    this.view.clear(this.url("adapter.zip"));
    this.charts.clear();
    this.resume();
  }

  // A browser allows six connections to a host: a page that nobody sees gives its one back.
  resume() {
    if (document.hidden || !this.job) this.close();
    else if (!this.stream) this.open();
  }

  open() {
    clearTimeout(this.again);
    const stream = new EventSource(this.url("events", { from: this.offset }));
    this.stream = stream;
    stream.onmessage = (event) => {
      if (stream !== this.stream) return;
      this.offset = event.lastEventId;
      this.take(JSON.parse(event.data));
    };
    stream.onopen = () => this.view.lost("");
    stream.onerror = () => {
      if (stream !== this.stream) return;
      this.view.lost(this.texts.unreachable);
      if (stream.readyState === EventSource.CLOSED) this.refused();
    };
  }

  close() {
    clearTimeout(this.again);
    this.stream?.close();
    this.stream = null;
  }

  // The browser gives up where the answer was no stream: say what it was, and go on asking.
  async refused() {
    this.close();
    try {
      const answer = await fetch(this.url("details"));
      const said = answer.ok ? "" : (await answer.json()).error;
      if (said) this.view.lost(said);
    } catch {
      // no answer at all: said already
    }
    this.again = setTimeout(() => this.resume(), RETRY);
  }

  take(message) {
    if (message.gone) {
      this.close();
      this.view.gone(message.gone);
      return;
    }
    this.view.take(message, this.job);
    this.charts.take(message);
    this.appended = message.all ? 0 : this.appended + (message.pts?.length || 0);
    if (this.appended > POINTS) {
      this.close();
      this.offset = "";
      this.resume();
    }
  }

  // Do something to the job; returns the sentence of a refusal, or "".
  async post(action, body = {}) {
    try {
      const answer = await fetch(this.url(action), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      return answer.ok ? "" : (await answer.json()).error;
    } catch {
      return this.texts.unreachable;
    }
  }
}
