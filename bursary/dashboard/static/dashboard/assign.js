// The page to assign: a search that leaves the page in place, a file dropped beside the list, the length of the message,
// and one request for two clicks.
// Without this script a file is chosen by its button, and the rest works alike.
for (const zone of document.querySelectorAll("[data-drop]")) {
  zone.querySelector("[data-with-script]").hidden = false;
  const over = (event, is) => { event.preventDefault(); zone.toggleAttribute("data-over", is); };
  zone.addEventListener("dragover", (event) => over(event, true));
  zone.addEventListener("dragleave", (event) => over(event, false));
  zone.addEventListener("drop", (event) => {
    over(event, false);
    const input = zone.querySelector("input[type=file]");
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
}
for (const shown of document.querySelectorAll("[data-count]")) {
  const field = document.getElementById(shown.dataset.count);
  const count = () => { shown.textContent = `${field.value.length} / ${shown.dataset.most}`; };
  field.addEventListener("input", count);
  count();
}
// Signing in, in another tab, ends the token of this page: the cookie has the one that is valid now.
const renewToken = (form) => {
  const token = document.cookie.match(/(?:^|; )csrftoken=(\w+)/)?.[1];
  if (token) form.elements.csrfmiddlewaretoken.value = token;
  return token;
};
for (const form of document.querySelectorAll("form[data-once]")) {
  const preview = form.querySelector("#preview");
  // The problems above a refused form follow the latest preview, and disappear once it finds none.
  new MutationObserver(() => {
    const refused = document.querySelector("[data-refused]");
    if (!refused || preview.querySelector("[data-unsent]")) return;
    const before = refused.querySelector(".problems ul"), now = preview.querySelector(".problems ul");
    if (!now) refused.remove();
    else if (now.textContent !== before.textContent) before.replaceWith(now.cloneNode(true));
  }).observe(preview, { childList: true, subtree: true, characterData: true });
  const tryAgain = () => preview.dispatchEvent(new Event("change"));
  form.addEventListener("input", () => renewToken(form), true);
  form.addEventListener("change", () => renewToken(form), true);
  form.addEventListener("submit", (event) => {
    if (event.submitter?.name === "search" && window.htmx) {
      event.preventDefault();
      return form.elements.q.dispatchEvent(new Event("find"));
    }
    if (renewToken(form)) return;
    event.preventDefault();
    tryAgain();
  });
  addEventListener("focus", () => { if (preview.querySelector("[data-unsent]")) tryAgain(); });
  form.addEventListener("submit", (event) => {
    if (event.defaultPrevented || event.submitter?.name !== form.dataset.once) return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
  addEventListener("pageshow", () => { delete form.dataset.sent; });
}
