// Zoom and pan of a field, and what an explanation lights up in it.
"use strict";

const STEP = 40; // pixels that an arrow moves by

function zoomAndPan() {
  const stage = document.getElementById("stage");
  if (!stage) return;
  const view = Panzoom(document.getElementById("canvas"), { maxScale: 16, minScale: 1, step: 0.4, animate: false });
  const actions = {
    in: () => view.zoomIn(),
    out: () => view.zoomOut(),
    whole: () => view.reset(),
  };
  const moves = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
  const keys = { "+": "in", "=": "in", "-": "out", "0": "whole" };

  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) view.pan(...moves[event.key].map((by) => by / view.getScale()), { relative: true });
    else if (keys[event.key]) actions[keys[event.key]]();
    else return;
    event.preventDefault();
  });
  // A wheel scrolls the page unless somebody is at work in the field.
  stage.addEventListener("wheel", (event) => {
    if (event.ctrlKey || document.activeElement === stage) view.zoomWithWheel(event);
  }, { passive: false });
  const tools = document.querySelector(".tools");
  tools.hidden = false;
  for (const button of tools.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => actions[button.dataset.zoom]());
  }
}

function overlays() {
  const overlay = document.getElementById("overlay");
  const opacity = document.getElementById("opacity");
  if (!overlay) return;
  const show = () => {
    const choices = [...document.querySelectorAll('input[name="overlay"]')];
    const chosen = choices.find((one) => one.checked) ?? choices[0];
    document.getElementById("slider").hidden = !chosen;
    if (!chosen) return;
    chosen.checked = true;
    if (overlay.getAttribute("src") !== chosen.value) overlay.src = chosen.value;
    overlay.hidden = false;
    overlay.style.opacity = opacity.value / 100;
  };
  document.addEventListener("change", (event) => event.target.name === "overlay" && show());
  opacity.addEventListener("input", show);
  document.addEventListener("htmx:afterSettle", show);
  show();
}

document.addEventListener("DOMContentLoaded", () => {
  zoomAndPan();
  overlays();
});
