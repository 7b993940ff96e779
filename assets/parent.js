// The job that this one goes on from: `props.value` is its id, or "". Asks for the form filled from a job when
// the address does ("?from=ID": do it again; "?further=ID": go on from its adapter), and lets go of what the
// parent decides: model and shape of the adapter.
const FIXED = ["model.source", "model.hub", "model.revision", "model.folder", "presets", "preset-words", "lora.r", "lora.lora_alpha", "lock",
  "lora.lora_dropout", "lora.use_rslora", "lora.modules", "lora.target_modules"];

function ask() {
  const address = new URL(location.href);
  const way = ["from", "further"].find((one) => address.searchParams.has(one));
  if (!way) return;
  const job = address.searchParams.get(way);
  address.searchParams.delete(way); // a reload then finds the form as it was left, not as it was filled
  history.replaceState(null, "", address.pathname + (address.search || ""));
  trigger("click", { way, job });
}
function draw() {
  for (const id of FIXED) document.getElementById(id)?.toggleAttribute("inert", Boolean(props.value));
  for (const id of ["card-model", "card-change"]) document.getElementById(id)?.classList.toggle("fixed", Boolean(props.value));
}
window.addEventListener("qlora:view", ask);
document.addEventListener("click", (event) => {
  if (!event.target.closest?.("[data-no-parent]")) return;
  props.value = "";
  trigger("input");
  draw();
  document.querySelector("#card-model h2")?.focus();
});
watch("value", draw);
draw();
ask();
