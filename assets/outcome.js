// What Start answered: {job} → its page; {problems: [{field, message}]} → each message beside its field, a
// summary that screen readers speak, and the focus on the first.
const summary = element.querySelector("[role=alert]");
const ring = "input, textarea";

function clear(field) {
  const message = document.getElementById(`problem-${field}`);
  if (!message) return;
  message.remove();
  for (const input of document.querySelectorAll(`[aria-describedby="problem-${field}"]`)) {
    input.removeAttribute("aria-describedby");
    input.removeAttribute("aria-invalid");
  }
  if (!document.querySelector(".problem")) summary.textContent = "";
}

function point(problem) {
  const field = document.getElementById(problem.field);
  if (!field) return null;
  field.closest(".advanced")?.previousElementSibling?.querySelector("[data-fold]")?.setAttribute("aria-expanded", "true");
  const message = document.createElement("p");
  message.className = "problem";
  message.id = `problem-${problem.field}`;
  message.textContent = problem.message;
  if (field.matches("button")) field.after(message);
  else field.append(message);
  const inputs = field.matches("button") ? [field] : [...field.querySelectorAll(ring)];
  for (const input of inputs) {
    input.setAttribute("aria-describedby", message.id);
    input.setAttribute("aria-invalid", "true");
  }
  field.addEventListener("input", () => clear(problem.field), { once: true });
  field.addEventListener("change", () => clear(problem.field), { once: true });
  field.addEventListener("qlora:set", () => clear(problem.field), { once: true });
  return inputs.find((input) => input.type !== "range") ?? inputs[0];
}

// What is filled in by a press, not typed.
const mended = (fields) => document.querySelectorAll(".problem").forEach((message) => {
  const field = message.id.slice("problem-".length);
  if (field.startsWith(fields)) clear(field);
});
document.addEventListener("click", (event) => event.target.closest?.("[data-preset]") && mended("lora."));
window.addEventListener("qlora:uploaded", () => mended("dataset.f")); // the file, and the format found in it

watch("value", () => {
  const { problems = [], sentence = "", job = "" } = props.value || {};
  document.querySelectorAll(".problem").forEach((message) => clear(message.id.slice("problem-".length)));
  summary.textContent = sentence;
  if (job) return window.qlora.go(`?job=${encodeURIComponent(job)}`);
  const inputs = problems.map(point).filter(Boolean);
  inputs[0]?.focus();
});
