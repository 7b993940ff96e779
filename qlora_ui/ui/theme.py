"""How the page looks: theme, style sheet and the script of the frame, as keyword arguments of `launch()`."""

from pathlib import Path
from typing import Any

import gradio as gr

ASSETS = Path(__file__).parents[2] / "assets"

# Two palettes, the same names in each; `assets/style.css` builds on Gradio's variables that they fill.
# Text on every ground has a contrast of at least 4.5 (the axe test measures it).
LIGHT = {
    "body_background_fill": "#fafaf9",
    "background_fill_primary": "#ffffff",
    "background_fill_secondary": "#f5f5f4",
    "block_background_fill": "#ffffff",
    "body_text_color": "#1c1917",
    "body_text_color_subdued": "#57534e",
    "block_info_text_color": "#57534e",
    "block_label_text_color": "#44403c",
    "block_title_text_color": "#292524",
    "border_color_primary": "#e7e5e4",
    "input_border_color": "#8c8580",
    "input_background_fill": "#ffffff",
    "input_placeholder_color": "#6b7280",
    "color_accent_soft": "#fff7ed",
    "border_color_accent": "#c2410c",
    "link_text_color": "#9a3412",
    "link_text_color_hover": "#7c2d12",
    "link_text_color_visited": "#9a3412",
    "link_text_color_active": "#9a3412",
    "button_primary_background_fill": "#c2410c",
    "button_primary_background_fill_hover": "#9a3412",
    "button_primary_text_color": "#ffffff",
    "button_secondary_background_fill": "#ffffff",
    "button_secondary_background_fill_hover": "#f5f5f4",
    "button_secondary_text_color": "#1c1917",
    "button_secondary_border_color": "#d6d3d1",
    "button_cancel_background_fill": "#b91c1c",
    "button_cancel_text_color": "#ffffff",
    "error_text_color": "#b91c1c",
    "error_background_fill": "#fef2f2",
    "slider_color": "#c2410c",
    "checkbox_background_color_selected": "#c2410c",
    "checkbox_border_color_selected": "#c2410c",
    "checkbox_border_color": "#8c8580",
    "checkbox_label_background_fill": "#ffffff",
    "checkbox_label_background_fill_selected": "#fff7ed",
    "checkbox_label_border_color": "#d6d3d1",
    "checkbox_label_border_color_selected": "#c2410c",
    "checkbox_label_text_color": "#1c1917",
    "checkbox_label_text_color_selected": "#c2410c",
}
DARK = {
    "body_background_fill": "#1c1917",
    "background_fill_primary": "#292524",
    "background_fill_secondary": "#1c1917",
    "block_background_fill": "#292524",
    "body_text_color": "#fafaf9",
    "body_text_color_subdued": "#d6d3d1",
    "block_info_text_color": "#d6d3d1",
    "block_label_text_color": "#e7e5e4",
    "block_title_text_color": "#f5f5f4",
    "border_color_primary": "#44403c",
    "input_border_color": "#8c8580",
    "input_background_fill": "#1c1917",
    "input_placeholder_color": "#a8a29e",
    "color_accent_soft": "#431407",
    "border_color_accent": "#fb923c",
    "link_text_color": "#fdba74",
    "link_text_color_hover": "#fed7aa",
    "link_text_color_visited": "#fdba74",
    "link_text_color_active": "#fdba74",
    "button_primary_background_fill": "#fb923c",
    "button_primary_background_fill_hover": "#fdba74",
    "button_primary_text_color": "#1c1917",
    "button_secondary_background_fill": "#292524",
    "button_secondary_background_fill_hover": "#44403c",
    "button_secondary_text_color": "#fafaf9",
    "button_secondary_border_color": "#57534e",
    "button_cancel_background_fill": "#fca5a5",
    "button_cancel_text_color": "#1c1917",
    "error_text_color": "#fca5a5",
    "error_background_fill": "#450a0a",
    "checkbox_background_color": "#1c1917",
    "checkbox_background_color_selected": "#fb923c",
    "checkbox_border_color_selected": "#fb923c",
    "checkbox_border_color": "#8c8580",
    "checkbox_label_background_fill": "#292524",
    "checkbox_label_background_fill_selected": "#431407",
    "checkbox_label_border_color": "#57534e",
    "checkbox_label_border_color_selected": "#fb923c",
    "checkbox_label_text_color": "#fafaf9",
    "checkbox_label_text_color_selected": "#fdba74",
}
SIZES = {
    "block_radius": "10px",
    "button_large_radius": "10px",
    "button_medium_radius": "10px",
    "button_small_radius": "8px",
    "input_radius": "8px",
    "block_title_text_weight": "600",
    "block_shadow": "none",
    "block_border_width": "0px",
    "input_border_width": "1px",
    "input_shadow": "none",
    "button_primary_shadow": "none",
    "button_secondary_shadow": "none",
    "button_large_text_weight": "600",
    "button_large_text_size": "16px",
}


def theme() -> gr.themes.Base:
    """System fonts (the bundled ones lack letters of "QLoRA" and all Han), one accent, calm greys."""
    fonts = ["system-ui", "Noto Sans", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif"]
    base = gr.themes.Default(
        primary_hue="orange",
        neutral_hue="stone",
        font=fonts,
        font_mono=["ui-monospace", "SF Mono", "Menlo", "Consolas", "monospace"],
    )
    dark = {f"{name}_dark": value for name, value in DARK.items()}
    return base.set(**LIGHT, **dark, **SIZES)


def look() -> dict[str, Any]:
    """What `launch()` needs so that the page looks and moves as it should. The style sheet goes into the head
    because Gradio's `css` would put its own container before every selector, also before `body`."""
    style, script = ((ASSETS / name).read_text("utf-8") for name in ("style.css", "page.js"))
    return {"theme": theme(), "head": f"<style>{style}</style><script>{script}</script>"}
