// Preset buttons: the value is the pressed one's name; a press fills the form, also when it is pressed already.
const buttons = [...element.querySelectorAll("button")];
const draw = () => {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.preset === props.value));
};
for (const button of buttons) {
  button.addEventListener("click", () => trigger("click", { preset: button.dataset.preset }));
}
watch("value", draw);
draw();
