// What every page does. Pages work without it; it spares reloads and shows times as the reader has them.
"use strict";

function localTimes(root) {
  const format = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
    time.title = time.textContent;
    time.textContent = format.format(new Date(time.dateTime));
    time.dataset.local = "";
  }
}

function submitOnChange(event) {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
}

// `make run` prints an address with the key behind a #: no server and no log ever sees that part.
function keyFromAddress() {
  const form = document.getElementById("sign-in");
  const match = /^#key=(.+)$/.exec(window.location.hash);
  if (!form || !match) return;
  history.replaceState(null, "", window.location.pathname + window.location.search);
  form.elements.key.value = decodeURIComponent(match[1]);
  form.requestSubmit();
}

document.addEventListener("change", submitOnChange);
document.addEventListener("DOMContentLoaded", () => {
  localTimes(document);
  keyFromAddress();
});
// A page that nobody sees asks for nothing.
document.addEventListener("htmx:beforeRequest", (event) => {
  const asksByItself = (event.target.getAttribute("hx-trigger") || "").includes("every");
  if (document.hidden && asksByItself) event.preventDefault();
});
document.addEventListener("htmx:afterSwap", (event) => localTimes(event.target.parentElement || document));
