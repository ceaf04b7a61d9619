// Says politely that cases have come, and only when that has changed.
"use strict";

function announceNews() {
  const announcer = document.getElementById("announcer");
  const news = document.getElementById("live")?.dataset.news ?? "";
  if (announcer && announcer.textContent !== news) announcer.textContent = news;
}

document.addEventListener("htmx:afterSettle", announceNews);
