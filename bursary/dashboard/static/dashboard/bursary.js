// Selecting rows of a list. Without this script each row is selected by hand, and everything else works alike.
for (const form of document.querySelectorAll("[data-selection]")) {
  const all = form.querySelector("[data-all]");
  const rows = [...form.querySelectorAll("input[name=uuid]")];
  const everything = form.querySelector("input[name=everything]");
  const selected = form.querySelector("[data-selected]");
  const show = () => {
    const count = rows.filter((row) => row.checked).length;
    all.checked = count === rows.length;
    all.indeterminate = count > 0 && count < rows.length;
    selected.textContent = everything.checked || !count ? "" : `${count} / ${rows.length}`;
    form.toggleAttribute("data-any", count > 0 || everything.checked);
  };
  all.hidden = false;
  all.addEventListener("change", () => { for (const row of rows) row.checked = all.checked; });
  form.addEventListener("change", show);
  show();
}
