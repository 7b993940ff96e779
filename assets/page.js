// The frame: which of the three views is open (from the address), the language link, the glossary.
// Runs in <head>. Others listen to the window event `qlora:view` ({view, job}),
// read `qlora.current()` when they come late, and go elsewhere with `qlora.go("?job=ID")`.
(() => {
  const current = () => {
    const query = new URLSearchParams(location.search);
    const job = query.get("job") || "";
    return { view: job ? "job" : query.get("view") === "jobs" ? "jobs" : "new", job };
  };

  function show() {
    const now = current();
    document.body.dataset.view = now.view;
    for (const link of document.querySelectorAll("#header [data-nav]")) {
      if (link.dataset.nav === now.view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    speak();
    window.dispatchEvent(new CustomEvent("qlora:view", { detail: now }));
  }

  // Gradio writes the browser's language here, also later; what counts is the page's.
  function speak() {
    const language = document.querySelector("[data-language]")?.dataset.language;
    if (language && document.documentElement.lang !== language) document.documentElement.lang = language;
  }
  new MutationObserver(speak).observe(document.documentElement, { attributeFilter: ["lang"] });

  function go(query) {
    history.pushState(null, "", location.pathname + query);
    show();
    window.scrollTo(0, 0);
    document.getElementById(`view-${current().view}`)?.querySelector("h1, h2")?.focus();
  }

  // Whether the page was opened to fill the form from a job: then it is not filled as it was left.
  const asked = /[?&](from|further)=/.test(location.search);
  window.qlora = { current, go, uploaded, asked };

  function uploaded() {
    uploading("");
    window.dispatchEvent(new Event("qlora:uploaded"));
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-nav], a[data-other-language]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    if (link.dataset.nav) go(link.getAttribute("href"));
    else location.href = new URL(link.getAttribute("href"), location.href).pathname + location.search;
  });
  window.addEventListener("popstate", show);

  // A term opens below itself, inside the window; a press is the browser's own doing (popovertarget),
  // the keyboard's focus opens it too.
  function place(popover) {
    const term = document.querySelector(`[popovertarget="${popover.id}"][data-open]`);
    if (!term) return;
    const at = term.getBoundingClientRect();
    const left = Math.max(8, Math.min(at.left, innerWidth - popover.offsetWidth - 8));
    const below = at.bottom + 6 + popover.offsetHeight < innerHeight;
    popover.style.left = `${left}px`;
    popover.style.top = `${below ? at.bottom + 6 : Math.max(8, at.top - 6 - popover.offsetHeight)}px`;
  }
  const mark = (term) => {
    document.querySelectorAll("[data-open]").forEach((other) => delete other.dataset.open);
    term.dataset.open = "";
  };
  const isTerm = (node) => (node instanceof Element ? node.closest(".term") : null);
  document.addEventListener("pointerdown", (event) => {
    const term = isTerm(event.target);
    if (term) mark(term);
  }, true);
  document.addEventListener("focusin", (event) => {
    const term = isTerm(event.target);
    if (!term?.matches(":focus-visible")) return;
    mark(term);
    document.getElementById(term.getAttribute("popovertarget"))?.showPopover();
  });
  document.addEventListener("focusout", (event) => {
    const term = isTerm(event.target);
    const popover = term && document.getElementById(term.getAttribute("popovertarget"));
    if (popover?.matches(":popover-open")) popover.hidePopover();
  });
  document.addEventListener("toggle", (event) => {
    if (event.newState === "open" && event.target.classList?.contains("gloss")) place(event.target);
  }, true);
  window.addEventListener("scroll", () => {
    document.querySelectorAll(".gloss:popover-open").forEach(place);
  }, { passive: true });

  // A number of a preset, one press: the field that it names sets itself.
  document.addEventListener("click", (event) => {
    const chip = event.target.closest?.("button[data-field]");
    if (!chip) return;
    const value = Number(chip.dataset.value);
    document.getElementById(chip.dataset.field)?.dispatchEvent(new CustomEvent("qlora:set", { detail: value }));
  });

  document.addEventListener("click", (event) => {
    const fold = event.target.closest?.("[data-fold]");
    if (fold) fold.setAttribute("aria-expanded", String(fold.getAttribute("aria-expanded") !== "true"));
  });

  // The chips of one choice are one group for the arrow keys: Gradio gives each a name of its own.
  const ARROWS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  document.addEventListener("keydown", (event) => {
    const way = ARROWS[event.key];
    const chips = way && event.target.matches?.('.chips input[type="radio"]') && event.target.closest(".chips");
    if (!chips) return;
    event.preventDefault();
    const all = [...chips.querySelectorAll('input[type="radio"]')];
    const next = all[(all.indexOf(event.target) + way + all.length) % all.length];
    next.focus();
    next.click();
  });

  // An upload may take minutes: say so until the server has it, or has refused it.
  const uploading = (name, said = "uploading") => {
    const line = document.querySelector("[data-uploading]");
    if (line) line.textContent = name && line.dataset[said].replace("{name}", name);
  };
  document.addEventListener("change", (event) => {
    if (event.target.type !== "file" || !drop(event)) return;
    const name = event.target.files[0]?.name ?? "";
    const kinds = event.target.accept.split(",").map((kind) => kind.trim()).filter(Boolean);
    const known = !name || !kinds.length || kinds.some((kind) => name.toLowerCase().endsWith(kind));
    // Gradio would refuse it in its own words, in the browser's language, and nobody would hear of it here.
    if (!known) event.stopImmediatePropagation();
    uploading(name, known ? "uploading" : "other");
  }, true);
  new PerformanceObserver((list) => {
    const refused = (entry) => entry.responseStatus >= 400 || entry.responseStatus === 0;
    if (list.getEntries().some((entry) => entry.name.includes("/gradio_api/upload") && refused(entry))) uploading("");
  }).observe({ type: "resource" });

  // A file dropped on the data card is the file chosen with its button.
  const drop = (event) => event.target.closest?.("#card-data");
  document.addEventListener("dragover", (event) => drop(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    const input = drop(event)?.querySelector('input[type="file"]');
    if (!input || !event.dataTransfer.files.length) return;
    event.preventDefault();
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });

  // Gradio draws later (and may put this script in after the document is complete): once the header is
  // there, say where we are again.
  function begin() {
    show();
    const seen = new MutationObserver(() => {
      if (!document.querySelector("[data-language]")) return;
      seen.disconnect();
      show();
    });
    seen.observe(document.body, { childList: true, subtree: true });
  }
  if (document.body) begin();
  else document.addEventListener("DOMContentLoaded", begin);
})();
