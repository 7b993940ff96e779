// A slider over powers of two with a box for any whole number (fields.snap). `props.value` is the number, or
// the text as typed where it is none: the server says what is wrong with it.
const slider = element.querySelector("input[type=range]");
const box = element.querySelector("input[type=text]");
const root = element.closest(".block");
const exact = (value) => /^[0-9]+$/.test(String(value)) ? Number(value) : null;

function draw() {
  const number = exact(props.value);
  if (document.activeElement !== box) box.value = props.value;
  if (number) slider.value = Math.round(Math.log2(number));
  slider.setAttribute("aria-valuetext", String(props.value));
  const share = (slider.value - slider.min) / (slider.max - slider.min);
  slider.style.setProperty("--filled", `${100 * share}%`);
  for (const chip of document.querySelectorAll(`button[data-field="${CSS.escape(root.id)}"]`)) {
    chip.setAttribute("aria-pressed", String(Number(chip.dataset.value) === number));
  }
}
function set(value) {
  props.value = value;
  draw();
  trigger("input");
}
slider.addEventListener("input", () => set(2 ** slider.value));
box.addEventListener("input", () => {
  const typed = box.value.normalize("NFKC").trim();
  set(exact(typed) ?? typed);
});
box.addEventListener("blur", draw);
root.addEventListener("qlora:set", (event) => set(event.detail));
watch("value", draw);
draw();
