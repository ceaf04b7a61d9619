// The drop zone: files by drag and drop or by the keyboard, with thumbnails, and how far the upload is.
"use strict";

const SHOWN_BY_BROWSERS = ["image/jpeg", "image/png", "image/webp", "image/bmp"];

function dropZone() {
  const form = document.getElementById("send");
  const zone = document.getElementById("drop");
  const input = document.getElementById("image");
  const thumbs = document.getElementById("thumbs");
  const chosen = document.getElementById("chosen");
  let addresses = [];

  function take(files) {
    const all = new DataTransfer();
    for (const file of files) all.items.add(file);
    input.files = all.files;
    show();
  }

  function fault(files) {
    if (files.length > Number(zone.dataset.most)) return zone.dataset.tooMany;
    const bytes = files.reduce((sum, file) => sum + file.size, 0);
    return bytes > Number(zone.dataset.mostBytes) ? zone.dataset.tooLarge : "";
  }

  function preview(file) {
    const kind = document.createElement("span");
    kind.className = "kind";
    kind.textContent = file.name.split(".").pop().slice(0, 5);
    if (!SHOWN_BY_BROWSERS.includes(file.type)) return kind;
    const image = document.createElement("img");
    image.alt = "";
    image.addEventListener("error", () => image.replaceWith(kind));
    image.src = URL.createObjectURL(file);
    addresses.push(image.src);
    return image;
  }

  function thumb(file, index, files) {
    const item = document.createElement("li");
    const name = document.createElement("span");
    name.textContent = file.name;
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `${zone.dataset.remove}: ${file.name}`);
    remove.addEventListener("click", () => {
      take(files.filter((other) => other !== file));
      (thumbs.querySelectorAll("button")[index] ?? input).focus();
    });
    item.append(preview(file), name, remove);
    return item;
  }

  function show() {
    addresses.forEach((address) => URL.revokeObjectURL(address));
    addresses = [];
    const files = [...input.files];
    const wrong = fault(files);
    input.setCustomValidity(wrong);
    chosen.textContent = wrong || (files.length ? zone.dataset.chosen.replace("{n}", files.length) : "");
    thumbs.replaceChildren(...files.map(thumb));
    thumbs.hidden = files.length === 0;
  }

  input.addEventListener("change", show);
  for (const kind of ["dragover", "dragleave", "drop"]) {
    zone.addEventListener(kind, (event) => {
      event.preventDefault();
      zone.classList.toggle("over", kind === "dragover");
    });
  }
  zone.addEventListener("drop", (event) => {
    if (event.dataTransfer.files.length) take([...input.files, ...event.dataTransfer.files]);
  });
  follow(form);
  show();
}

function follow(form) {
  const label = document.getElementById("upload");
  const bar = label.querySelector("progress");
  const button = document.getElementById("submit");
  form.addEventListener("htmx:beforeRequest", () => {
    button.disabled = true;
    label.hidden = false;
    bar.value = 0;
  });
  form.addEventListener("htmx:xhr:progress", (event) => {
    if (event.detail.total) bar.value = (100 * event.detail.loaded) / event.detail.total;
  });
  // A refusal is an answer to show, whatever its status.
  form.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr.status >= 400) {
      event.detail.shouldSwap = true;
      event.detail.isError = false;
    }
  });
  form.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.xhr.getResponseHeader("HX-Redirect")) return;
    button.disabled = false;
    label.hidden = true;
  });
}

document.addEventListener("DOMContentLoaded", dropZone);
