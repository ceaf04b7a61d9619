// Reading by keys. Every key stands for a control of the page, which works without it.
"use strict";

(() => {
  const OFF = "hemotriage.keys-off";
  const UNDO_MILLISECONDS = 20000;
  let signing = false;

  function isOff() {
    return window.localStorage.getItem(OFF) !== null;
  }

  function act(control) {
    if (control.type === "checkbox") control.click();
    else if (control.tagName === "TEXTAREA") control.focus();
    else control.click();
  }

  function onKey(event) {
    const field = event.target.closest("input:not([type=checkbox]), textarea, select, dialog");
    if (event.key === "Escape" && event.target.matches("textarea[data-key]")) {
      event.target.blur();
      return;
    }
    if (field || event.repeat || event.ctrlKey || event.altKey || event.metaKey || isOff()) return;
    const control = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (!control || control.disabled) return;
    event.preventDefault();
    act(control);
  }

  // A second press while the page goes on would sign the next case.
  function onSubmit(event) {
    if (event.target.method !== "post" || !event.target.closest("#decision")) return;
    if (signing) event.preventDefault();
    signing = true;
  }

  function help() {
    const dialog = document.getElementById("key-help");
    const opener = document.querySelector("[data-opens=key-help]");
    if (!dialog || !opener) return;
    opener.hidden = false;
    opener.addEventListener("click", () => dialog.showModal());
    const on = document.getElementById("keys-on");
    on.checked = !isOff();
    on.addEventListener("change", () => {
      if (on.checked) window.localStorage.removeItem(OFF);
      else window.localStorage.setItem(OFF, "");
    });
  }

  function forgetSignature() {
    const notice = document.getElementById("signed");
    if (!notice) return;
    window.setTimeout(() => {
      if (!notice.contains(document.activeElement)) notice.remove();
    }, UNDO_MILLISECONDS);
    // A page that is loaded again tells of nothing that was just signed.
    window.history.replaceState(null, "", window.location.pathname);
  }

  document.addEventListener("keydown", onKey);
  document.addEventListener("submit", onSubmit);
  window.addEventListener("pageshow", () => { signing = false; });
  document.addEventListener("DOMContentLoaded", () => {
    help();
    forgetSignature();
  });
})();
